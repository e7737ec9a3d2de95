//! `aether fork`: a session on a scratch copy, from a file as from a person, which leaves nothing.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use aether_tests::host_process::{self, HostOptions, HostProcess};
use serde_json::json;

use super::{ALICE, all_of, closed_account};
use crate::{
    cli::at,
    evolution::{second, with_old_sales},
};

const COPY: &str = "bank/account/copy";

fn command(host: &HostProcess, arguments: &[&str]) -> Command {
    let mut command = host_process::aether(host.options().folder()).unwrap();
    command.env("AETHER_URL", host.url()).arg("fork").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(host: &HostProcess, arguments: &[&str], said: &str) -> Output {
    let mut child = command(host, arguments).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that was refused does not read.
    let _ = stdin.write_all(said.as_bytes());
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// What a session in the sandbox prints, on stdout and on stderr.
pub fn forked(host: &HostProcess, arguments: &[&str], said: &str) -> (String, String) {
    let output = run(host, &[arguments, &["--sandbox"]].concat(), said);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{out}{err}");
    (out, err)
}

fn refused(host: &HostProcess, arguments: &[&str]) -> String {
    let output = run(host, arguments, "state\n");
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]), "{err}");
    err
}

#[test]
fn commands_are_tried_on_a_copy_and_nothing_of_it_stays() {
    let host = closed_account(ALICE);
    let before = all_of(&host, ALICE);
    let (out, err) = forked(
        &host,
        &["bank/account/alice@3", COPY],
        "# what would happen?\n\
         withdraw amount=31\n\
         withdraw amount=30\n\
         deposit { \"amount\": 7 }\n\
         deposti amount=7\n\
         deposit amount=many\n\
         deposit 7\n\
         state\n\
         state 3\n\
         state 99\n\
         events 4\n\
         quit\n\
         deposit amount=1\n",
    );
    assert_eq!(err, "");
    let parts = [
        "bank/account/copy is bank/account/alice as it was at version 3, in memory only: `help` tells",
        "rejected: insufficient-funds {\"balance\":30}",
        "\n4  ",
        "  {\"amount\":30}\n  balance  30  -> 0",
        "\n5  ",
        "  {\"amount\":7}\n  balance  0  -> 7\n",
        "unknown: there is no command of `bank/account` called `deposti`; did you mean `deposit`?\n",
        "invalid: the fields of command `deposit` do not fit the model: amount: expected u64",
        "invalid: `7`: expected one JSON object, or FIELD=VALUE for each field\n",
        "bank/account/copy at version 5\n  owner           \"Alice\"\n  balance         7\n",
        "bank/account/copy at version 3\n  owner           \"Alice\"\n  balance         30\n",
        "unknown: bank/account/copy has 5 events: version 99 is not reached\n",
    ];
    let mut rest = out.as_str();
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("`{part}` is not in\n{rest}\nof\n{out}"));
        rest = &rest[at + part.len()..];
    }
    let versions: Vec<_> = rest.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(versions, ["4", "5"], "events from 4 on, and nothing behind `quit`: {rest}");

    assert_eq!(all_of(&host, ALICE), before);
    assert_eq!(at(&host, &["actors", "bank/account"]).ok().lines().count(), 1);
    let copy = at(&host, &["state", COPY, "--json"]).json();
    assert_eq!(copy["version"], 0);
}

#[test]
fn a_copy_ends_with_its_input_and_may_cut_a_turn() {
    let host = closed_account(ALICE);
    let (out, _) = forked(&host, &["bank/account/alice@4", COPY], "state");
    assert!(
        out.contains("copy at version 4\n") && out.contains("  closed          false\n"),
        "{out}"
    );
    let (out, _) = forked(&host, &[ALICE, COPY], "state\nopen owner=B");
    assert!(out.contains("copy at version 5\n") && out.contains("closed-for-good"), "{out}");
    let (out, _) = forked(&host, &["bank/account/alice@0", ALICE], "open owner='B C'\nstate\n");
    assert!(out.contains("{\"owner\":\"B C\"}") && out.contains("alice at version 1\n"), "{out}");
    let (out, _) = forked(&host, &["bank/account/nobody", COPY], "help\n");
    for told in ["  withdraw amount=…\n", "  close\n", "state [N]", "send COMMAND …", "quit"] {
        assert!(out.contains(told), "`{told}` is not in\n{out}");
    }
    // An id that ends in what looks like a version.
    at(&host, &["send", "bank/account/x@2", "open", "owner=X"]).ok();
    let (out, _) = forked(&host, &["bank/account/x@2", COPY, "--version", "1"], "state\n");
    assert!(out.contains("copy is bank/account/x@2 as it was at version 1"), "{out}");
    assert!(out.contains("  owner           \"X\"\n"), "{out}");
}

#[test]
fn what_cannot_be_forked_is_told() {
    let host = closed_account(ALICE);
    let err = refused(&host, &[ALICE, COPY]);
    assert!(err.contains("add --sandbox: the copy is in memory"), "{err}");
    assert!(err.contains("there is no fork into the real store"), "{err}");
    for (arguments, said) in [
        (["bank/account/alice@9", COPY], "has 5 events: version 9 is not reached"),
        ([ALICE, "bank/transfer/copy"], "expected bank/account/ID"),
        ([ALICE, "shop/till/copy"], "expected bank/account/ID"),
        (["bank/acount/alice", "bank/acount/copy"], "did you mean `account`?"),
        (["shop/till/one", "shop/till/copy"], "serves no context `shop`"),
    ] {
        let err = refused(&host, &[&arguments[..], &["--sandbox"]].concat());
        assert!(err.contains(said), "`{said}` is not in {err}");
    }
    let ended = at(&host, &["fork", ALICE, "copy", "--sandbox"]);
    assert!(ended.status == 2 && ended.err.contains("is not an address"), "{ended:?}");
}

#[test]
fn other_code_is_tried_on_a_copy_of_the_real_past() {
    let options = HostOptions::new().unwrap();
    with_old_sales(&options);
    let host = options.without_models().start().unwrap();
    let before = all_of(&host, "shop/till/one");
    let model = second().unwrap();
    let arguments = ["shop/till/one", "shop/till/copy", "--model", model.to_str().unwrap()];
    let said = "sell item=tea count=1 coupon=spring\nclose\nstate\nstate 2\n";
    let (out, err) = forked(&host, &arguments, said);
    assert_eq!(err, "");
    for told in
        ["  coupons  0           -> 1\n", "  closed  false  -> true\n", "copy at version 4\n"]
    {
        assert!(out.contains(told), "`{told}` is not in\n{out}");
    }
    assert!(out.ends_with("copy at version 2\n  count    4000000002\n  last     \"milk\"\n  channel  \"counter\"\n  coupons  0\n  closed   false\n"), "{out}");
    assert_eq!(all_of(&host, "shop/till/one"), before);
    assert_eq!(before.0["version"], json!(2));
}

/// The store in memory has a folder while it lives; a signal must not leave it behind.
#[test]
fn a_signal_leaves_nothing_behind() {
    use std::io::{BufRead as _, BufReader};

    use rustix::process::{Pid, Signal, kill_process};

    let host = closed_account(ALICE);
    let mut child = command(&host, &[ALICE, COPY, "--sandbox"]).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.contains("in memory only"), "{line}");
    let in_memory = |path: &PathBuf| path.to_string_lossy().starts_with("/dev/shm/aether-");
    let file = open_files(child.id()).into_iter().find(in_memory).expect("a store in memory");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!file.parent().unwrap().exists(), "{file:?}");
}

fn open_files(pid: u32) -> Vec<PathBuf> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    files.filter_map(|file| std::fs::read_link(file.path()).ok()).collect()
}
