//! An actor's folded past, as it is kept beside the log.
//!
//! A snapshot is a cache: the log alone is the truth. It is keyed by the code that folded it, and
//! it names the record that it stands on, so a log that lost its tail is noticed at the next wake.
//! It begins with the digest of the rest of it: an altered one is none.

use aether_wit::Digest;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    address::Address,
    json::{Packed, Plan, Reader, write},
    ledger::Ledger,
    record::{Chain, Position},
    store,
};

/// The number of the form that this build writes; others are ignored.
const FORM: u32 = 3;

/// What a snapshot holds.
#[derive(Debug)]
pub struct Snapshot {
    /// The end of the log that it stands on.
    pub chain: Chain,
    /// The state there.
    pub state: Packed,
    /// The recent commands there.
    pub ledger: Ledger,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    form: u32,
    actor: String,
    version: u64,
    position: Position,
    digest: Digest,
    state: Box<RawValue>,
    ledger: Ledger,
}

/// The key of snapshots made by one component for one model: changed code must not continue
/// another code's state.
#[must_use]
pub fn key(model: &Digest, component: &Digest) -> Digest {
    Digest::of([model.as_bytes().as_slice(), component.as_bytes()].concat())
}

/// The snapshot as a store keeps it; `None` for an actor without events, which needs none.
#[must_use]
pub fn encode(
    actor: &Address,
    key: Digest,
    plan: &Plan,
    chain: &Chain,
    state: &Packed,
    ledger: &Ledger,
) -> Option<store::Snapshot> {
    let form = Form {
        form: FORM,
        actor: actor.to_string(),
        version: chain.version,
        position: chain.position,
        digest: chain.digest?,
        state: write(plan, state),
        ledger: ledger.clone(),
    };
    let body = serde_json::to_string(&form).ok()?;
    let bytes = format!("{}\n{body}", Digest::of(&body));
    Some(store::Snapshot { key, position: chain.position, bytes: Bytes::from(bytes) })
}

/// Reads what [`encode`] wrote. Anything else is no snapshot: it will be written anew.
#[must_use]
pub fn decode(actor: &Address, plan: &Plan, stored: &store::Snapshot) -> Option<Snapshot> {
    let form = form(actor, stored)?;
    let state = Reader::Log.read(plan, form.state.get().as_bytes()).ok()?;
    let chain = Chain::at(actor, form.version, form.position, form.digest);
    Some(Snapshot { chain, state, ledger: form.ledger })
}

/// The end of the log that a snapshot of `actor` stands on, whatever code made it.
#[must_use]
pub fn end(actor: &Address, stored: &store::Snapshot) -> Option<Chain> {
    let form = form(actor, stored)?;
    Some(Chain::at(actor, form.version, form.position, form.digest))
}

fn form(actor: &Address, stored: &store::Snapshot) -> Option<Form> {
    let text = std::str::from_utf8(&stored.bytes).ok()?;
    let (digest, body) = text.split_once('\n')?;
    if digest != Digest::of(body).to_string() {
        return None;
    }
    let form: Form = serde_json::from_str(body).ok()?;
    let fits = form.form == FORM
        && form.actor == actor.to_string()
        && form.position == stored.position
        && form.version > 0;
    fits.then_some(form)
}
