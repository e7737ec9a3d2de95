//! Folding the actors that are awake before new code serves them.
//!
//! While the former code still serves, each awake actor is folded by the code that comes after it,
//! off the actor's own way. When that code serves, an actor only reads what was written meanwhile.
//! One that no replay covered is [checked](super::rests) first, so that its next command need not
//! wait for that either.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};

use crate::{
    clock,
    env::Env,
    mailbox::Cell,
    served::{Realm, Served},
    step::step,
    wake::fold_ahead,
};

/// How long actors are folded beforehand. Those that are left are folded when they are asked.
const AHEAD: Duration = Duration::from_secs(1);

/// How many are folded at once: the commands of the day go on beside it.
const AT_ONCE: usize = 4;

/// How long one of those that are left to be checked is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Most actors that are folded beforehand: each is in memory twice until it goes over.
const MOST: usize = 10_000;

/// An awake actor, and the code that is to serve it.
type Awake = (Arc<Cell>, Arc<Realm>);

/// Folds the awake actors of `former` with the code of `next`. Gives those for whose check there was
/// no time.
pub async fn fold(env: &Arc<Env>, former: &Served, next: &Served) -> Vec<Awake> {
    let until = clock::now() + AHEAD;
    let awake = former.realms.iter().filter_map(|(name, realm)| {
        let next = next.realms.get(name)?;
        Some(realm.actors.all().into_iter().map(move |cell| (cell, next.clone())))
    });
    let awake: Vec<Awake> = awake.flatten().take(MOST).collect();
    let folded = stream::iter(awake).map(|(cell, realm)| async move {
        let (actor, rests) = (cell.actor(), realm.rests.as_ref());
        let unchecked = rests.filter(|rests| rests.hold(actor));
        if clock::now() >= until {
            return unchecked.is_some().then_some((cell, realm));
        }
        // What cannot be folded is told when the actor is asked.
        if let Some(rests) = unchecked
            && rests.check(env, &realm, actor, until).await.is_err()
        {
            return None;
        }
        if let Some(vm) = fold_ahead(env, &realm, actor, until).await {
            cell.keep_next(Box::new(vm));
        }
        tokio::task::yield_now().await;
        None
    });
    let left = folded.buffer_unordered(AT_ONCE).filter_map(std::future::ready);
    step!("ahead.fold", left.collect().await)
}

/// Checks those for whom there was no time, one after the other, as long as their code serves.
pub async fn check(env: &Arc<Env>, left: Vec<Awake>) {
    for (cell, realm) in left {
        if realm.is_superseded() {
            return;
        }
        if let Some(rests) = &realm.rests {
            // What is found is remembered for the actor's next command.
            let _ = rests.check(env, &realm, cell.actor(), clock::now() + PATIENCE).await;
        }
    }
}
