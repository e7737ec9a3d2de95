//! Files that are made to hurt: each answered within a second, in a debug build on a busy machine.

use std::time::Duration;

use proptest::prelude::*;

use super::BANK;
use crate::read::{MAX_MODEL_BYTES, read};

/// Reads, measures and gives the report.
fn timed(name: &str, text: &[u8]) -> String {
    let before = cpu_time();
    let report = match read("m.yaml", text) {
        Ok(_) => panic!("accepted {name}"),
        Err(report) => report,
    };
    let rendered = report.to_string();
    let took = cpu_time() - before;
    println!("{name}: {took:?}: {}", rendered.lines().next().unwrap_or_default());
    assert!(took < Duration::from_secs(1), "{name} took {took:?}");
    assert!(rendered.len() < 200_000, "{name}: a report of {} bytes", rendered.len());
    rendered
}

/// What this thread has used of a processor: other work on the machine does not count. Where the
/// system does not tell, the time of day.
fn cpu_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let ns = told.and_then(|told| told.split_whitespace().next()?.parse().ok());
    #[expect(clippy::disallowed_methods, reason = "a test measures how long reading takes")]
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    ns.map_or_else(now, Duration::from_nanos)
}

fn filled(pattern: &str) -> String {
    pattern.repeat(MAX_MODEL_BYTES / pattern.len())
}

#[test]
fn yaml_that_nests_or_repeats_is_answered_within_a_second() {
    let patterns = [
        "[",
        "{",
        "]",
        "}",
        "- ",
        "-\n",
        "? ",
        ": ",
        "&a ",
        "*a ",
        "!a ",
        "\"",
        "'",
        "|\n",
        ">\n",
        "a: ",
        "a:\n",
        "{a: ",
        "[a, ",
        "[[],",
        "{a,",
        "[a: b,",
        "#",
        "# \n",
        "%",
        "%YAML 1.2\n",
        "---\n",
        "...\n",
        "\n",
        " ",
        "\t",
        "\r",
        "a",
        "a\n",
        "a: b\n",
        "- a\n",
        "- - - a\n",
        "a: &a b\n",
        "<<: a\n",
        "\u{1f980}",
        "\"\\u0041",
        "- [\n",
        "- {\n",
        "? a\n",
        "? - a\n",
        "'a',",
        "\"a\": b, ",
        "a b: c d\n",
        "!!str a\n",
        "key: [a, b]\n",
        "@",
        "`",
        ",",
        "~\n",
    ];
    for pattern in patterns {
        timed(pattern, filled(pattern).as_bytes());
        timed(
            pattern,
            format!("[{}", pattern.repeat((MAX_MODEL_BYTES - 1) / pattern.len())).as_bytes(),
        );
    }
}

#[test]
fn indentation_that_grows_is_answered_within_a_second() {
    let mut text = String::new();
    for depth in 0.. {
        text.push_str(&" ".repeat(depth));
        text.push_str("a:\n");
        if text.len() > MAX_MODEL_BYTES - 4000 {
            break;
        }
    }
    timed("growing indentation", text.as_bytes());
    let many: String = (0..40_000).map(|i| format!("a{i}: [{{b{i}: c}}]\n")).collect();
    timed("many keys", many.as_bytes());
    let anchors: String = (0..40_000).map(|i| format!("a{i}: &x{i} b\n")).collect();
    timed("many anchors", anchors.as_bytes());
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = "a: &a [x, x]\n".to_string();
    for (last, next) in ('a'..='y').zip('b'..='z') {
        text.push_str(&format!("{next}: &{next} [*{last}, *{last}, *{last}]\n"));
    }
    let report = timed("alias bomb", text.as_bytes());
    assert!(report.contains("aliases are not part of the model language"), "{report}");
}

#[test]
fn many_mistakes_among_many_names_stay_cheap() {
    let head = "context: c\nversion: 1.0.0\naggregates:\n  a:\n    state: { s: u64 }\n";
    let mut text = format!("{head}    commands:\n      go: {{ emits: [");
    for i in 0..20_000 {
        text.push_str(&format!("evemt{i:05},"));
    }
    text.push_str("] }\n    events:\n");
    for i in 0..20_000 {
        text.push_str(&format!("      event{i:05}x: {{}}\n"));
    }
    timed("unknown events", text.as_bytes());

    let mut text = format!(
        "{head}    commands:\n      go: {{ emits: [e] }}\n    events: {{ e: {{}} }}\ntypes:\n"
    );
    for i in 0..4000 {
        let (a, b) = (i + 1, i + 2);
        text.push_str(&format!(
            "  t{i}: {{ record: {{ a: t{a}, b: t{b}, c: \"tuple<t{a}, t{a}>\", d: tt{i} }} }}\n"
        ));
    }
    timed("types that double", text.as_bytes());

    let mut text = "context: c\nversion: 1.0.0\ntypes:\n".to_string();
    for i in 0..4000 {
        text.push_str(&format!("  t{i}: {{ enum: [a] }}\n"));
    }
    text.push_str("  all: { record: {");
    (0..80).for_each(|i| text.push_str(&format!("x{i}: t{i}, ")));
    text.push_str("} }\naggregates:\n");
    for i in 0..256 {
        text.push_str(&format!(
            "  g{i}: {{ state: {{ s: all }}, commands: {{ go: {{ emits: [e] }} }}, events: {{ e: {{ x: all, y: nil }} }} }}\n"
        ));
    }
    timed("aggregates that reach everything", text.as_bytes());
}

#[test]
fn wide_models_stay_cheap() {
    let head = "context: c\nversion: 1.0.0\naggregates:\n  a:\n    state: { s: u64 }\n";
    let mut text = format!("{head}    commands:\n");
    (0..9000).for_each(|i| text.push_str(&format!("      c{i}: {{ emits: [e1, ex] }}\n")));
    text.push_str("    events:\n");
    (0..15_000).for_each(|i| text.push_str(&format!("      e{i}:\n")));
    timed("many commands and events", text.as_bytes());

    for fields in [256, 20_000] {
        let mut text =
            format!("{head}    commands: {{ c: {{ emits: [e] }} }}\n    events:\n      e:\n");
        (0..fields).for_each(|i| text.push_str(&format!("        f{i}: u8\n")));
        text.push_str("scenarios:\n  - name: n\n    actor: a/1\n    given: [");
        text.push_str(&"e,".repeat(40_000));
        text.push_str("]\n    when: c\n    then: []\n");
        timed("many events with many fields", text.as_bytes());
    }

    let mut text = format!(
        "{head}    commands: {{ c: {{ emits: [e] }} }}\n    events:\n      e: {{ x: t }}\n"
    );
    text.push_str("types:\n  t: { enum: [");
    (0..256).for_each(|i| text.push_str(&format!("c{i},")));
    text.push_str("] }\nscenarios:\n  - name: n\n    actor: a/1\n    given: [");
    text.push_str(&"e: { x: c300 },".repeat(16_000));
    text.push_str("]\n    when: c\n    then: []\n");
    timed("many unknown cases", text.as_bytes());

    let mut text = format!(
        "{head}    commands: {{ c: {{ emits: [e] }} }}\n    events:\n      e: {{ x: u8 }}\n"
    );
    text.push_str("scenarios:\n  - { name: n, actor: a/1, when: c, then: [ { e: {");
    (0..45_000).for_each(|i| text.push_str(&format!("y{i}: 1,")));
    text.push_str("} } ] }\n");
    timed("many unknown fields", text.as_bytes());
}

#[test]
fn long_names_and_values_are_quoted_short() {
    let long = "x".repeat(900_000);
    for text in [
        format!("{long}: 1\n"),
        format!("context: {long}\n"),
        format!("context: \"{long}\"\n"),
        BANK.replace("balance: u64", &format!("balance: list<{long}>")),
        BANK.replace("balance: u64", &format!("balance: \"{}\"", "list<".repeat(180_000))),
        BANK.replace("amount: 20", &format!("amount: {}", "9".repeat(900_000))),
        BANK.replace("amount: 20", &format!("amount: [{}]", "9,".repeat(90_000))),
        BANK.replace("account/alice", &format!("account/{long}")),
        BANK.replace("5m", &"9".repeat(900_000)),
        BANK.replace("0.1.0", &"9.".repeat(400_000)),
        BANK.replace("2026-01-01T00:00:00Z", &"2026-".repeat(100_000)),
    ] {
        timed(text.get(..30).unwrap(), text.as_bytes());
    }
}

#[test]
fn what_is_no_text_is_told() {
    let big = vec![b'a'; MAX_MODEL_BYTES + 1];
    assert_eq!(
        timed("large", &big),
        "m.yaml:1:1: error: the file is too large: 1048577 bytes, at most 1048576\n  \
         help: a model is one bounded context: split it\n"
    );
    assert!(timed("10 MB", &vec![b'a'; 10_000_000]).contains("too large"));
    assert_eq!(
        timed("latin-1", b"context: a\nabout: caf\xe9\n"),
        "m.yaml:2:11: error: not UTF-8: byte 21 is not part of a character\n  \
         help: save it as UTF-8\n"
    );
    assert!(timed("bom", "\u{feff}context: a".as_bytes()).contains("byte order mark"));
    assert!(timed("utf-16", b"\xff\xfec\0o\0").contains("UTF-16"));
    assert!(timed("empty", b"").contains("the file is empty"));
    assert!(timed("comment", b"# nothing\n").contains("the file is empty"));
    timed("nul", b"context: a\0b\n");
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = read("m.yaml", text.as_bytes()).map_err(|report| report.to_string());
    }

    #[test]
    fn no_yaml_like_text_makes_the_reader_panic(
        text in "([a-z]{1,3}: |- |\\? |[\\[\\]{},&*!|>'\"%@`#:-]|\n {0,6}|[a-z]|\t){0,60}"
    ) {
        let _ = read("m.yaml", text.as_bytes()).map_err(|report| report.to_string());
    }

    #[test]
    fn no_damage_to_a_model_makes_the_reader_panic(
        cut in 0..BANK.len(), length in 0_usize..40, put in "[\\[\\]{},:<>a-z0-9 \n\"~-]{0,12}"
    ) {
        let end = (cut + length).min(BANK.len());
        let text = format!("{}{put}{}", &BANK[..cut], &BANK[end..]);
        if let Err(report) = read("m.yaml", text.as_bytes()) {
            let lines = text.lines().count() + 1;
            for problem in &report.problems {
                prop_assert!(problem.at.line >= 1 && problem.at.line <= lines, "{problem:?}");
                prop_assert!(problem.at.column >= 1 && problem.width >= 1, "{problem:?}");
            }
            prop_assert!(!report.to_string().is_empty());
        }
    }
}
