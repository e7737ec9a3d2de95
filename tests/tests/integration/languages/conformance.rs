//! Every type in and out, in every language.

use std::{fs, sync::Arc, time::Duration};

use aether::{
    json::{Packed, PackedCase, Reader, write},
    vm::{Behaviour, Budget, Context, Decision, Guest, Sandbox},
};
use aether_tests::{
    languages::{self, Language},
    workspace,
};
use serde_json::{Value, json};

use super::samples;

/// Longest that a call may take: an unoptimised host with a megabyte to convert is slow.
const LONG: Duration = Duration::from_secs(60);

/// The aggregate `echo` in one language.
struct Echo {
    language: Language,
    behaviour: Arc<Behaviour>,
    guest: Guest,
    state: Packed,
}

impl Echo {
    async fn new(sandbox: &Sandbox, language: Language) -> Self {
        let path = workspace::conformance_model().unwrap();
        let text = fs::read(&path).unwrap();
        let (model, _) = aether_wit::read("conformance.storm.yaml", &text).unwrap();
        let bytes = fs::read(language.conformance().unwrap()).unwrap();
        let component = sandbox.load(bytes.into()).await.unwrap();
        let behaviour = component.behaviour(&Arc::new(model), "echo").unwrap();
        let mut guest = behaviour.guest(&"conformance/echo/one".parse().unwrap());
        let state = guest.initial(&mut Budget::new(LONG)).await.unwrap();
        Self { language, behaviour, guest, state }
    }

    /// A command with these fields, and what the host makes of them.
    fn command(&self, name: &str, fields: &Value) -> (PackedCase, String) {
        let commands = &self.behaviour.plans().commands;
        let case = commands.index_of(name).unwrap();
        let (_, plan) = commands.get(case).unwrap();
        let fields = Reader::Caller.read(plan, fields.to_string().as_bytes()).unwrap();
        let shown = write(plan, &fields).get().to_owned();
        (PackedCase { case, fields }, shown)
    }

    async fn decide(&mut self, command: &PackedCase) -> Decision {
        let context = Context {
            version: 0,
            command_id: "c".to_owned(),
            correlation_id: "c".to_owned(),
            at: 0,
            by: None,
            seed: 0,
        };
        let mut budget = Budget::new(LONG);
        let decided = self.guest.decide(&context, &self.state, command, &mut budget).await;
        decided.unwrap_or_else(|fault| panic!("{}: {fault:?}", self.language))
    }

    /// The values go in as a command, come out as events, go in as those and come out as a state.
    async fn keep(&mut self, what: &str, values: &[Value]) {
        let language = self.language;
        let (command, _) = self.command("keep", &json!({ "values": values }));
        let Decision::Events(events) = self.decide(&command).await else {
            panic!("{language} refuses {what}")
        };
        assert_eq!(events.len(), values.len(), "{language}: {what}");
        let (_, plan) = self.behaviour.plans().events.get(0).unwrap();
        for (value, event) in values.iter().zip(&events) {
            let wanted = json!({ "value": value });
            let wanted = Reader::Caller.read(plan, wanted.to_string().as_bytes()).unwrap();
            same(language, what, write(plan, &wanted).get(), write(plan, &event.fields).get());
        }
        let mut budget = Budget::new(LONG);
        let after = self.guest.evolve(&self.state, &events, &mut budget).await.unwrap();
        let plan = &self.behaviour.plans().state;
        let count = |state: &Packed| {
            let json: Value = serde_json::from_str(write(plan, state).get()).unwrap();
            json["count"].as_u64().unwrap()
        };
        let count = count(&self.state) + values.len() as u64;
        let wanted = json!({ "count": count, "last": values.last() });
        let wanted = Reader::Caller.read(plan, wanted.to_string().as_bytes()).unwrap();
        same(language, what, write(plan, &wanted).get(), write(plan, &after).get());
        self.state = after;
    }

    async fn refuse(&mut self, number: usize, value: &Value) {
        let (command, _) = self.command("refuse", &json!({ "number": number, "value": value }));
        let Decision::Rejected(rejection) = self.decide(&command).await else {
            panic!("{} does not refuse {number}", self.language)
        };
        let (name, plan) = self.behaviour.plans().rejections.get(rejection.case).unwrap();
        assert_eq!(**name, format!("r{number}"), "{}", self.language);
        let wanted = match number {
            98 => json!({ "why": value["text"] }),
            99 => json!({ "value": value }),
            _ => json!({}),
        };
        let wanted = Reader::Caller.read(plan, wanted.to_string().as_bytes()).unwrap();
        let got = write(plan, &rejection.fields);
        same(self.language, name, write(plan, &wanted).get(), got.get());
    }
}

/// Shows where long texts begin to differ.
#[track_caller]
fn same(language: Language, what: &str, wanted: &str, got: &str) {
    if wanted == got {
        return;
    }
    let at = wanted.bytes().zip(got.bytes()).take_while(|(one, other)| one == other).count();
    let near = |text: &str| {
        let bytes = text.as_bytes();
        let near = &bytes[at.saturating_sub(60).min(bytes.len())..(at + 60).min(bytes.len())];
        String::from_utf8_lossy(near).into_owned()
    };
    panic!("{language}: {what}: expected …{}…, got …{}…", near(wanted), near(got));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_comes_back_as_it_went_in_in_every_language() {
    let sandbox = languages::sandbox().unwrap();
    let samples = samples::all();
    for language in Language::there().unwrap() {
        let mut echo = Echo::new(&sandbox, language).await;
        echo.keep("nothing", &[]).await;
        for (what, value) in &samples {
            echo.keep(what, std::slice::from_ref(value)).await;
        }
        echo.keep("200 cases", &samples::wide()).await;
        let plain = samples::plain();
        echo.keep("1,000 events", &vec![plain.clone(); 1000]).await;
        for number in 0..100 {
            echo.refuse(number, &plain).await;
        }
        if language == Language::TypeScript {
            loses_the_byte_order_mark(&mut echo).await;
        } else {
            echo.keep("a byte order mark", &[samples::byte_order_mark()]).await;
        }
    }
}

/// A known fault of componentize-js 0.23.0, see `docs/languages.md`. When this fails, it is gone.
async fn loses_the_byte_order_mark(echo: &mut Echo) {
    let values = json!({ "values": [samples::byte_order_mark()] });
    let (command, _) = echo.command("keep", &values);
    let Decision::Events(events) = echo.decide(&command).await else { panic!("it refuses") };
    let (_, plan) = echo.behaviour.plans().events.get(0).unwrap();
    let kept: Value = serde_json::from_str(write(plan, &events[0].fields).get()).unwrap();
    assert_eq!(kept["value"]["text"], "text");
}

/// What comes back is compared with what the host read, so the host must read it right.
#[tokio::test]
async fn the_host_reads_the_extremes_to_the_letter() {
    let sandbox = languages::sandbox().unwrap();
    let echo = Echo::new(&sandbox, Language::Rust).await;
    for (text, what) in [
        ("\"18446744073709551615\"", "the largest u64"),
        ("\"-9223372036854775808\"", "the smallest s64"),
        ("\"9007199254740993\"", "2^53 + 1"),
        ("9007199254740991", "2^53 - 1"),
        ("\"NaN\"", "no number"),
        ("\"-Infinity\"", "less than all"),
        ("5e-324", "the smallest double"),
    ] {
        let all = samples::all();
        let read = all
            .iter()
            .any(|(_, value)| echo.command("keep", &json!({ "values": [value] })).1.contains(text));
        assert!(read, "{what}: `{text}` is nowhere");
    }
}
