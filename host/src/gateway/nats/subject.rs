//! The grammar of subjects: what a command's says, and where its answer may go.

use crate::{
    address::{Address, decode_id},
    failure::{Code, Failure},
    gateway::request::invalid,
};

/// Whether an answer may go to the subject `reply`.
#[must_use]
pub fn is_callers(prefix: &str, reply: &str) -> bool {
    let own = reply.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'));
    let plain = reply.split('.').all(|token| !matches!(token, "" | "*" | ">"));
    plain && !own && !reply.starts_with('$')
}

/// What tells a caller from others: the first two words of where its answers go. A client takes
/// such a name at random, and permissions can give one to each user; none, for requests that want
/// no answer.
#[must_use]
pub fn caller(reply: Option<&str>) -> &str {
    let reply = reply.unwrap_or_default();
    let second = reply.match_indices('.').nth(1);
    second.map_or(reply, |(end, _)| reply.get(..end).unwrap_or(reply))
}

/// Actor and command of `PREFIX.cmd.CONTEXT.AGGREGATE.ID.COMMAND`.
///
/// # Errors
/// `invalid` or `unknown`, if the subject is not one.
pub fn parse(prefix: &str, subject: &str) -> Result<(Address, String), Failure> {
    let rest = subject.strip_prefix(prefix).and_then(|rest| rest.strip_prefix(".cmd."));
    let parts: Vec<&str> = rest.unwrap_or_default().split('.').collect();
    let [context, aggregate, token, name] = parts.as_slice() else {
        return Err(invalid(format!(
            "`{subject}`: expected {prefix}.cmd.CONTEXT.AGGREGATE.ID.COMMAND"
        )));
    };
    let id = decode_id(token).map_err(|error| invalid(error.to_string()))?;
    let to = Address::new(context, aggregate, &id)
        .map_err(|error| Failure::new(Code::Unknown, error.to_string()))?;
    Ok((to, (*name).to_owned()))
}
