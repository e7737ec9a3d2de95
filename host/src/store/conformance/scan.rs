//! Scans: everything that is there, in order within each partition, and then an end.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::StreamExt;

use super::{
    Subject,
    feed::interleaved,
    kit::{self, Log, account},
};
use crate::{
    address::Address,
    record::Position,
    store::{FeedError, Reach, Scan, Scanned},
};

/// How long a scan may be silent.
const SILENCE: Duration = Duration::from_secs(30);

pub(super) async fn a_scan_gives_what_is_there_and_ends(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let written = interleaved(&store, 20, 30).await;
    let mut shop = Log::new(&store, Address::new("shop", "account", "other").unwrap());
    shop.write("of another context").await;
    let scan = store.scan("bank", &Reach::default()).await.unwrap();
    let end = scan.end.clone();
    let scanned = all(scan).await;
    assert_eq!(by_actor(&scanned), written);
    assert_in_order(&scanned, &Reach::default(), &end);
}

pub(super) async fn a_scan_goes_on_behind_what_was_read(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    interleaved(&store, 5, 4).await;
    let first = store.scan("bank", &Reach::default()).await.unwrap().end;
    let nothing = store.scan("bank", &first).await.unwrap();
    assert_eq!(nothing.end, first);
    assert!(all(nothing).await.is_empty());
    let mut late = Log::new(&store, account("late"));
    let written: Vec<_> = [late.write("1").await.position, late.write("2").await.position].into();
    let scan = store.scan("bank", &first).await.unwrap();
    let end = scan.end.clone();
    let rest = all(scan).await;
    assert_eq!(by_actor(&rest), HashMap::from([(account("late"), written)]));
    assert_in_order(&rest, &first, &end);
}

pub(super) async fn a_scan_beside_writers_gives_what_was_acknowledged_before(
    subject: Arc<dyn Subject>,
) {
    let store = kit::open(&subject).await;
    let before = interleaved(&store, 8, 10).await;
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            let mut log = Log::new(&store, account("meanwhile"));
            for n in 0..200 {
                log.write(&n.to_string()).await;
            }
        }
    });
    for _ in 0..3 {
        let scan = store.scan("bank", &Reach::default()).await.unwrap();
        let end = scan.end.clone();
        let mut scanned = all(scan).await;
        assert_in_order(&scanned, &Reach::default(), &end);
        scanned.retain(|record| record.actor != account("meanwhile"));
        assert_eq!(by_actor(&scanned), before);
    }
    writer.await.unwrap();
}

pub(super) async fn an_empty_context_is_scanned(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    let scan = store.scan("bank", &Reach::default()).await.unwrap();
    assert!(scan.end.0.iter().all(|end| *end == Position(0)) && !scan.end.0.is_empty());
    assert!(all(scan).await.is_empty());
}

pub(super) async fn a_foreign_reach_is_refused(subject: Arc<dyn Subject>) {
    let store = kit::open(&subject).await;
    interleaved(&store, 3, 1).await;
    let end = store.scan("bank", &Reach::default()).await.unwrap().end;
    let ahead = Reach(end.0.iter().map(|end| Position(end.0 + 1000)).collect());
    let longer = Reach([end.0.clone(), vec![Position(0)]].concat());
    for foreign in [ahead, longer] {
        let scan = store.scan("bank", &foreign).await;
        assert!(matches!(scan, Err(FeedError::Cursor(_))), "{foreign:?} is taken");
    }
}

/// Everything that a scan gives.
async fn all(mut scan: Scan) -> Vec<Scanned> {
    let mut records = Vec::new();
    loop {
        let page = tokio::time::timeout(SILENCE, scan.pages.next()).await;
        match page.unwrap_or_else(|_| panic!("silent after {} records", records.len())) {
            Some(page) => {
                let page = page.expect("a page");
                assert!(!page.is_empty(), "an empty page");
                records.extend(page);
            }
            None => return records,
        }
    }
}

fn by_actor(scanned: &[Scanned]) -> HashMap<Address, Vec<Position>> {
    let mut found: HashMap<Address, Vec<Position>> = HashMap::new();
    for record in scanned {
        found.entry(record.actor.clone()).or_default().push(record.stored.position);
    }
    found
}

/// Positions grow within each partition, between `from` and `end`.
fn assert_in_order(scanned: &[Scanned], from: &Reach, end: &Reach) {
    let mut last = if from.0.is_empty() { vec![Position(0); end.0.len()] } else { from.0.clone() };
    for record in scanned {
        let last = last.get_mut(record.partition).expect("a partition of the reach");
        assert!(record.stored.position > *last, "{record:?} comes after {last}");
        *last = record.stored.position;
    }
    assert!(last.iter().zip(&end.0).all(|(last, end)| last <= end), "{last:?} beyond {end:?}");
}
