use proptest::prelude::*;
use wit_parser::Resolve;

use super::{
    samples::{bank, shop},
    *,
};

/// What `package` must give for the bank, byte for byte.
const BANK: &str = include_str!("bank.wit");

/// The model's package and the contract, as `wit-parser` takes two packages.
fn resolve(model: &Model) -> Resolve {
    let mut resolve = Resolve::default();
    resolve.push_str("aether.wit", CONTRACT).unwrap();
    let text = package(model);
    if let Err(error) = resolve.push_str("model.wit", &text) {
        panic!("{error:?}\n{text}");
    }
    resolve
}

#[test]
fn the_bank_is_what_the_documentation_shows() {
    let text = package(&bank());
    if std::env::var_os("AETHER_BLESS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/wit/bank.wit"), &text).unwrap();
    }
    assert_eq!(text, BANK);
}

#[test]
fn every_kind_of_type_and_every_keyword_parses() {
    for model in [bank(), shop()] {
        let resolve = resolve(&model);
        let worlds: Vec<&str> =
            resolve.worlds.iter().map(|(_, world)| world.name.as_str()).collect();
        let mut expected: Vec<String> =
            model.aggregates.keys().map(|name| format!("{name}-guest")).collect();
        expected.push("all".into());
        assert_eq!(worlds, expected);
    }
}

#[test]
fn the_document_of_all_aggregates_is_complete() {
    for model in [bank(), shop()] {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("all.wit", &all(&model)).unwrap();
        let world = resolve.select_world(&[package], Some("all")).unwrap();
        assert_eq!(resolve.worlds[world].exports.len(), model.aggregates.len());
    }
}

#[test]
fn a_guest_document_is_complete_and_holds_no_more_than_it_needs() {
    for model in [bank(), shop()] {
        for name in model.aggregates.keys() {
            let text = guest(&model, name).unwrap();
            let mut resolve = Resolve::default();
            let package = resolve.push_str("guest.wit", &text).unwrap();
            let world = format!("{name}-guest");
            assert_eq!(resolve.packages[package].worlds.keys().collect::<Vec<_>>(), [&world]);
            assert_eq!(
                resolve.packages[package].name.to_string(),
                format!("{}:model", model.context)
            );
            assert!(!text.contains("%unused"), "{text}");
        }
    }
    assert!(!guest(&bank(), "account").unwrap().contains("interface %types"));
    assert!(guest(&shop(), "interface").unwrap().contains("interface %types"));
    assert_eq!(guest(&bank(), "acount"), None);
}

#[test]
fn types_are_used_through_other_types_and_in_the_models_order() {
    let shop = shop();
    let expected = ["order-no", "charge", "charge-card", "deep", "marks", "list"];
    assert_eq!(types_of(&shop, &shop.aggregates["interface"]), expected);
    assert_eq!(types_of(&shop, &shop.aggregates["world"]), [""; 0]);
}

#[test]
fn an_aggregate_without_rejections_has_a_result_without_an_error() {
    let shop = shop();
    let text = guest(&shop, "interface").unwrap();
    assert!(!text.contains("%rejection"), "{text}");
    assert!(text.contains("-> result<list<%event>>;"), "{text}");
}

#[test]
fn about_becomes_comments_that_wit_accepts() {
    let mut model = bank();
    let about = "One line.\n\n*/ } and\u{202e} \u{0}\r\nanother\u{85} \u{149}\r /// end\t.\n\n";
    model.about = Some(about.into());
    let account = &mut model.aggregates["account"];
    account.about = Some(about.into());
    account.state[0].about = Some(about.into());
    account.rejections["not-open"].about = Some(about.into());
    account.commands["open"].about = Some(about.into());
    model.types["money"].about = Some(about.into());
    let text = package(&model);
    assert!(text.starts_with("/// One line.\n///\n/// */ } and\n"), "{text}");
    let resolve = resolve(&model);
    let account = resolve.interfaces.iter().find(|(_, it)| it.name.as_deref() == Some("account"));
    let docs = account.unwrap().1.docs.contents.clone().unwrap();
    assert!(docs.starts_with("One line.\n\n"), "{docs}");
    assert!(!guest(&model, "account").unwrap().contains('\r'));
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    assert_eq!(package(&shop()), package(&shop()));
    assert_eq!(guest(&shop(), "world"), guest(&shop(), "world"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_sound_model_gives_wit_that_parses(model in crate::testing::model()) {
        resolve(&model);
        for aggregate in model.aggregates.keys() {
            let text = guest(&model, aggregate).unwrap();
            let mut resolve = Resolve::default();
            if let Err(error) = resolve.push_str("guest.wit", &text) {
                panic!("{error:?}\n{text}");
            }
        }
    }
}
