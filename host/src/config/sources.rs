//! Where settings come from: flags before `AETHER_*` variables before `aether.toml`.
//!
//! A name that nobody knows is refused with the nearest one that is known: a setting that is
//! silently ignored is worse than a host that does not start.

use std::collections::BTreeMap;

use super::{
    Config,
    settings::{Draft, SETTINGS},
};

/// Variables that are read elsewhere than in the table of settings.
const OTHER_VARIABLES: &[&str] = &[
    "AETHER_TOKEN",
    "AETHER_URL",
    "AETHER_LOG",
    "AETHER_CONFIG",
    #[cfg(feature = "faults")]
    crate::step::CRASH_VARIABLE,
    #[cfg(feature = "faults")]
    crate::step::FILE_VARIABLE,
];

/// The settings of one source by the name of the setting.
pub type Values = BTreeMap<String, String>;

/// A setting that cannot be used, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// The settings of a host from all sources.
///
/// # Errors
/// If a value does not fit its setting, or one source names two stores.
pub fn resolve(flags: &Values, variables: &Values, file: &Values) -> Result<Config, ConfigError> {
    let sources = [("the command line", flags), ("the environment", variables), ("the file", file)];
    let mut draft = Draft::new().map_err(ConfigError)?;
    for setting in SETTINGS {
        let found =
            sources.iter().find_map(|(from, values)| Some((from, values.get(setting.name)?)));
        if let Some((from, text)) = found {
            setting.apply(&mut draft, text).map_err(|wrong| {
                ConfigError(format!("the setting `{}` of {from}: {wrong}", setting.name))
            })?;
        }
    }
    let strongest = |name: &str| sources.iter().position(|(_, values)| values.contains_key(name));
    let nats = match (strongest("nats"), strongest("data")) {
        (Some(nats), Some(data)) if nats == data => {
            return Err(ConfigError(
                "both `data` and `nats` are set: records are kept in one place, leave one out"
                    .to_owned(),
            ));
        }
        (Some(nats), Some(data)) => nats < data,
        (nats, _) => nats.is_some(),
    };
    Ok(draft.build(nats))
}

/// The settings among environment variables.
///
/// # Errors
/// If one begins with `AETHER_` and is not known.
pub fn from_variables(
    all: impl IntoIterator<Item = (String, String)>,
) -> Result<Values, ConfigError> {
    let mut values = Values::new();
    for (name, value) in all {
        if !name.starts_with("AETHER_") || OTHER_VARIABLES.contains(&name.as_str()) {
            continue;
        }
        match SETTINGS.iter().find(|setting| setting.variable() == name) {
            Some(setting) => values.insert(setting.name.to_owned(), value),
            None => {
                let known = SETTINGS.iter().map(super::settings::Setting::variable);
                let known = known.chain(OTHER_VARIABLES.iter().map(|&name| name.to_owned()));
                return Err(unknown("the environment variable", &name, known));
            }
        };
    }
    Ok(values)
}

/// The settings in the text of `aether.toml`; `file` is its name in messages.
///
/// # Errors
/// If it is not TOML, holds an unknown key, or a value that is not a text, number or switch.
pub fn from_toml(file: &str, text: &str) -> Result<Values, ConfigError> {
    let table: toml::Table =
        text.parse().map_err(|error| ConfigError(format!("{file} is not TOML: {error}")))?;
    let mut values = Values::new();
    for (key, value) in table {
        if !SETTINGS.iter().any(|setting| setting.name == key) {
            let known = SETTINGS.iter().map(|setting| setting.name.to_owned());
            return Err(unknown(&format!("{file}: the key"), &key, known));
        }
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(switch) => switch.to_string(),
            other => {
                let found = other.type_str();
                return Err(ConfigError(format!(
                    "{file}: `{key}` is a TOML {found}; expected a text such as \"5m\", a whole number or true"
                )));
            }
        };
        values.insert(key, text);
    }
    Ok(values)
}

fn unknown(what: &str, name: &str, known: impl Iterator<Item = String>) -> ConfigError {
    let hint = nearest(name, known).map_or_else(
        || "; `aether run --help` lists what is known".to_owned(),
        |near| format!("; did you mean `{near}`?"),
    );
    ConfigError(format!("{what} `{name}` is unknown{hint}"))
}

/// The name among `known` that `name` was probably meant to be.
pub fn nearest(name: &str, known: impl IntoIterator<Item = String>) -> Option<String> {
    known
        .into_iter()
        .map(|known| (strsim::normalized_damerau_levenshtein(name, &known), known))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StoreConfig;

    fn values(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn flags_beat_variables_beat_the_file_beats_the_default() {
        let none = Values::new();
        let awake = |flags: &Values, env: &Values, file: &Values| {
            resolve(flags, env, file).unwrap().limits.max_awake
        };
        let [one, two, three] = ["1", "2", "3"].map(|n| values(&[("max-awake", n)]));
        assert_eq!(awake(&one, &two, &three), 1);
        assert_eq!(awake(&none, &two, &three), 2);
        assert_eq!(awake(&none, &none, &three), 3);
        assert_eq!(awake(&none, &none, &none), 100_000);
    }

    #[test]
    fn the_stronger_source_chooses_the_store() {
        let none = Values::new();
        let data = values(&[("data", "/d")]);
        let nats = values(&[("nats", "nats://n")]);
        let is_nats = |flags: &Values, file: &Values| {
            matches!(resolve(flags, &none, file).unwrap().store, StoreConfig::JetStream(_))
        };
        assert!(is_nats(&nats, &data) && is_nats(&none, &nats));
        assert!(!is_nats(&data, &nats) && !is_nats(&none, &none));
        let both = values(&[("data", "/d"), ("nats", "nats://n")]);
        assert!(resolve(&both, &none, &none).unwrap_err().0.contains("one place"));
        let memory = values(&[("data", ":memory:")]);
        assert!(matches!(resolve(&memory, &none, &none).unwrap().store, StoreConfig::Memory));
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest() {
        let said = from_variables([("AETHER_MAX_AWAK".to_owned(), "1".to_owned())]).unwrap_err().0;
        assert!(said.contains("did you mean `AETHER_MAX_AWAKE`?"), "{said}");
        let said = from_toml("aether.toml", "body-byte = \"1MiB\"").unwrap_err().0;
        assert!(said.contains("aether.toml") && said.contains("`body-bytes`"), "{said}");
        let said = from_toml("aether.toml", "zzz = 1").unwrap_err().0;
        assert!(said.contains("aether run --help"), "{said}");
        let fine =
            [("AETHER_TOKEN".to_owned(), "t".to_owned()), ("HOME".to_owned(), "h".to_owned())];
        assert_eq!(from_variables(fine), Ok(Values::new()));
    }

    #[test]
    fn a_file_holds_texts_numbers_and_switches() {
        let text = "max-awake = 7\ninsecure = true\ndrain = \"5s\"\n";
        let file = from_toml("f", text).unwrap();
        let config = resolve(&Values::new(), &Values::new(), &file).unwrap();
        assert!(config.faces.insecure && config.limits.max_awake == 7);
        assert!(from_toml("f", "drain = [1]").unwrap_err().0.contains("array"));
        assert!(from_toml("f", "drain = ").is_err());
        let wrong = from_toml("f", "drain = 5").unwrap();
        let said = resolve(&Values::new(), &Values::new(), &wrong).unwrap_err().0;
        assert!(said.contains("`drain` of the file") && said.contains("expected a time"), "{said}");
    }
}
