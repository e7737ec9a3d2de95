//! Folding the actors that are awake before new code serves them.
//!
//! While the former code still serves, each awake actor is folded by the code that comes after it,
//! off the actor's own way. When that code serves, an actor only reads what was written meanwhile.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};

use crate::{
    clock,
    env::Env,
    mailbox::Cell,
    served::{Realm, Served},
    wake::fold_ahead,
};

/// How long actors are folded beforehand. Those that are left are folded when they are asked.
const AHEAD: Duration = Duration::from_secs(1);

/// How many are folded at once: the commands of the day go on beside it.
const AT_ONCE: usize = 4;

/// Most actors that are folded beforehand: each is in memory twice until it goes over.
const MOST: usize = 10_000;

/// Folds the awake actors of `former` with the code of `next`.
pub async fn fold(env: &Env, former: &Served, next: &Served) {
    let until = clock::now() + AHEAD;
    let awake = former.realms.iter().filter_map(|(name, realm)| {
        let next = next.realms.get(name)?;
        Some(realm.actors.all().into_iter().map(move |cell| (cell, next)))
    });
    let awake: Vec<(Arc<Cell>, &Arc<Realm>)> = awake.flatten().take(MOST).collect();
    stream::iter(awake)
        .for_each_concurrent(AT_ONCE, |(cell, realm)| async move {
            if clock::now() >= until {
                return;
            }
            // What cannot be folded is told when the actor is asked.
            if let Some(vm) = fold_ahead(env, realm, cell.actor(), until).await {
                cell.keep_next(Box::new(vm));
            }
            tokio::task::yield_now().await;
        })
        .await;
}
