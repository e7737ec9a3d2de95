//! A caller's command, checked against the model.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Instant,
};

use aether_wit::{Digest, report::nearest};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    command::Command,
    failure::{Code, Failure},
    gateway::request::MAX_COMMAND_ID_BYTES,
    json::{PackedCase, Reader, canonical_of},
    served::Realm,
};

/// A command that fits the model, ready to be decided.
#[derive(Debug)]
pub struct Prepared {
    /// Its id.
    pub id: String,
    /// Whether the caller gave the id: only then may it have been sent before.
    pub id_by_caller: bool,
    /// Its name in the model.
    pub name: Arc<str>,
    /// The caller's fields: a JSON object as it was sent.
    pub fields: Box<RawValue>,
    /// The realm whose model it fits.
    pub realm: Arc<Realm>,
    /// Which command, and the caller's fields with defaults filled in.
    pub case: PackedCase,
    /// Digest of what the caller said.
    pub digest: Digest,
    /// The version that the caller expects.
    pub expected_version: Option<u64>,
    /// What ties the commands of one piece of work together.
    pub correlation: String,
    /// What caused it.
    pub causation: Option<String>,
    /// The authenticated principal.
    pub by: Option<Arc<str>>,
    /// The host's time of receipt, ms since 1970.
    pub at: u64,
    /// The random number that the component sees.
    pub seed: u64,
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// What is not known of it.
    pub doubt: Doubt,
}

/// Whether a record with a command may be stored although its caller has no answer yet. While it may,
/// no failure of the command may say that nothing was stored.
#[derive(Debug, Default)]
pub struct Doubt(AtomicU8);

impl Doubt {
    const IN_LOG: u8 = 1;
    const COMING: u8 = 2;

    /// The log holds such a record, or will never hold it: there is a newer one.
    pub fn log_tells(&self) {
        self.0.store(Self::IN_LOG, Relaxed);
    }

    /// Such a record may be stored; who reads the log knows.
    pub fn may_be_in_log(&self) {
        self.0.fetch_max(Self::IN_LOG, Relaxed);
    }

    /// Such a record was sent, and may still come to be stored.
    pub fn may_come(&self) {
        self.0.store(Self::COMING, Relaxed);
    }

    /// The log was read, and does not hold it.
    pub fn not_in_log(&self) {
        let _ = self.0.compare_exchange(Self::IN_LOG, 0, Relaxed, Relaxed);
    }

    /// Whether it is not known.
    #[must_use]
    pub fn remains(&self) -> bool {
        self.0.load(Relaxed) > 0
    }
}

impl Prepared {
    /// The same command for the model of another realm: a newer one may be served when its turn
    /// comes. What the caller gave and the host drew stays.
    ///
    /// # Errors
    /// As [`prepare`].
    pub fn renew(&mut self, realm: &Arc<Realm>) -> Result<(), Failure> {
        if Arc::ptr_eq(&self.realm, realm) {
            return Ok(());
        }
        let Fitting { name, case, digest } = fit(realm, &self.name, &self.fields)?;
        (self.name, self.case, self.digest) = (name, case, digest);
        self.realm = realm.clone();
        Ok(())
    }
}

/// Checks a caller's command against the model.
///
/// # Errors
/// `unknown` if the model has no such command, `invalid` if its fields or its id do not fit.
pub fn prepare(realm: &Arc<Realm>, command: Command) -> Result<Prepared, Failure> {
    let named = |failure: Failure| {
        let failure = failure.for_actor(&command.to);
        match &command.id {
            Some(id) => failure.for_command(id),
            None => failure,
        }
    };
    if let Some(id) =
        command.id.as_ref().filter(|id| id.is_empty() || id.len() > MAX_COMMAND_ID_BYTES)
    {
        let detail =
            format!("the command id has {} bytes: expected 1 to {MAX_COMMAND_ID_BYTES}", id.len());
        return Err(named(Failure::new(Code::Invalid, detail)));
    }
    let fitting = fit(realm, &command.name, &command.fields).map_err(named)?;
    let Fitting { name, case, digest } = fitting;
    let id_by_caller = command.id.is_some();
    let id = command.id.unwrap_or_else(|| Uuid::now_v7().to_string());
    Ok(Prepared {
        correlation: command.correlation.unwrap_or_else(|| id.clone()),
        id,
        id_by_caller,
        name,
        fields: command.fields,
        realm: realm.clone(),
        case,
        digest,
        expected_version: command.expected_version,
        causation: command.causation,
        by: command.by,
        at: command.at,
        seed: command.seed.unwrap_or_else(rand::random),
        deadline: command.deadline,
        doubt: Doubt::default(),
    })
}

/// A command as one model has it.
struct Fitting {
    name: Arc<str>,
    case: PackedCase,
    digest: Digest,
}

fn fit(realm: &Realm, name: &str, fields: &RawValue) -> Result<Fitting, Failure> {
    let commands = &realm.plans().commands;
    let (case, (name, plan)) = commands
        .index_of(name)
        .and_then(|case| Some((case, commands.get(case)?)))
        .ok_or_else(|| {
            let known = commands.cases.iter().map(|(name, _)| &**name);
            let what = format!("command of `{}/{}`", realm.context, realm.aggregate);
            Failure::new(Code::Unknown, missing(&what, name, known))
        })?;
    let json = fields.get().as_bytes();
    let fields = Reader::Caller.read(plan, json).map_err(|error| {
        let detail = format!("the fields of command `{name}` do not fit the model: {error}");
        Failure::new(Code::Invalid, detail)
    })?;
    let canonical = canonical_of(plan, commands.has_defaults(case), json, &fields);
    let digest = Digest::of(canonical.unwrap_or_default());
    Ok(Fitting { name: name.clone(), case: PackedCase { case, fields }, digest })
}

/// `name` is not among `known`: which it may have been.
#[must_use]
pub fn missing<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let shown: String = name.chars().take(80).collect();
    match nearest(name, known.clone()) {
        Some(near) => format!("there is no {what} called `{shown}`; did you mean `{near}`?"),
        None => {
            let known: Vec<_> = known.map(|name| format!("`{name}`")).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            format!("there is no {what} called `{shown}`; there are: {known}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_newer_record_and_the_log_end_a_doubt() {
        let doubt = Doubt::default();
        doubt.not_in_log();
        assert!(!doubt.remains());
        doubt.may_come();
        doubt.may_be_in_log();
        doubt.not_in_log();
        assert!(doubt.remains(), "it may still come");
        doubt.log_tells();
        assert!(doubt.remains());
        doubt.not_in_log();
        assert!(!doubt.remains());
    }
}
