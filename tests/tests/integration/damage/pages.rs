//! Damage of SQLite's own pages: what an index or a table cannot tell any more is refused by name
//! and found by the audit of the stopped store; it is not told as if it had never been. Accounts
//! on other pages go on.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use aether::{
    address::Address,
    clock,
    record::{Chain, Position, Stored},
    store::{
        Append, AppendError, EventStore as _, Freshness,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
};
use aether_tests::{
    host_process::{HostOptions, HostProcess},
    watchdog::memory,
};
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use super::kit::{self, AMOUNTS, MORE, address, audit, pay, state};

const PAGE: usize = 4096;

const NOWHERE: &str = "http://127.0.0.1:1";

const SUM: u64 = 15;

/// Enough accounts that every table and index has leaves.
const ACCOUNTS: usize = 40;

fn account(number: usize) -> String {
    format!("a{number:02}")
}

fn data(host: &HostProcess) -> PathBuf {
    host.options().data_folder().unwrap()
}

/// All of the store in one file, as a host that stopped leaves it.
fn fold(dir: &Path) -> PathBuf {
    let path = dir.join("store.db");
    let db = Connection::open(&path).unwrap();
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    path
}

/// What is done to a page.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// Nothing of it is left.
    Zeroed,
    /// Another page was written to its place.
    Misplaced,
    /// One bit of its head is another.
    Head(usize),
}

impl Damage {
    const ALL: [Self; 6] =
        [Self::Zeroed, Self::Misplaced, Self::Head(0), Self::Head(2), Self::Head(4), Self::Head(6)];

    fn on(self, file: &[u8], page: usize) -> Vec<u8> {
        let mut file = file.to_vec();
        let (start, pages) = (page * PAGE, file.len() / PAGE);
        match self {
            Self::Zeroed => file[start..start + PAGE].fill(0),
            Self::Misplaced => {
                let other = (page + 1) % pages * PAGE;
                file.copy_within(other..other + PAGE, start);
            }
            Self::Head(at) => file[start + at] ^= 1,
        }
        file
    }
}

/// What was found of all accounts.
#[derive(Debug, Default)]
struct Found {
    refused_to_open: usize,
    whole: usize,
    refused: usize,
    damaged: usize,
    /// Told without an error and less than there is: only for an index that has lost an entry.
    short: usize,
    appended: usize,
}

/// Whatever becomes of any page, the store neither panics nor tells less than it holds without
/// that the audit would say so.
#[tokio::test]
async fn any_page_may_be_damaged() {
    let mut host = HostOptions::bank().unwrap().start().unwrap();
    let ids: Vec<String> = (0..ACCOUNTS).map(account).collect();
    kit::fill(&host, &ids.iter().map(String::as_str).collect::<Vec<_>>());
    host.kill().unwrap();
    let file = fs::read(fold(&data(&host))).unwrap();
    let truth = read_all(&file).await;
    let pages = file.len() / PAGE;
    let mut found = Found::default();
    for page in 0..pages {
        for damage in Damage::ALL {
            let what = format!("page {} of {pages} {damage:?}", page + 1);
            examine(&damage.on(&file, page), &truth, &what, &mut found).await;
        }
    }
    println!("{pages} pages: {found:?}");
    assert!(found.refused > 0 && found.refused_to_open > 0 && found.whole > 0, "{found:?}");
}

type Logs = BTreeMap<Address, Vec<Stored>>;

fn laid_out(file: &[u8]) -> TempDir {
    let dir = tempfile::tempdir_in(memory()).unwrap();
    fs::write(dir.path().join("store.db"), file).unwrap();
    dir
}

async fn read_all(file: &[u8]) -> Logs {
    let dir = laid_out(file);
    let store = EmbeddedStore::open(dir.path(), EmbeddedOptions::default()).await.unwrap();
    assert_eq!(store.file_faults().await.unwrap(), [""; 0]);
    let mut logs = Logs::new();
    for actor in (0..ACCOUNTS).map(|n| address(&account(n)).parse::<Address>().unwrap()) {
        let page = store.read(&actor, Position(1), Freshness::Leader).await.unwrap();
        assert_eq!((page.records.len(), page.more), (1 + AMOUNTS.len(), false));
        logs.insert(actor, page.records);
    }
    store.close().await;
    logs
}

async fn examine(file: &[u8], truth: &Logs, what: &str, found: &mut Found) {
    let dir = laid_out(file);
    let store = match EmbeddedStore::open(dir.path(), EmbeddedOptions::default()).await {
        Ok(store) => store,
        Err(error) => {
            assert!(error.0.contains(&dir.path().display().to_string()), "{what}: {error}");
            found.refused_to_open += 1;
            return;
        }
    };
    let faults = store.file_faults().await;
    let named = faults.as_ref().map_or_else(|_| true, |faults| !faults.is_empty());
    for (actor, records) in truth {
        match store.read(actor, Position(1), Freshness::Leader).await {
            Err(error) => {
                assert!(!error.0.contains("is closed"), "{what}: {error}");
                assert!(named, "{what}: {error}, and the audit finds nothing");
                found.refused += 1;
            }
            Ok(page) if page.records == *records => found.whole += 1,
            Ok(page) if is_damaged(actor, &page.records) => found.damaged += 1,
            Ok(page) => {
                assert!(records.starts_with(&page.records), "{what}: {actor} has another past");
                assert!(named, "{what}: {actor} is short, and the audit finds nothing");
                found.short += 1;
            }
        }
    }
    // Every other account is tried, though the writer has met damage before.
    for (actor, records) in truth {
        match store.append(next(actor, records)).await {
            Ok(_) => found.appended += 1,
            Err(AppendError::Unavailable(_) | AppendError::Conflict { .. }) => {
                assert!(named, "{what}: {actor} cannot be written, and the audit finds nothing");
            }
            Err(other) => panic!("{what}: {actor}: {other}"),
        }
    }
    store.close().await;
}

/// Whether these records are no log.
fn is_damaged(actor: &Address, records: &[Stored]) -> bool {
    let mut chain = Chain::start(actor);
    records.iter().any(|stored| chain.accept(stored).is_err())
}

fn next(actor: &Address, records: &[Stored]) -> Append {
    Append {
        actor: actor.clone(),
        expected: records.last().map_or(Position(0), |last| last.position),
        first: records.len() as u64 + 1,
        events: 1,
        command_ids: vec!["next".to_owned()],
        bytes: "next".into(),
        deadline: clock::now() + Duration::from_secs(60),
    }
}

/// Pages that hold nothing but a part of one long record.
fn pages_of_x(file: &[u8]) -> Vec<usize> {
    let only = |page: &&[u8]| page[8..].iter().all(|byte| *byte == b'x');
    let pages = file.chunks(PAGE).enumerate();
    pages.filter(|(_, page)| only(page)).map(|(number, _)| number).collect()
}

#[test]
fn who_is_on_a_damaged_page_is_refused_by_name_and_neighbours_go_on() {
    let mut host = HostOptions::bank().unwrap().start().unwrap();
    kit::fill(&host, &["neighbour"]);
    let long = json!({"owner": "x".repeat(30_000)});
    let opened = host.client().command(&address("hurt"), "open", &long).unwrap();
    assert_eq!(opened.status, 200, "{}", opened.text());
    assert_eq!(pay(&host, "hurt", 1), Ok(2));
    host.kill().unwrap();
    let path = fold(&data(&host));
    let mut file = fs::read(&path).unwrap();
    let page = pages_of_x(&file)[1];
    file[page * PAGE..(page + 1) * PAGE].fill(0);
    fs::write(&path, file).unwrap();

    host.restart().unwrap();
    for reply in [
        host.client().get(&format!("/v1/{}", address("hurt"))).unwrap(),
        host.client().command(&address("hurt"), "deposit", &json!({"amount": 1})).unwrap(),
    ] {
        assert_eq!((reply.status, reply.code().unwrap().as_str()), (503, "unavailable"));
        let detail = reply.json().unwrap()["detail"].to_string();
        for said in ["malformed", "aether audit --data", "restore a backup"] {
            assert!(detail.contains(said), "{detail}");
        }
    }
    assert_eq!(pay(&host, "neighbour", MORE), Ok(6));
    assert_eq!(state(&host, "neighbour", ""), Ok((6, SUM + MORE)));
    let found = audit(host.options(), &host.url(), &[]);
    assert_eq!((found.status, kinds(&found)), (1, vec![(address("hurt"), "store")]));
    assert!(!host.output().contains("panicked"), "{}", host.output());
    host.terminate().unwrap();

    let found = audit(host.options(), NOWHERE, &["--data", data(&host).to_str().unwrap()]);
    let file = path.display().to_string();
    assert_eq!(found.status, 1);
    assert_eq!(kinds(&found), [(file, "file"), (address("hurt"), "store")]);
}

fn kinds(found: &kit::Audited) -> Vec<(String, &str)> {
    let mut kinds: Vec<_> =
        found.findings.iter().map(|(actor, _, kind)| (actor.clone(), kind.as_str())).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

#[test]
fn a_file_that_was_cut_or_lost_is_refused() {
    let mut host = HostOptions::bank().unwrap().start().unwrap();
    kit::fill(&host, &["alice"]);
    host.terminate().unwrap();
    let path = fold(&data(&host));
    let whole = fs::read(&path).unwrap();
    let folder = data(&host);
    let audit = ["audit", "--data", folder.to_str().unwrap()];
    let cuts = [
        (whole.len() - PAGE, "malformed"),
        (whole.len() / 2 / PAGE * PAGE, "malformed"),
        (whole.len() / 2 + 100, "malformed"),
        (PAGE, "malformed"),
        (50, "malformed"),
        (0, "says that a store was here"),
    ];
    for (length, said) in cuts {
        fs::write(&path, &whole[..length]).unwrap();
        let (status, output) = host.options().start_refused().unwrap();
        assert_eq!(status.code(), Some(2), "cut at {length}: {output}");
        let (status, _, told) = kit::aether(host.options(), NOWHERE, &audit);
        assert_eq!(status, 2, "cut at {length}: {told}");
        for output in [output, told] {
            let named = output.contains(said) && output.contains("restore a backup");
            assert!(named && !output.contains("panicked"), "cut at {length}: {output}");
        }
    }
    fs::remove_file(&path).unwrap();
    let (status, output) = host.options().start_refused().unwrap();
    assert!(status.code() == Some(2) && output.contains("a store was here"), "{output}");
    // The backup is put back; who wants to begin anew says so.
    fs::write(&path, &whole).unwrap();
    host.restart().unwrap();
    assert_eq!(state(&host, "alice", ""), Ok((5, SUM)));
    host.terminate().unwrap();
    fs::remove_file(&path).unwrap();
    fs::remove_file(path.with_file_name("STORE")).unwrap();
    host.restart().unwrap();
    assert_eq!(state(&host, "alice", ""), Ok((0, 0)));
}
