//! The settings of [`SETTINGS`] as flags.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, Error, FromArgMatches};

use crate::config::{
    Config,
    settings::{SETTINGS, Setting},
    sources::{self, Values},
};

/// The file of settings that is read if nobody names another.
const FILE: &str = "aether.toml";

/// The settings given as flags, and the file for the others.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    values: Values,
    file: Option<PathBuf>,
}

impl Flags {
    fn of<'a>(matches: &ArgMatches, settings: impl Iterator<Item = &'a Setting>) -> Self {
        let given = settings.filter_map(|setting| {
            let value = matches.get_one::<String>(setting.name)?;
            Some((setting.name.to_owned(), value.clone()))
        });
        Self { values: given.collect(), file: matches.get_one::<PathBuf>("config").cloned() }
    }

    /// The settings from the flags, the environment and the file.
    ///
    /// # Errors
    /// If one of them is unknown or does not fit.
    pub fn resolve(&self) -> anyhow::Result<Config> {
        let variables = sources::from_variables(
            std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))),
        )?;
        let file = match &self.file {
            Some(path) => read(path)?,
            None if std::path::Path::new(FILE).exists() => read(FILE.as_ref())?,
            None => Values::new(),
        };
        Ok(sources::resolve(&self.values, &variables, &file)?)
    }
}

/// The settings that say where records are kept and how to get there, as flags.
#[derive(Debug, Clone, Default)]
pub struct StoreFlags(Flags);

/// Names of those settings.
const STORE: [&str; 10] = [
    "data",
    "nats",
    "prefix",
    "replicas",
    "partitions",
    "nats-credentials",
    "nats-tls-ca",
    "nats-tls-cert",
    "nats-tls-key",
    "cache-dir",
];

impl StoreFlags {
    /// The settings, if a flag says where the store is; what other sources say of a host's own
    /// store counts only beside that.
    ///
    /// # Errors
    /// If one of them is unknown or does not fit, or both places are given.
    pub fn resolve(&self) -> anyhow::Result<Option<Config>> {
        let given = |name: &str| self.0.values.contains_key(name);
        match (given("data"), given("nats")) {
            (false, false) => Ok(None),
            (true, true) => anyhow::bail!("give `--data` or `--nats`, not both"),
            _ => self.0.resolve().map(Some),
        }
    }
}

impl clap::Args for StoreFlags {
    fn augment_args(command: Command) -> Command {
        let settings = SETTINGS.iter().filter(|setting| STORE.contains(&setting.name));
        command.arg(file()).args(settings.map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for StoreFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let settings = SETTINGS.iter().filter(|setting| STORE.contains(&setting.name));
        Ok(Self(Flags::of(matches, settings)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn read(path: &std::path::Path) -> anyhow::Result<Values> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| anyhow::anyhow!("the file of settings {name}: {error}"))?;
    Ok(sources::from_toml(&name, &text)?)
}

fn file() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .env("AETHER_CONFIG")
        .hide_env_values(true)
        .value_parser(clap::value_parser!(PathBuf))
        .help("Settings as TOML, keys named like the flags [default: aether.toml, if it is there]")
}

fn flag(setting: &'static Setting) -> Arg {
    let default = match setting.default {
        "" => String::new(),
        default => format!(" [default: {default}]"),
    };
    let help = format!("{}{default} [env: {}]", setting.help, setting.variable());
    let arg = Arg::new(setting.name).long(setting.name).value_name(setting.value).help(help);
    if setting.is_switch() {
        arg.num_args(0..=1).require_equals(true).default_missing_value("true")
    } else {
        arg
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        command.arg(file()).args(SETTINGS.iter().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self::of(matches, SETTINGS.iter()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        flags: Flags,
        rest: Vec<String>,
    }

    #[test]
    fn flags_are_texts_and_switches_need_none() {
        let read = Only::parse_from(["x", "--insecure", "a.yaml", "--max-awake", "7"]);
        assert_eq!(read.rest, ["a.yaml"]);
        assert_eq!(read.flags.values["insecure"], "true");
        assert_eq!(read.flags.values["max-awake"], "7");
        let off = Only::parse_from(["x", "--nats-face=false"]);
        assert_eq!(off.flags.values["nats-face"], "false");
    }

    #[test]
    fn a_named_file_must_be_there() {
        let flags = Flags { file: Some("/nowhere/a.toml".into()), ..Flags::default() };
        assert!(flags.resolve().unwrap_err().to_string().contains("/nowhere/a.toml"));
    }
}
