//! The examples of `docs/model.md` are what they say.

use super::{accepted, read};

const PAPER: &str = include_str!("../../../../docs/model.md");

/// The fenced blocks of the paper: what stands behind the fence, and the text.
fn blocks() -> Vec<(&'static str, String)> {
    let mut blocks = Vec::new();
    let mut lines = PAPER.lines();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            let body = lines.by_ref().take_while(|line| *line != "```");
            blocks.push((kind, body.map(|line| format!("{line}\n")).collect()));
        }
    }
    blocks
}

/// A fragment as a whole model: what it lacks is put around it.
fn completed(fragment: &str, whole: &str) -> String {
    let head = "context: paper\nversion: 1.0.0\n";
    let rest = "aggregates: { a: { state: { s: u8 }, commands: { c: { emits: [e] } }, events: { e: {} } } }\n";
    match fragment.split_once(':').unwrap().0 {
        "context" => fragment.to_string(),
        "types" => format!("{head}{fragment}{rest}"),
        "aggregates" => format!("{head}{fragment}"),
        "scenarios" => format!("{}{fragment}", whole.split_once("scenarios:").unwrap().0),
        other => panic!("a fragment that starts with `{other}`"),
    }
}

#[test]
fn every_example_is_a_model() {
    let blocks = blocks();
    let examples: Vec<_> = blocks.iter().filter(|(kind, _)| *kind == "yaml").collect();
    assert_eq!(examples.len(), 6);
    for (_, example) in &examples {
        let (_, warnings) = accepted(&completed(example, &examples[0].1));
        assert_eq!(warnings, [], "{example}");
    }
}

#[test]
fn the_mistakes_are_told_as_shown() {
    let blocks = blocks();
    let wrong = blocks.iter().position(|(kind, _)| *kind == "yaml wrong").unwrap();
    let report = read("shop.storm.yaml", blocks[wrong].1.as_bytes()).unwrap_err();
    assert_eq!(blocks[wrong + 1], ("text", report.to_string()));
}
