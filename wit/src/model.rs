//! The model as data: what [`crate::read()`] gives for a text without mistakes.
//!
//! Everything here is checked: names are kebab-case and known, types resolve and are not
//! recursive, values fit their types. Order is the order of the text.

use std::{sync::Arc, time::Duration};

use indexmap::IndexMap;
use serde_json::Value;

use crate::Digest;

/// One bounded context, as its team wrote it.
#[derive(Debug, Clone)]
pub struct Model {
    /// SHA-256 of the text: what identifies the model.
    pub digest: Digest,
    /// The text itself.
    pub source: Arc<str>,
    /// Where what follows stands in the text.
    pub places: Places,
    /// The bounded context, e.g. `bank`.
    pub context: String,
    /// For people; the digest identifies.
    pub version: semver::Version,
    /// What the context is about.
    pub about: Option<String>,
    /// Paths of component files, relative to the model's folder.
    pub components: Vec<String>,
    /// Named types, those made from inline payloads (`TYPE-CASE`) included.
    pub types: IndexMap<String, TypeDecl>,
    /// The aggregates by name.
    pub aggregates: IndexMap<String, Aggregate>,
    /// Examples that every component must satisfy.
    pub scenarios: Vec<Scenario>,
}

impl Model {
    /// The aggregate of that name.
    #[must_use]
    pub fn aggregate(&self, name: &str) -> Option<&Aggregate> {
        self.aggregates.get(name)
    }
}

/// Where the parts of a model stand that have no place of their own; line 0 for what is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Places {
    /// Of `context`.
    pub context: Location,
    /// Of `version`.
    pub version: Location,
    /// Of `about`.
    pub about: Location,
    /// Of `components`.
    pub components: Location,
}

/// Where something stands in the model's text; both numbers start at 1, columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Location {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// A named type.
#[derive(Debug, Clone)]
pub struct TypeDecl {
    /// Where its name stands.
    pub at: Location,
    /// What it means.
    pub about: Option<String>,
    /// Its shape.
    pub def: TypeDef,
}

/// The shape of a named type.
#[derive(Debug, Clone, PartialEq)]
pub enum TypeDef {
    /// Named fields; at least one.
    Record(Vec<Field>),
    /// Named cases, some with a payload; at least one.
    Variant(Vec<Case>),
    /// Named cases without payload; at least one.
    Enum(Vec<String>),
    /// A set of named marks; at least one.
    Flags(Vec<String>),
    /// Another name for a type.
    Alias(Type),
}

/// One case of a variant.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Where its name stands.
    pub at: Location,
    /// Its name.
    pub name: String,
    /// What it carries.
    pub payload: Option<Type>,
}

/// A type as written in a field: WIT's own types by name, or a named type of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the cases are WIT's types by their WIT names")]
pub enum Type {
    Bool,
    S8,
    S16,
    S32,
    S64,
    U8,
    U16,
    U32,
    U64,
    F32,
    F64,
    Char,
    String,
    List(Box<Type>),
    Option(Box<Type>),
    Tuple(Vec<Type>),
    Result { ok: Option<Box<Type>>, err: Option<Box<Type>> },
    Named(String),
}

/// One field of a record, command, event, rejection or state.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Where its name stands.
    pub at: Location,
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// The value of a field that is left out, as JSON that fits the type.
    pub default: Option<Value>,
    /// The name it had before.
    pub was: Option<String>,
    /// What it means.
    pub about: Option<String>,
}

/// A type of actor.
#[derive(Debug, Clone)]
pub struct Aggregate {
    /// Where its name stands.
    pub at: Location,
    /// Its name.
    pub name: String,
    /// What it is.
    pub about: Option<String>,
    /// The fields of its state; at least one.
    pub state: Vec<Field>,
    /// Its commands by name; at least one.
    pub commands: IndexMap<String, Command>,
    /// Its events by name; at least one.
    pub events: IndexMap<String, Event>,
    /// The named reasons for which it refuses commands.
    pub rejections: IndexMap<String, Rejection>,
    /// What becomes of stored events that the model cannot read as they stand, by the name that
    /// they are stored under.
    pub upcasts: IndexMap<String, Upcast>,
    /// How the host treats its actors.
    pub runtime: Runtime,
}

impl Aggregate {
    /// The event that is called `stored`, or was called so before.
    #[must_use]
    pub fn event_named(&self, stored: &str) -> Option<(&String, &Event)> {
        let now = self.events.get_key_value(stored);
        now.or_else(|| self.events.iter().find(|(_, event)| event.was.as_deref() == Some(stored)))
    }

    /// The upcast of events that are stored as `stored`, with the name that it stands under: that
    /// name, or the name of the event that was called so before.
    #[must_use]
    pub fn upcast_of(&self, stored: &str) -> Option<(&String, &Upcast)> {
        self.upcasts.get_key_value(stored).or_else(|| {
            let (name, _) = self.event_named(stored)?;
            self.upcasts.get_key_value(name)
        })
    }

    /// Whether the component does upcasts: whether it exports `AGGREGATE-upcasts`.
    #[must_use]
    pub fn component_upcasts(&self) -> bool {
        self.upcasts.values().any(|upcast| upcast.how == How::Component)
    }
}

/// Something that an actor may be asked to do.
#[derive(Debug, Clone)]
pub struct Command {
    /// Where its name stands.
    pub at: Location,
    /// What it means.
    pub about: Option<String>,
    /// What the caller says.
    pub fields: Vec<Field>,
    /// Names of the events that it may give.
    pub emits: Vec<String>,
    /// Names of the rejections that it may give.
    pub rejects: Vec<String>,
}

/// Something that happened to an actor.
#[derive(Debug, Clone)]
pub struct Event {
    /// Where its name stands.
    pub at: Location,
    /// What it means.
    pub about: Option<String>,
    /// The name it had before.
    pub was: Option<String>,
    /// What is known of it.
    pub fields: Vec<Field>,
}

/// A named reason for which a command is refused.
#[derive(Debug, Clone)]
pub struct Rejection {
    /// Where its name stands.
    pub at: Location,
    /// What it means.
    pub about: Option<String>,
    /// The name it had before.
    pub was: Option<String>,
    /// What the caller is told.
    pub fields: Vec<Field>,
}

/// What becomes of the stored events of one name, where the model cannot read them as they stand.
#[derive(Debug, Clone)]
pub struct Upcast {
    /// Where the name stands.
    pub at: Location,
    /// Who does it.
    pub how: How,
}

/// Who does an upcast.
#[derive(Debug, Clone, PartialEq)]
pub enum How {
    /// The component, by its interface `AGGREGATE-upcasts`.
    Component,
    /// The host, by these rules.
    Rules(Box<Rules>),
}

/// An upcast that the model itself tells. What it does, and in which order: [`crate::upcast`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// The event that it becomes, where that is not the one of its name.
    pub to: Option<String>,
    /// Stored fields that are left out.
    pub drop: Vec<String>,
    /// The new names of stored fields.
    pub rename: IndexMap<String, String>,
    /// Values of fields, whatever is stored.
    pub set: IndexMap<String, Value>,
    /// Values of fields, where nothing is stored.
    pub default: IndexMap<String, Value>,
    /// Record fields, each with the fields that move into it.
    pub into: IndexMap<String, Vec<String>>,
}

impl Rules {
    /// Whether it says what becomes of the stored field `name`.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        self.rename.contains_key(name)
            || self.drop.iter().any(|dropped| dropped == name)
            || self.into.values().flatten().any(|part| part == name)
    }

    /// The value that it gives a field of the model.
    #[must_use]
    pub fn gives(&self, field: &str) -> Option<&Value> {
        self.set.get(field).or_else(|| self.default.get(field))
    }
}

/// How the host treats the actors of an aggregate. Limits of the host cap these.
#[derive(Debug, Clone, PartialEq)]
pub struct Runtime {
    /// A snapshot is due after this many events.
    pub snapshot_every: u64,
    /// An actor without commands for this long falls asleep.
    pub idle: Duration,
    /// How many commands may wait for one actor.
    pub mailbox: u32,
    /// Most memory of one instance, in bytes.
    pub memory: u64,
    /// Longest that the component may take for one command.
    pub deadline: Duration,
    /// How many recent turns an actor's ledger remembers.
    pub dedupe: u32,
    /// How long an instance is kept.
    pub isolation: Isolation,
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            snapshot_every: 100,
            idle: Duration::from_secs(300),
            mailbox: 256,
            memory: 64 << 20,
            deadline: Duration::from_millis(100),
            dedupe: 64,
            isolation: Isolation::Actor,
        }
    }
}

/// How long a component instance is kept; it serves one actor in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// While the actor is awake, up to the host's instance limit.
    Actor,
    /// For one command.
    Turn,
}

/// An example: what happened before, what is asked, what must come out.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Where it stands.
    pub at: Location,
    /// Its name.
    pub name: String,
    /// The aggregate of its actor.
    pub aggregate: String,
    /// The id of its actor.
    pub id: String,
    /// What happened before.
    pub given: Vec<Named>,
    /// One or more commands, one after the other, each with its outcome.
    pub steps: Vec<Step>,
}

/// The name of an event, command or rejection with its fields as JSON.
///
/// The fields are a JSON object, complete but for options that are none and fields with a default;
/// `{}` where there are none. The order of its keys means nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// Where it stands.
    pub at: Location,
    /// Its name.
    pub name: String,
    /// Its fields: always an object.
    pub fields: Value,
}

/// One command of a scenario and what must come of it.
#[derive(Debug, Clone)]
pub struct Step {
    /// The command.
    pub when: Named,
    /// The host's time, in ms since 1970.
    pub when_at: Option<u64>,
    /// Who asks.
    pub by: Option<String>,
    /// The seed that the component sees.
    pub seed: Option<u64>,
    /// What must come out.
    pub then: Then,
}

/// What must come of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Then {
    /// The domain says no, in these words.
    Rejected(Named),
    /// The command is accepted.
    Accepted {
        /// Exactly these events, if given.
        events: Option<Vec<Named>>,
        /// These fields of the state afterwards, if given: an object with a part of the fields.
        state: Option<Value>,
    },
}
