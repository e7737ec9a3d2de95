//! What every store must do, as one list of checks that each store runs.
//!
//! A store brings a [`Subject`]: one empty storage on which stores can be opened, and a way to
//! damage what lies there from outside. [`run`] gives every check a subject of its own, goes on
//! after a failure, and panics at the end with the names of all checks that failed.
//!
//! ```no_run
//! # use aether::store::conformance::{self, Subject};
//! # use futures::future::BoxFuture;
//! # async fn example(fresh: fn() -> BoxFuture<'static, Box<dyn Subject>>) {
//! conformance::run(fresh).await;
//! # }
//! ```

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "these are tests that other crates can call: a failed check panics"
)]

mod append;
mod catalogue;
mod damage;
mod feed;
mod kit;
mod listing;
mod scan;
mod snapshot;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::{
    address::Address,
    record::Position,
    store::{EventStore, StoreError},
};

/// Longest time for one check: far above what any needs, so that a store that hangs is named.
const CHECK_LIMIT: Duration = Duration::from_secs(120);

/// One storage, empty at first, and the stores on it.
#[async_trait]
pub trait Subject: Send + Sync + 'static {
    /// Opens a store on the storage. Called again after the former store was closed, and while
    /// it is open: a shared store then gives a second handle, any other one refuses.
    async fn open(&self) -> Result<Arc<dyn EventStore>, StoreError>;

    /// Damages the record of `actor` at `position` behind the store's back. No store is open
    /// meanwhile. Records at other positions stay as and where they are.
    async fn tamper(&self, actor: &Address, position: Position, how: Tamper);

    /// Whether `find_command` knows every id that was ever appended.
    fn keeps_command_ids(&self) -> bool;
}

/// What happens to a record behind the store's back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tamper {
    /// Its bytes become others, as many as before.
    Corrupt,
    /// The second half of its bytes is gone.
    Truncate,
    /// It is gone.
    Remove,
}

/// One thing that every store must do.
pub struct Check {
    /// Its name, as failures show it.
    pub name: &'static str,
    /// Runs it on an empty subject; panics if the store fails it.
    pub run: fn(Arc<dyn Subject>) -> BoxFuture<'static, ()>,
}

/// Names of functions `async fn(Arc<dyn Subject>)` as checks.
macro_rules! list {
    ($($module:ident :: $check:ident),* $(,)?) => {
        vec![$(Check {
            name: concat!(stringify!($module), "::", stringify!($check)),
            run: |subject| Box::pin($module::$check(subject)),
        }),*]
    };
}

/// All checks, in the order in which they run.
#[must_use]
pub fn checks() -> Vec<Check> {
    list![
        append::an_actor_without_records_is_empty,
        append::what_was_appended_is_read_back,
        append::a_record_may_hold_many_events,
        append::a_tail_is_read_from_a_position,
        append::pages_join_to_the_whole_log,
        append::another_expectation_is_a_conflict,
        append::one_of_32_writers_wins_each_round,
        append::the_largest_record_fits_and_one_byte_more_does_not,
        append::a_past_deadline_is_never_acknowledged,
        append::a_caller_that_goes_away_breaks_nothing,
        append::command_ids_are_found_again,
        append::every_legal_id_keeps_its_own_log,
        append::reopening_keeps_everything,
        append::two_handles_are_shared_or_refused,
        append::a_closed_store_refuses,
        damage::an_undamaged_log_is_accepted,
        damage::corrupt_bytes_are_found,
        damage::a_cut_record_is_found,
        damage::a_record_missing_in_the_middle_is_found,
        damage::a_record_missing_at_the_end_is_found_behind_a_snapshot,
        damage::a_repair_is_kept_and_its_actor_known,
        damage::the_leader_shows_a_log_record_by_record,
        damage::a_census_tells_what_lies_there,
        snapshot::a_snapshot_comes_back,
        snapshot::a_wake_begins_with_the_record_of_its_snapshot,
        snapshot::a_snapshot_of_other_code_is_ignored,
        snapshot::an_older_snapshot_does_not_replace_a_newer_one,
        snapshot::other_code_replaces_a_newer_snapshot,
        snapshot::two_codes_keep_their_snapshots,
        snapshot::a_third_code_pushes_out_what_stands_lower,
        snapshot::a_too_large_snapshot_is_refused,
        snapshot::a_forgotten_snapshot_gives_way_to_any,
        listing::actors_are_listed_in_order_and_paged,
        listing::actors_of_other_aggregates_are_not_listed,
        feed::the_feed_begins_at_the_beginning,
        feed::the_feed_goes_on_after_any_cursor,
        feed::the_feed_catches_up_and_then_is_live,
        feed::the_feed_holds_only_its_context,
        feed::no_record_is_left_out_under_concurrent_appends,
        feed::the_feed_ends_when_the_store_closes,
        feed::a_foreign_cursor_is_refused,
        scan::a_scan_gives_what_is_there_and_ends,
        scan::a_scan_goes_on_behind_what_was_read,
        scan::a_scan_beside_writers_gives_what_was_acknowledged_before,
        scan::an_empty_context_is_scanned,
        scan::a_foreign_reach_is_refused,
        catalogue::deployments_are_numbered_without_gaps,
        catalogue::one_of_many_takes_a_number,
        catalogue::blobs_come_back_by_digest,
        catalogue::the_first_quarantine_mark_stays,
        catalogue::a_mark_of_a_later_loss_takes_the_place_of_the_first,
        catalogue::a_mark_is_taken_back_by_who_knows_it,
        catalogue::hosts_see_each_other_where_they_can,
    ]
}

/// Runs all checks, each on a subject that `fresh` makes.
///
/// # Panics
/// If a check fails; the message names every one that did.
pub async fn run<F>(fresh: F)
where
    F: Fn() -> BoxFuture<'static, Box<dyn Subject>>,
{
    let mut failed = Vec::new();
    for check in checks() {
        let subject: Arc<dyn Subject> = Arc::from(fresh().await);
        let task = tokio::spawn(tokio::time::timeout(CHECK_LIMIT, (check.run)(subject)));
        match task.await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => failed.push(format!("{} (no end within {CHECK_LIMIT:?})", check.name)),
            Err(_) => failed.push(check.name.to_owned()),
        }
    }
    assert!(failed.is_empty(), "the store fails {}: {}", failed.len(), failed.join(", "));
}
