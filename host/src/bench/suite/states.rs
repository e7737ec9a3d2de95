//! What a command costs by the size of the state.

use anyhow::Result;

use crate::bench::{
    ground::Ground,
    hosts::{address, send},
    measure::{in_turn, looped},
    report::{Figure, Results},
};

/// What this is.
pub const SAYS: &str = "One client that sends one command after the other to an actor with a state \
    of this size as JSON: `decide` and `evolve` with the state in and out, on a store without I/O; \
    no snapshots and no gateway.";

/// Name, and how many items of about 45 bytes of JSON.
const SIZES: [(&str, u32); 5] =
    [("100-B", 2), ("1-KB", 22), ("10-KB", 222), ("100-KB", 2222), ("1-MB", 22_222)];

/// Measures each size in turn.
pub async fn run(ground: &Ground, results: &mut Results) -> Result<()> {
    let bench = ground.still().await?;
    let mut things = Vec::new();
    for (name, items) in SIZES {
        let actor = address("basket", name)?;
        send(&bench.host, &actor, "fill", &format!(r#"{{"items":{items}}}"#)).await?;
        let host = bench.host.clone();
        things.push(looped(1, 1, move |_, _| {
            let (host, actor) = (host.clone(), actor.clone());
            async move { send(&host, &actor, "change", r#"{"quantity":3}"#).await }
        }));
    }
    let things = <[_; SIZES.len()]>::try_from(things);
    let things = things.map_err(|_| anyhow::anyhow!("there is one thing for each size"))?;
    for (series, (name, _)) in in_turn(ground.scale.rounds, things).await?.iter().zip(SIZES) {
        let figure = Figure::rate(series, "commands/s");
        results.insert(format!("state-size/{name}"), figure);
    }
    bench.end().await;
    Ok(())
}
