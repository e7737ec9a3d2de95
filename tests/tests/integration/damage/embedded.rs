//! Damage of the SQLite file, while no host runs.

use std::{collections::HashMap, fs, path::Path};

use aether_tests::host_process::{HostOptions, HostProcess};
use rusqlite::{Connection, params};

use super::kit::{self, AMOUNTS, Case, MORE, address, audit, pay, state};

/// The file of a host that does not run.
struct File {
    db: Connection,
    positions: HashMap<String, Vec<u64>>,
}

impl File {
    fn open(dir: &Path) -> Self {
        let db = Connection::open(dir.join("store.db")).unwrap();
        let mut positions: HashMap<String, Vec<u64>> = HashMap::new();
        {
            let mut all = db
                .prepare("SELECT a.token, r.position FROM records r JOIN actors a ON a.id = r.actor ORDER BY 2")
                .unwrap();
            let rows = all
                .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))
                .unwrap();
            for (token, position) in rows.map(Result::unwrap) {
                positions.entry(token).or_default().push(position.unsigned_abs());
            }
        }
        Self { db, positions }
    }

    /// The position of an account's record, counted from 1.
    fn at(&self, id: &str, record: usize) -> u64 {
        self.positions[id][record - 1]
    }

    fn bytes(&self, position: u64) -> Vec<u8> {
        let select = "SELECT bytes FROM records WHERE position = ?1";
        self.db.query_row(select, [number(position)], |row| row.get(0)).unwrap()
    }

    fn set(&self, position: u64, bytes: &[u8]) {
        let update = "UPDATE records SET bytes = ?1 WHERE position = ?2";
        assert_eq!(self.db.execute(update, params![bytes, number(position)]).unwrap(), 1);
    }

    fn alter(&self, position: u64, from: &str, to: &str) {
        let text = String::from_utf8(self.bytes(position)).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{text}");
        self.set(position, text.replace(from, to).as_bytes());
    }

    fn drop(&self, position: u64) {
        let delete = "DELETE FROM records WHERE position = ?1";
        assert_eq!(self.db.execute(delete, [number(position)]).unwrap(), 1);
    }

    fn swap(&self, one: u64, other: u64) {
        let (first, second) = (self.bytes(one), self.bytes(other));
        self.set(one, &second);
        self.set(other, &first);
    }
}

/// A position as SQLite has it.
fn number(position: u64) -> i64 {
    i64::try_from(position).unwrap()
}

const SUM: u64 = 15;

/// Damages a store with the past of [`kit::fill`]; those that end in `-kept` have snapshots.
fn damage(file: &File) -> Vec<Case> {
    // One of the middle is gone: the deposit of 2.
    let (before, without_2) = ((2, AMOUNTS[0]), (5, SUM - 2));
    let case = |id, found, skip, before, after| Case { id, found, skip, before, after };
    let mut cases = Vec::new();

    let at = file.at("flipped", 3);
    file.alter(at, "\"amount\":2", "\"amount\":3");
    let found = vec![(file.at("flipped", 4), "chain")];
    cases.push(case("flipped", found, vec![at], before, without_2));

    let at = file.at("cut", 3);
    file.set(at, &file.bytes(at)[..200]);
    cases.push(case("cut", vec![(at, "unreadable")], vec![at], before, without_2));

    file.drop(file.at("dropped", 3));
    let at = file.at("dropped", 4);
    // The record before the gap is named by nobody that is there: it is not shown.
    let before_gap = (1, 0);
    cases.push(case("dropped", vec![(at, "chain")], vec![at - 1], before_gap, without_2));

    let (third, fourth) = (file.at("swapped", 3), file.at("swapped", 4));
    file.swap(third, fourth);
    let found = vec![(third, "chain"), (fourth, "chain")];
    cases.push(case("swapped", found, vec![third - 1, fourth], before_gap, without_2));

    let at = file.at("strange", 3);
    file.set(at, &file.bytes(file.at("neighbour", 3)));
    cases.push(case("strange", vec![(at, "foreign")], vec![at], before, without_2));

    let at = file.at("typed", 5);
    file.alter(at, "\"amount\":8", "\"amount\":\"eight\"");
    cases.push(case("typed", vec![(at, "unreadable")], vec![at], (4, 7), (5, 7)));

    file.drop(file.at("shortened-kept", 4));
    let at = file.at("shortened-kept", 5);
    file.drop(at);
    cases.push(case("shortened-kept", vec![(at, "log-behind")], vec![at], (3, 3), (5, 3)));

    let at = file.at("last-kept", 5);
    file.alter(at, "\"amount\":8", "\"amount\":9");
    cases.push(case("last-kept", vec![(at, "log-behind")], vec![at], (4, 7), (5, 7)));

    let (third, fifth) = (file.at("twice", 3), file.at("twice", 5));
    file.set(third, b"{}");
    file.set(fifth, b"");
    let found = vec![(third, "unreadable"), (fifth, "unreadable")];
    cases.push(case("twice", found, vec![third, fifth], before, (4, 5)));
    cases
}

const DAMAGED: [&str; 9] = [
    "flipped",
    "cut",
    "dropped",
    "swapped",
    "strange",
    "typed",
    "shortened-kept",
    "last-kept",
    "twice",
];

const NEIGHBOURS: [&str; 2] = ["neighbour", "neighbour-kept"];

/// A host whose store holds the past of `accounts`, stopped without writing more snapshots.
fn filled(accounts: &[&str]) -> HostProcess {
    let mut host = HostOptions::bank().unwrap().start().unwrap();
    kit::fill(&host, accounts);
    for id in accounts.iter().filter(|id| id.ends_with("-kept")) {
        kit::sleep(&host, id);
    }
    host.kill().unwrap();
    host
}

fn data(host: &HostProcess) -> std::path::PathBuf {
    host.options().data_folder().unwrap()
}

#[test]
fn every_damage_of_the_file_is_found_told_and_skipped() {
    let mut host = filled(&[&DAMAGED[..], &NEIGHBOURS].concat());
    let cases = damage(&File::open(&data(&host)));
    host.restart().unwrap();
    kit::all_are_found_and_released(&mut host, &cases, &NEIGHBOURS);
}

/// Bytes of the closed file itself change, below SQLite.
#[test]
fn a_byte_flipped_in_the_file_itself_is_found() {
    let mut host = filled(&["raw", "neighbour"]);
    host.restart().unwrap();
    assert_eq!(pay(&host, "raw", 31_415_926), Ok(6));
    assert_eq!(pay(&host, "raw", 1), Ok(7));
    host.kill().unwrap();
    let at = {
        let file = File::open(&data(&host));
        file.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        file.at("raw", 6)
    };
    let path = data(&host).join("store.db");
    let mut bytes = fs::read(&path).unwrap();
    let wanted = b"\"amount\":31415926}";
    let found: Vec<_> = (0..bytes.len()).filter(|n| bytes[*n..].starts_with(wanted)).collect();
    assert_eq!(found.len(), 1);
    bytes[found[0] + wanted.len() - 2] ^= 1;
    fs::write(&path, bytes).unwrap();
    host.restart().unwrap();
    // The successor is the last record: nobody names it, so it is the one that is doubted.
    let case = Case {
        id: "raw",
        found: vec![(at + 1, "chain")],
        skip: vec![at + 1],
        before: (5, SUM),
        after: (6, SUM + 31_415_927),
    };
    assert_eq!(pay(&host, "raw", MORE), Err("quarantined".to_owned()));
    assert_eq!(state(&host, "raw", "?version=5"), Ok(case.before));
    // An operator who knows better skips the other one.
    let (status, _, said) = kit::at(
        &host,
        &["release", &address("raw"), "--skip", &at.to_string(), "--because", "it is the flipped"],
    );
    assert_eq!(status, 0, "{said}");
    assert_eq!(state(&host, "raw", ""), Ok((7, SUM + 1)));
    assert_eq!(pay(&host, "neighbour", MORE), Ok(6));
}

/// An altered snapshot is none: the log is folded. Damage before a sound snapshot hurts nobody
/// until it is read, and the audit reads it.
#[test]
fn what_a_snapshot_hides_the_audit_finds() {
    let mut host = filled(&["one-kept", "two-kept", "neighbour-kept"]);
    let file = File::open(&data(&host));
    let update = "UPDATE snapshots SET bytes = CAST(replace(CAST(bytes AS TEXT), '\"balance\":15', '\"balance\":99') AS BLOB)
        WHERE actor = (SELECT id FROM actors WHERE token = 'one-kept')";
    assert_eq!(file.db.execute(update, []).unwrap(), 1);
    let (two, at) = (file.at("two-kept", 3), file.at("one-kept", 5));
    file.set(two, b"gone");
    drop(file);
    host.restart().unwrap();
    let found = audit(host.options(), &host.url(), &[]);
    let expected = [("one-kept", at, "snapshot"), ("two-kept", two, "unreadable")];
    let expected = expected.map(|(id, at, kind)| (address(id), at, kind.to_owned()));
    assert_eq!((found.status, found.findings), (1, expected.into()));
    assert_eq!(state(&host, "one-kept", ""), Ok((5, SUM)));
    assert_eq!(state(&host, "two-kept", ""), Ok((5, SUM)));
    assert_eq!(state(&host, "two-kept", "?version=4"), Err("quarantined".to_owned()));
    let only = audit(host.options(), &host.url(), &["--actor", &address("neighbour-kept")]);
    assert_eq!((only.status, only.summary["records"].as_u64()), (0, Some(5)));
    // It can be repaired before it hurts; commands stop counting what is skipped at once.
    let skip = two.to_string();
    let arguments = ["release", &address("two-kept"), "--skip", &skip, "--because", "gone"];
    assert_eq!(kit::at(&host, &arguments).0, 0);
    assert_eq!(state(&host, "two-kept", ""), Ok((5, SUM - 2)));
    assert_eq!(pay(&host, "two-kept", 1), Ok(6));
    kit::sleep(&host, "one-kept");
    assert_eq!(audit(host.options(), &host.url(), &[]).status, 0);
}

/// A folder is audited when its host is away, and only then.
#[test]
fn a_stopped_store_is_audited_without_a_host() {
    let mut host = filled(&["cut", "neighbour-kept"]);
    let dir = data(&host);
    let folder = dir.to_str().unwrap();
    let nowhere = "http://127.0.0.1:1";
    let sound = audit(host.options(), nowhere, &["--data", folder]);
    assert_eq!((sound.status, sound.findings.len()), (0, 0));
    assert_eq!(sound.summary["actors"], 2);
    let file = File::open(&dir);
    let at = file.at("cut", 3);
    file.set(at, &file.bytes(at)[..200]);
    let stranger = "INSERT INTO actors(context, aggregate, token) VALUES('bank', 'account', 'a=')";
    file.db.execute(stranger, []).unwrap();
    file.db.execute("INSERT INTO records(actor, first, events, bytes) VALUES(last_insert_rowid(), 1, 1, x'00')", []).unwrap();
    let row: i64 = file.db.query_row("SELECT max(id) FROM actors", [], |row| row.get(0)).unwrap();
    drop(file);
    let found = audit(host.options(), nowhere, &["--data", folder]);
    let expected = [
        (address("cut"), at, "unreadable".to_owned()),
        (format!("row {row} of the table `actors`"), 0, "stranger".to_owned()),
    ];
    assert_eq!((found.status, found.findings), (1, expected.into()));

    let (status, _, said) =
        kit::aether(host.options(), nowhere, &["audit", "--data", "/nowhere/at/all"]);
    assert!(status == 2 && said.contains("/nowhere/at/all"), "{said}");
    host.restart().unwrap();
    let (status, _, said) = kit::aether(host.options(), nowhere, &["audit", "--data", folder]);
    assert!(status == 2 && said.contains("is in use by"), "{said}");
}
