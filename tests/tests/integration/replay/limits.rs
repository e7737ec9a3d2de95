//! Memory and time change how much is looked at, never what is found.

use std::time::Duration;

use aether::deploy::replay::{Options, sample::place};

use super::kit::{self, Ground, fill, options, till};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_does_not_depend_on_memory_or_workers() {
    let ground = Ground::in_memory().await;
    let (old, new) = (ground.served(kit::first(), 1).await, ground.served(kit::second(), 2).await);
    fill(&ground, old.model.digest).await;
    let plenty = ground.replay(&old, &new, &options()).await;
    assert_eq!(plenty.readings, 1);
    let mut readings = 1;
    for (memory, workers) in [(64 << 10, 2), (16 << 10, 1), (8 << 10, 3), (1, 2)] {
        let options = Options { memory, workers, ..options() };
        let report = ground.replay(&old, &new, &options).await;
        assert_eq!(report.findings, plenty.findings, "{memory} bytes, {workers} workers");
        assert_eq!((&report.pairs, report.actors), (&plenty.pairs, plenty.actors));
        assert_eq!(report.rest, None);
        readings = readings.max(report.readings);
    }
    assert!(readings > 5, "at most {readings} readings: the cap did not bite");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_time_only_what_must_be_covered_is_and_the_rest_goes_on_there() {
    let ground = Ground::in_memory().await;
    let (old, new) = (ground.served(kit::first(), 1).await, ground.served(kit::second(), 2).await);
    fill(&ground, old.model.digest).await;
    let all = ground.replay(&old, &new, &options()).await;
    let none = Options { budget: Some(Duration::ZERO), ..options() };
    let report = ground.replay(&old, &new, &none).await;
    let covered = report.findings.covered;
    assert!((16..=33).contains(&covered), "the longest, the newest and one per pair: {covered}");
    let rest = report.rest.unwrap();
    assert!(rest.holds(&till("long")) && rest.share() > 0.99, "{rest}");
    assert_eq!((&report.pairs, report.actors), (&all.pairs, all.actors));
    // The long till is among the longest, so its snapshot is written.
    assert_eq!(report.kept.written, 1);
    let go_on = Options { resume: Some(rest), ..options() };
    let after = ground.replay(&old, &new, &go_on).await;
    assert_eq!((after.findings, after.rest), (all.findings, None));
    // With time enough a budget changes nothing.
    let hour = Options { budget: Some(Duration::from_secs(3600)), ..options() };
    let report = ground.replay(&old, &new, &hour).await;
    assert_eq!((report.findings, report.rest), (plain(&ground, &old, &new).await, None));
    assert_ne!(place(&till("long")), place(&till("loud")));
}

async fn plain(
    ground: &Ground,
    old: &aether::served::Served,
    new: &aether::served::Served,
) -> aether::deploy::replay::findings::Findings {
    ground.replay(old, new, &options()).await.findings
}
