//! C: what wit-bindgen makes, under names as a C programmer would choose them.
//!
//! The generator names everything after package and interface, `exports_bank_model_account_state_t`.
//! Here it is `account_state_t`; the context's types are `types_money_t`, and what belongs to no
//! interface is the context's, `bank_string_t`.

use wit_bindgen_core::wit_parser::{Resolve, WorldId};

use super::{contract::Contract, folder::Files, names::snake};

/// What the generator writes before the names of an exported interface.
const EXPORTS: &str = "exports_";

/// The same before macros.
const EXPORTS_MACRO: &str = "EXPORTS_";

/// Header, source and the object with the component's type, all named after the context.
///
/// # Errors
/// If the generator refuses the model.
pub fn files(contract: &Contract) -> anyhow::Result<Files> {
    let (mut resolve, world) = contract.resolve()?;
    let options = wit_bindgen_c::Opts {
        rename: renames(contract, &resolve, world),
        rename_world: Some(world_name(
            &contract.model.context,
            contract.aggregates.iter().map(String::as_str),
        )),
        ..Default::default()
    };
    let mut generated = wit_bindgen_core::Files::default();
    options.build().generate(&mut resolve, world, &mut generated)?;
    let files = generated.iter().map(|(name, bytes)| {
        let bytes = match name.ends_with(".o") {
            true => bytes.to_vec(),
            false => {
                let text = std::str::from_utf8(bytes)?;
                let names = contract.aggregates.iter().map(|name| snake(name));
                let (small, large): (Vec<_>, Vec<_>) =
                    names.map(|name| (name.clone(), name.to_uppercase())).unzip();
                shorten(&shorten(text, EXPORTS, &small), EXPORTS_MACRO, &large).into_bytes()
            }
        };
        Ok((name.to_owned(), bytes))
    });
    files.collect()
}

/// What file names and common names begin with: the context, unless an aggregate has that name.
#[must_use]
pub fn world_name<'a>(context: &str, aggregates: impl IntoIterator<Item = &'a str>) -> String {
    match aggregates.into_iter().any(|aggregate| aggregate == context) {
        true => format!("{context}-model"),
        false => context.to_owned(),
    }
}

/// Interfaces of the world, with the names that they get.
fn renames(contract: &Contract, resolve: &Resolve, world: WorldId) -> Vec<(String, String)> {
    let Some(world) = resolve.worlds.get(world) else { return Vec::new() };
    let mine = format!("{}:model/", contract.model.context);
    let keys = world.imports.keys().chain(world.exports.keys());
    let names = keys.map(|key| resolve.name_world_key(key));
    let renamed = names.map(|name| {
        let short = name.strip_prefix(&mine).map_or_else(|| "aether_host".to_owned(), snake);
        (name, short)
    });
    renamed.collect()
}

/// `text` without `prefix` before the identifiers that begin with one of `names`.
fn shorten(text: &str, prefix: &str, names: &[String]) -> String {
    let ours = |rest: &str| {
        let belongs = |name: &String| {
            rest.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('_'))
        };
        names.iter().any(belongs)
    };
    let of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut short = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(prefix) {
        short.push_str(before);
        if short.ends_with(of_name) || !ours(after) {
            short.push_str(prefix);
            rest = after;
        } else {
            let (name, next) = after.split_at(after.find(|c| !of_name(c)).unwrap_or(after.len()));
            short.push_str(name);
            rest = next;
        }
    }
    short + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bindings::testing::{BANK, contract};

    #[test]
    fn names_are_the_aggregate_s_own() {
        let files = files(&contract(BANK, Some("account"))).unwrap();
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["bank.c", "bank.h", "bank_component_type.o"]);
        let header = std::str::from_utf8(&files["bank.h"]).unwrap();
        for expected in [
            "bool account_decide(account_context_t *context, account_state_t *state, account_command_t *command, account_list_event_t *ret, account_rejection_t *err);",
            "typedef aether_host_context_t account_context_t;",
            "#define ACCOUNT_EVENT_OPENED 0",
            "} bank_string_t;",
        ] {
            assert!(header.contains(expected), "{expected}\n{header}");
        }
        let source = std::str::from_utf8(&files["bank.c"]).unwrap();
        assert!(source.contains("bank:model/account#decide"), "{source}");
        assert!(!header.contains("exports_"), "{header}");

        let kinds = super::files(&contract(include_str!("kinds.storm.yaml"), None)).unwrap();
        let header = std::str::from_utf8(&kinds["default.h"]).unwrap();
        assert!(header.contains("typedef types_money_t type_money_t;"), "{header}");
    }

    #[test]
    fn only_whole_identifiers_are_shortened() {
        let names = ["account".to_owned(), "exports_list".to_owned()];
        let text = "exports_account_f(__exports_account_g, exports_other, exports_exports_list_h)";
        assert_eq!(
            shorten(text, EXPORTS, &names),
            "account_f(__exports_account_g, exports_other, exports_list_h)"
        );
    }
}
