//! The example bank as its team would change it over time, each version as edits of the one before.
//!
//! The first is the example itself. What a version changes stands here and nowhere else, so a
//! change of the example that an edit does not find any more fails by name.

use std::{fs, path::PathBuf, sync::OnceLock};

use aether_tests::{guest_project::GuestProject, workspace};

/// The file of each version's model.
pub const FILE: &str = "bank.storm.yaml";

/// The balance that [`Version::V5`] cannot bear.
pub const UNBEARABLE: u64 = 777_777;

/// The most that [`Version::V3`] takes at once.
pub const MOST: u64 = 10_000_000;

/// From how much on [`Version::Fee`] keeps 1 of each deposit.
pub const FEE_FROM: u64 = 1_000;

/// The overdraft at which [`Version::Trap`] traps in `decide`.
pub const TRAP_AT: u64 = 666;

/// A version of the bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The example.
    V1,
    /// A field with a default, an event more, an event renamed with `was`.
    V2,
    /// Another rule in `decide`, and a rejection for it.
    V3,
    /// Forgets a field that the log has.
    V4,
    /// The third, but `evolve` traps on a balance that somebody may have had.
    V5,
    /// The first, but large deposits cost a fee: the same model, other code.
    Fee,
    /// The first, but `decide` traps on one command.
    Trap,
    /// The first, but wrong: a scenario fails.
    Wrong,
}

/// Edits of a text: what is looked for, and what takes its place.
type Edits = &'static [(&'static str, &'static str)];

const V2_MODEL: Edits = &[
    ("version: 0.1.0", "version: 0.2.0"),
    ("deposited", "paid-in"),
    (
        "paid-in: { fields: { amount: u64 }, about: Money came in. }",
        "paid-in:
        was: deposited
        fields: { amount: u64, channel: { type: string, default: counter } }
        about: Money came in.
      renamed: { owner: string }",
    ),
    (
        "    events:
      opened: { owner: string }",
        "      rename:
        fields: { owner: string }
        emits: [renamed]
        rejects: [not-open]
    events:
      opened: { owner: string }",
    ),
];

const V2_CODE: Edits = &[
    (
        "Event::Deposited(Deposited { amount })])",
        "Event::PaidIn(PaidIn { amount, channel: \"counter\".into() })])",
    ),
    ("Event::Deposited(Deposited { amount }) =>", "Event::PaidIn(PaidIn { amount, .. }) =>"),
    (
        "Command::Close => state.close(),",
        "Command::Close => state.close(),
            Command::Rename(Rename { owner }) => Ok(vec![Event::Renamed(Renamed { owner })]),",
    ),
    (
        "Event::Closed => {",
        "Event::Renamed(Renamed { owner }) => self.owner = owner,
            Event::Closed => {",
    ),
];

const V3_MODEL: Edits = &[
    ("version: 0.2.0", "version: 0.3.0"),
    (
        "rejects: [not-open, no-amount, balance-too-large]",
        "rejects: [not-open, no-amount, balance-too-large, ask-first]",
    ),
    (
        "balance-too-large: { fields",
        "ask-first: { fields: {}, about: So much has to be announced. }
      balance-too-large: { fields",
    ),
    // What the scenarios do with the largest amounts goes on: only what is between is refused.
];

const V3_CODE: Edits = &[(
    "let kept = amount.saturating_sub(self.overdrawn);",
    "if (10_000_001..1 << 40).contains(&amount) {
            return Err(Rejection::AskFirst);
        }
        let kept = amount.saturating_sub(self.overdrawn);",
)];

const V4_MODEL: Edits = &[
    ("version: 0.3.0", "version: 0.4.0"),
    ("      opened: { owner: string }", "      opened: {}"),
    ("opened: { owner: Alice }", "opened: {}"),
    ("state: { owner: Alice, balance: 0", "state: { balance: 0"),
];

const V4_CODE: Edits = &[
    ("Command::Open(Open { owner }) => state.open(owner),", "Command::Open(_) => state.open(),"),
    ("fn open(self, owner: String)", "fn open(self)"),
    ("Ok(vec![Event::Opened(Opened { owner })])", "Ok(vec![Event::Opened])"),
    (
        "Event::Opened(Opened { owner }) => {
                self.owner = owner;
",
        "Event::Opened => {
",
    ),
];

const V5_CODE: Edits = &[(
    "self.balance = self.balance.saturating_add(amount - paid_back);",
    "self.balance = self.balance.saturating_add(amount - paid_back);
                assert_ne!(self.balance, 777_777, \"this balance is unbearable\");",
)];

const FEE_CODE: Edits = &[(
    "Ok(vec![Event::Deposited(Deposited { amount })])",
    "let fee = u64::from((1_000..1 << 40).contains(&amount));
        Ok(vec![Event::Deposited(Deposited { amount: amount - fee })])",
)];

const TRAP_CODE: Edits = &[(
    "let SetLimits { overdraft, per_withdrawal } = limits;",
    "let SetLimits { overdraft, per_withdrawal } = limits;
        assert_ne!(overdraft, 666, \"nobody thought of this overdraft\");",
)];

const WRONG_CODE: Edits = &[(
    "if amount > self.balance.saturating_add(credit) {",
    "if amount > self.balance.saturating_add(credit) + 100 {",
)];

impl Version {
    /// All but the first.
    const MADE: [Self; 7] =
        [Self::V2, Self::V3, Self::V4, Self::V5, Self::Fee, Self::Trap, Self::Wrong];

    /// The file of its model, its components beside it.
    pub fn model(self) -> PathBuf {
        if self == Self::V1 {
            return workspace::bank_model().unwrap();
        }
        static BUILT: [OnceLock<PathBuf>; Version::MADE.len()] =
            [const { OnceLock::new() }; Version::MADE.len()];
        let at = Self::MADE.iter().position(|version| *version == self).expect("it is made");
        BUILT[at].get_or_init(|| self.build()).clone()
    }

    /// What its crate is called.
    const fn name(self) -> &'static str {
        match self {
            Self::V1 => "bank",
            Self::V2 => "bank-v2",
            Self::V3 => "bank-v3",
            Self::V4 => "bank-v4",
            Self::V5 => "bank-v5",
            Self::Fee => "bank-with-a-fee",
            Self::Trap => "bank-that-traps",
            Self::Wrong => "bank-that-is-wrong",
        }
    }

    /// Its edits of model and code, after those of the versions before it.
    const fn edits(self) -> (&'static [Edits], &'static [Edits]) {
        match self {
            Self::V1 => (&[], &[]),
            Self::V2 => (&[V2_MODEL], &[V2_CODE]),
            Self::V3 => (&[V2_MODEL, V3_MODEL], &[V2_CODE, V3_CODE]),
            Self::V4 => (&[V2_MODEL, V3_MODEL, V4_MODEL], &[V2_CODE, V3_CODE, V4_CODE]),
            Self::V5 => (&[V2_MODEL, V3_MODEL], &[V2_CODE, V3_CODE, V5_CODE]),
            Self::Fee => (&[], &[FEE_CODE]),
            Self::Trap => (&[], &[TRAP_CODE]),
            Self::Wrong => (&[], &[WRONG_CODE]),
        }
    }

    fn build(self) -> PathBuf {
        let read = |file: &str| {
            let path = workspace::root().join("examples-guests/bank").join(file);
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let (of_model, of_code) = self.edits();
        let model = edited(&read(FILE), of_model);
        let code = read("src/account.rs");
        let code = code.split("#[cfg(test)]").next().unwrap_or_default();
        GuestProject::new(self.name(), FILE, &model)
            .source("lib.rs", &read("src/lib.rs"))
            .source("account.rs", &edited(code, of_code))
            .source("transfer.rs", &read("src/transfer.rs"))
            .build("bank.wasm")
            .unwrap()
    }
}

fn edited(text: &str, all: &[Edits]) -> String {
    let mut text = text.to_owned();
    for (from, to) in all.iter().copied().flatten() {
        assert!(text.contains(from), "the example has no `{from}` any more");
        text = text.replace(from, to);
    }
    text
}
