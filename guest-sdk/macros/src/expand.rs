//! What `aggregate!` becomes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use aether_wit::{Model, model::Aggregate, wit};

use crate::names;

/// Why there is no code, told at the argument that is to blame.
#[derive(Debug)]
pub enum Failure {
    /// The model cannot be read or has mistakes.
    Model(String),
    /// The model has no such aggregate, or it cannot be written in Rust.
    Aggregate(String),
}

/// The code for `aggregate!(model, aggregate, implementor)` in the crate at `folder`.
pub fn expand(
    folder: &Path,
    model: &str,
    aggregate: &str,
    implementor: &str,
) -> Result<String, Failure> {
    let path = folder.join(model);
    let shown = shown(&path);
    let text = fs::read(&path)
        .map_err(|error| Failure::Model(format!("cannot read the model {shown}: {error}")))?;
    let (model, _) = aether_wit::read(&shown, &text)
        .map_err(|report| Failure::Model(format!("the model has mistakes\n{report}")))?;
    let path = path.to_str().ok_or_else(|| {
        Failure::Model(format!("the path of the model is not UTF-8: {}", path.display()))
    })?;
    generate(&model, &shown, path, aggregate, implementor)
}

/// The model's path as rustc names files: from the folder that cargo calls it in.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::new());
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

fn generate(
    model: &Model,
    shown: &str,
    path: &str,
    aggregate: &str,
    implementor: &str,
) -> Result<String, Failure> {
    let (Some(board), Some(document)) =
        (model.aggregates.get(aggregate), wit::guest(model, aggregate))
    else {
        let known: Vec<&str> = model.aggregates.keys().map(String::as_str).collect();
        return Err(Failure::Aggregate(format!(
            "{shown} has no aggregate `{aggregate}`; it has: {}",
            known.join(", ")
        )));
    };
    if let Some(name) = names::impossible(model, board) {
        return Err(Failure::Aggregate(format!(
            "{shown}: `{name}` cannot be the name of a type in Rust; give it another name"
        )));
    }
    let rust_own: String = names::hidden_prelude(model, board)
        .into_iter()
        .map(|path| format!("#[allow(unused_imports, reason = \"{WHY}\")] use {path};\n"))
        .collect();
    let module = names::module(aggregate);
    let context = names::module(&model.context);
    let upcasts = upcasts(&context, board);
    let rejection = if board.rejections.is_empty() { "()" } else { "Rejection" };

    Ok(format!(
        r#"
        const _: &[u8] = include_bytes!({path:?});

        #[allow(clippy::all, clippy::pedantic, clippy::nursery, clippy::restriction, missing_docs,
            unsafe_code, dead_code, unused_imports, unused_qualifications, reason = "{WHY}")]
        mod __aether_{module} {{
            ::aether_guest::wit_bindgen::generate!({{
                inline: {document:?},
                runtime_path: "::aether_guest::wit_bindgen::rt",
                generate_all,
                additional_derives: [PartialEq],
                disable_run_ctors_once_workaround: true,
            }});
        }}

        #[allow(unused_imports, missing_docs, reason = "{WHY}")]
        pub use __aether_{module}::exports::{context}::model::{module}::{{
            self as {module}, Guest as Aggregate, *
        }};
        {upcasts}
        {rust_own}

        // Natively, the linker takes no symbol with the name of an export.
        #[cfg(target_arch = "wasm32")]
        #[allow(clippy::all, unsafe_code, reason = "{WHY}")]
        const _: () = {{
            use __aether_{module} as bindings;
            bindings::export!({implementor} with_types_in bindings);
        }};

        impl ::aether_guest::Spec for {implementor} {{
            const NAME: &'static str = {aggregate:?};
            type State = {module}::State;
            type Command = {module}::Command;
            type Event = {module}::Event;
            type Rejection = {rejection};

            fn initial(id: ::std::string::String) -> {module}::State {{
                <Self as {module}::Guest>::initial(id)
            }}

            fn decide(
                facts: ::aether_guest::Facts,
                state: {module}::State,
                command: {module}::Command,
            ) -> ::core::result::Result<::std::vec::Vec<{module}::Event>, {rejection}> {{
                let context = {module}::Context {{
                    id: facts.id,
                    version: facts.version,
                    command_id: facts.command_id,
                    correlation_id: facts.correlation_id,
                    at: facts.at,
                    by: facts.by,
                    seed: facts.seed,
                }};
                <Self as {module}::Guest>::decide(context, state, command)
            }}

            fn evolve(
                state: {module}::State,
                events: ::std::vec::Vec<{module}::Event>,
            ) -> {module}::State {{
                <Self as {module}::Guest>::evolve(state, events)
            }}
        }}
        "#
    ))
}

/// The trait by which the author's type reads old events, if the model lists any for it.
fn upcasts(context: &str, board: &Aggregate) -> String {
    if !board.component_upcasts() {
        return String::new();
    }
    let module = names::module(&board.name);
    let upcasts = names::module(&wit::upcasts_name(&board.name));
    format!(
        "#[allow(unused_imports, missing_docs, reason = \"{WHY}\")]
        pub use __aether_{module}::exports::{context}::model::{upcasts}::Guest as Upcasts;"
    )
}

/// Why the generated code is free of the author's lints.
const WHY: &str = "generated from the model";

#[cfg(test)]
mod tests {
    use super::{Failure, expand};

    /// What `aggregate!("x.storm.yaml", "account", Account)` gives for this text; none = no file.
    fn expanded(name: &str, model: Option<&str>, aggregate: &str) -> Result<String, Failure> {
        let folder = std::env::temp_dir().join(format!("aether-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the model");
        if let Some(text) = model {
            std::fs::write(folder.join("x.storm.yaml"), text).expect("the model is written");
        }
        let expanded = expand(&folder, "x.storm.yaml", aggregate, "Account");
        std::fs::remove_dir_all(&folder).expect("the folder goes");
        expanded
    }

    fn model(event: &str) -> String {
        format!(
            "context: bank\nversion: 0.1.0\naggregates:\n  account:\n    state: {{ n: u64 }}\n    \
             commands: {{ act: {{ emits: [{event}] }} }}\n    events: {{ {event}: {{ n: u64 }} }}\n"
        )
    }

    #[test]
    fn a_mistake_in_the_model_is_told_with_its_place() {
        let text = model("done").replace("emits: [done]", "emits: [dome]");
        let Err(Failure::Model(message)) = expanded("mistake", Some(&text), "account") else {
            panic!("the model should be refused")
        };
        assert!(message.contains("x.storm.yaml:6:32: error: "), "{message}");
        assert!(message.contains("did you mean `done`?"), "{message}");
    }

    #[test]
    fn a_missing_model_is_told_with_its_path() {
        let Err(Failure::Model(message)) = expanded("missing", None, "account") else {
            panic!("there is no model")
        };
        assert!(message.starts_with("cannot read the model "), "{message}");
        assert!(message.contains("x.storm.yaml: "), "{message}");
    }

    #[test]
    fn an_unknown_aggregate_is_told_with_those_that_exist() {
        let Err(Failure::Aggregate(message)) = expanded("unknown", Some(&model("done")), "acount")
        else {
            panic!("there is no such aggregate")
        };
        assert!(message.ends_with("has no aggregate `acount`; it has: account"), "{message}");
    }

    #[test]
    fn rust_keeps_its_own_names_where_the_model_takes_them() {
        let plain = expanded("plain", Some(&model("done")), "account").expect("it expands");
        assert!(!plain.contains("use ::std::vec::Vec;"), "{plain}");
        let hiding = expanded("hiding", Some(&model("vec")), "account").expect("it expands");
        assert!(hiding.contains("use ::std::vec::Vec;"), "{hiding}");
    }

    #[test]
    fn the_upcasts_are_there_only_if_the_component_does_any() {
        let plain = expanded("own", Some(&model("done")), "account").expect("it expands");
        assert!(!plain.contains("Upcasts"), "{plain}");
        let text = model("done") + "    upcasts: { began: component }\n";
        let component = expanded("component", Some(&text), "account").expect("it expands");
        assert!(component.contains("account_upcasts::Guest as Upcasts;"), "{component}");
    }

    #[test]
    fn a_name_that_rust_cannot_have_is_refused() {
        let Err(Failure::Aggregate(message)) = expanded("self", Some(&model("self")), "account")
        else {
            panic!("`Self` is no name for a struct")
        };
        assert!(message.contains("`self` cannot be the name of a type in Rust"), "{message}");
    }
}
