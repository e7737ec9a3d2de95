//! Models for the tests of everything that is made from a model.

use indexmap::IndexMap;

use crate::{
    Digest, Model,
    model::{
        Aggregate, Case, Command, Event, Field, Location, Places, Rejection, Runtime, Type,
        TypeDecl, TypeDef,
    },
};

const AT: Location = Location { line: 1, column: 1 };

/// A required field.
pub(crate) fn field(name: &str, ty: Type) -> Field {
    Field { at: AT, name: name.into(), ty, default: None, was: None, about: None }
}

/// A type of the model by its name.
pub(crate) fn named(name: &str) -> Type {
    Type::Named(name.into())
}

/// `list<item>`.
pub(crate) fn list(item: Type) -> Type {
    Type::List(Box::new(item))
}

/// `option<item>`.
pub(crate) fn option(item: Type) -> Type {
    Type::Option(Box::new(item))
}

/// A model without types and aggregates.
pub(crate) fn empty(context: &str) -> Model {
    Model {
        digest: Digest::of(context),
        source: "".into(),
        places: Places::default(),
        context: context.into(),
        version: semver::Version::new(0, 1, 0),
        about: None,
        components: Vec::new(),
        types: IndexMap::new(),
        aggregates: IndexMap::new(),
        scenarios: Vec::new(),
    }
}

/// An aggregate without commands, events and rejections.
pub(crate) fn aggregate(name: &str, state: Vec<Field>) -> Aggregate {
    Aggregate {
        at: AT,
        name: name.into(),
        about: None,
        state,
        commands: IndexMap::new(),
        events: IndexMap::new(),
        rejections: IndexMap::new(),
        upcasts: IndexMap::new(),
        runtime: Runtime::default(),
    }
}

impl Model {
    pub(crate) fn with(mut self, aggregate: Aggregate) -> Self {
        self.aggregates.insert(aggregate.name.clone(), aggregate);
        self
    }

    pub(crate) fn with_type(mut self, name: &str, def: TypeDef) -> Self {
        self.types.insert(name.into(), TypeDecl { at: AT, about: None, def });
        self
    }
}

impl Aggregate {
    pub(crate) fn command(
        mut self,
        name: &str,
        fields: Vec<Field>,
        emits: &[&str],
        rejects: &[&str],
    ) -> Self {
        let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
        let (emits, rejects) = (names(emits), names(rejects));
        let command = Command { at: AT, about: None, fields, emits, rejects };
        self.commands.insert(name.into(), command);
        self
    }

    pub(crate) fn event(mut self, name: &str, fields: Vec<Field>) -> Self {
        self.events.insert(name.into(), Event { at: AT, about: None, was: None, fields });
        self
    }

    pub(crate) fn rejection(mut self, name: &str, fields: Vec<Field>) -> Self {
        self.rejections.insert(name.into(), Rejection { at: AT, about: None, was: None, fields });
        self
    }
}

/// The bank of the documentation.
pub(crate) fn bank() -> Model {
    let mut account = aggregate(
        "account",
        vec![field("owner", Type::String), field("balance", Type::U64), field("open", Type::Bool)],
    )
    .command("open", vec![field("owner", Type::String)], &["opened"], &["already-open"])
    .command("deposit", vec![field("amount", Type::U64)], &["deposited"], &["not-open"])
    .command(
        "withdraw",
        vec![field("amount", Type::U64)],
        &["withdrawn"],
        &["not-open", "insufficient-funds"],
    )
    .event("opened", vec![field("owner", Type::String)])
    .event("deposited", vec![field("amount", Type::U64)])
    .event("withdrawn", vec![Field { was: Some("sum".into()), ..field("amount", Type::U64) }])
    .rejection("already-open", vec![])
    .rejection("not-open", vec![])
    .rejection("insufficient-funds", vec![field("balance", Type::U64)]);
    account.events["deposited"].about = Some("Money came in.".into());

    let money = vec![field("cents", Type::U64), field("currency", Type::String)];
    let mut bank = empty("bank")
        .with_type("money", TypeDef::Record(money))
        .with_type("tier", TypeDef::Enum(vec!["basic".into(), "gold".into()]))
        .with(account);
    bank.about = Some("Accounts that hold money, and transfers between them.".into());
    bank
}

/// A model with every kind of type, and with WIT's keywords as names.
pub(crate) fn shop() -> Model {
    let result = |ok: Option<Type>, err: Option<Type>| Type::Result {
        ok: ok.map(Box::new),
        err: err.map(Box::new),
    };
    let case = |name: &str, payload| Case { at: AT, name: name.into(), payload };
    let every = vec![
        field("a", Type::Bool),
        field("b", Type::S8),
        field("c", Type::S16),
        field("d", Type::S32),
        field("e", Type::S64),
        field("f", Type::U8),
        field("g", Type::U16),
        field("h", Type::U32),
        field("i", Type::F32),
        field("j", Type::F64),
        field("k", Type::Char),
        field("type", Type::Tuple(vec![Type::U64, named("list")])),
        field("use", option(option(Type::String))),
        field("blob", list(Type::U8)),
        field("outcome", result(None, Some(Type::String))),
        field("nothing", result(None, None)),
        field("fine", result(Some(named("order-no")), None)),
        field("both", result(Some(named("charge")), Some(named("marks")))),
    ];
    let from = aggregate("interface", vec![field("func", list(named("list")))])
        .command("import", every.clone(), &["record", "variant"], &[])
        .command("export", vec![], &[], &[])
        .event("record", every)
        .event("variant", vec![]);
    let plain = aggregate("world", vec![field("record", Type::Bool)])
        .command("package", vec![], &["flags"], &["enum"])
        .event("flags", vec![])
        .rejection("enum", vec![Field { default: Some(7.into()), ..field("from", Type::U32) }]);
    empty("use")
        .with_type("order-no", TypeDef::Alias(Type::String))
        .with_type(
            "charge",
            TypeDef::Variant(vec![
                case("card", Some(named("charge-card"))),
                case("nested", Some(named("deep"))),
                case("waived", None),
            ]),
        )
        .with_type("charge-card", TypeDef::Record(vec![field("number", named("order-no"))]))
        .with_type("deep", TypeDef::Variant(vec![case("static", Some(Type::U8))]))
        .with_type("marks", TypeDef::Flags(vec!["resource".into(), "own".into()]))
        .with_type("list", TypeDef::Enum(vec!["future".into(), "stream".into()]))
        .with_type("unused", TypeDef::Alias(named("order-no")))
        .with(from)
        .with(plain)
}
