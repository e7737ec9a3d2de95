//! Failures of the host, sorted by what the caller must do.

use aether_wit::Digest;

use crate::address::Address;

/// What a failed request means for its caller; one word each, the same on every face.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request does not fit the model. Change it.
    Invalid,
    /// A payload is over a limit. Make it smaller.
    TooLarge,
    /// There is no such context, aggregate, command or version.
    Unknown,
    /// No token, or a wrong one.
    Unauthenticated,
    /// The caller expected another version. Read again.
    Conflict,
    /// Nothing was stored; the component must change.
    ComponentFault,
    /// Nothing was stored; too much waits already. Try again later.
    Overloaded,
    /// Nothing was stored; others kept writing to this actor. Try again.
    Contended,
    /// Nothing was stored; something that is needed is away. Try again later.
    Unavailable,
    /// It is not known whether it was stored. Ask again with the same id.
    Unresolved,
    /// The actor's log is damaged. An operator must look.
    Quarantined,
}

impl Code {
    /// The code's word in every answer.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::TooLarge => "too-large",
            Self::Unknown => "unknown",
            Self::Unauthenticated => "unauthenticated",
            Self::Conflict => "conflict",
            Self::ComponentFault => "component-fault",
            Self::Overloaded => "overloaded",
            Self::Contended => "contended",
            Self::Unavailable => "unavailable",
            Self::Unresolved => "unresolved",
            Self::Quarantined => "quarantined",
        }
    }

    /// The HTTP status of the code.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::TooLarge => 413,
            Self::Unknown => 404,
            Self::Unauthenticated => 401,
            Self::Conflict => 412,
            Self::ComponentFault => 500,
            Self::Overloaded => 429,
            Self::Contended => 409,
            Self::Unavailable => 503,
            Self::Unresolved => 504,
            Self::Quarantined => 423,
        }
    }

    /// The exit status of the command line for the code.
    #[must_use]
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Conflict => 1,
            Self::Invalid | Self::TooLarge | Self::Unknown | Self::Unauthenticated => 2,
            Self::Overloaded | Self::Contended | Self::Unavailable | Self::Unresolved => 3,
            Self::ComponentFault | Self::Quarantined => 4,
        }
    }
}

/// Why a request has no answer from the domain.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {detail}", .code.as_str())]
pub struct Failure {
    /// What the caller must do.
    pub code: Code,
    /// What happened, where, what was expected, and what to do next.
    pub detail: String,
    /// A finer name where the code has several: `trap`, `deadline`, `memory`, `contract`.
    pub reason: Option<&'static str>,
    /// The actor, if the request reached one.
    pub actor: Option<Address>,
    /// The command's id, if it has one.
    pub command: Option<String>,
    /// The actor's version as far as it is known.
    pub version: Option<u64>,
    /// The component, if it is at fault.
    pub component: Option<Digest>,
}

impl Failure {
    /// A failure with nothing but its code and its explanation.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            reason: None,
            actor: None,
            command: None,
            version: None,
            component: None,
        }
    }

    /// The same failure, naming the actor.
    #[must_use]
    pub fn for_actor(mut self, actor: &Address) -> Self {
        self.actor.get_or_insert_with(|| actor.clone());
        self
    }

    /// The same failure, naming the command's id.
    #[must_use]
    pub fn for_command(mut self, id: &str) -> Self {
        self.command.get_or_insert_with(|| id.to_owned());
        self
    }
}
