//! An actor's folded past, as it is kept beside the log.
//!
//! A snapshot is a cache: the log alone is the truth. It is keyed by the code that folded it, and
//! it names the record that it stands on, so a log that lost its tail is noticed at the next wake.

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
const FORM: u32 = 1;

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
    let bytes = serde_json::to_vec(&form).ok()?;
    Some(store::Snapshot { key, position: chain.position, bytes: Bytes::from(bytes) })
}

/// Reads what [`encode`] wrote. Anything else is no snapshot: it will be written anew.
#[must_use]
pub fn decode(actor: &Address, plan: &Plan, stored: &store::Snapshot) -> Option<Snapshot> {
    let form: Form = serde_json::from_slice(&stored.bytes).ok()?;
    let fits = form.form == FORM
        && form.actor == actor.to_string()
        && form.position == stored.position
        && form.version > 0;
    if !fits {
        return None;
    }
    let state = Reader::Log.read(plan, form.state.get().as_bytes()).ok()?;
    let chain = Chain::at(actor, form.version, form.position, form.digest);
    Some(Snapshot { chain, state, ledger: form.ledger })
}
