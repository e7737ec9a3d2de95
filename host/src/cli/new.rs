//! `aether new`: a folder to begin in, which builds, tests and runs at once.

mod languages;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use aether_wit::Report;
use anyhow::{Context as _, bail};

use self::languages::Template;
use super::{
    bindings::{
        Language, c,
        folder::{self, Files},
        names::snake,
        rust,
    },
    print,
};

/// Make a folder with a small model and its component
///
/// The folder is called NAME, and so is the context of its model. It holds a counter: the model with
/// scenarios, its functions with unit tests, a README, and a Makefile whose first target installs what
/// is missing into the folder and builds the component. Then `aether test` and `aether run --dev`
/// work. Exit status 2: the name must change, or the folder is there already.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The name: lower-case words joined by `-`, e.g. cart
    pub name: String,

    /// The language
    #[arg(long, value_enum)]
    pub lang: Language,
}

/// Runs the command.
///
/// # Errors
/// If the name is none, the folder is there, or it cannot be written.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let files = files(&args.name, args.lang)?;
    write(Path::new(&args.name), &files)?;
    let (name, count) = (&args.name, files.len());
    print::line(&format!("{name}: {count} files. Next:"));
    for line in [format!("cd {name}"), "make".into(), "make test".into(), "make run".into()] {
        print::line(&format!("  {line}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The files of a project, by their path in its folder.
///
/// # Errors
/// If `name` is no name of a context.
pub fn files(name: &str, lang: Language) -> anyhow::Result<Files> {
    let template = languages::template(lang);
    let model = fill(languages::MODEL, name, &template);
    let instead = match aether_wit::read("", model.as_bytes()) {
        Ok((model, _)) if model.context == name => None,
        Ok(_) => Some(EXAMPLE.to_owned()),
        Err(report) => Some(meant(&report)),
    };
    if let Some(instead) = instead {
        let (name, lang) = (name.escape_debug(), lang.as_str());
        bail!(
            "`{name}` cannot be the name of a project, nor of the context in its model: expected lower-case words of letters and digits, joined by `-`, each beginning with a letter; nothing was written; say e.g. `aether new {instead} --lang {lang}`"
        );
    }
    let texts = template.files.iter().copied().chain([
        (languages::MODEL_FILE, languages::MODEL),
        (languages::README_FILE, languages::README),
    ]);
    let mut files: Files = texts
        .map(|(path, text)| (fill(path, name, &template), fill(text, name, &template).into_bytes()))
        .collect();
    if lang == Language::Rust {
        if rust::NAMES.contains(&name) {
            bail!(
                "`{name}` is a crate of the SDK, which the project needs beside its own: nothing was written; choose another name"
            );
        }
        let sdk = rust::files()?;
        let list = folder::list(&sdk).into_bytes();
        files.insert(format!("{}/{}", rust::SDK, folder::LIST), list);
        files.extend(sdk.into_iter().map(|(path, bytes)| (format!("{}/{path}", rust::SDK), bytes)));
        files.insert("Cargo.lock".to_owned(), rust::lock()?.into_bytes());
    }
    Ok(files)
}

/// A name that is one.
const EXAMPLE: &str = "cart";

/// The name that was probably meant by one that the model refuses, or any.
fn meant(report: &Report) -> String {
    let help = report.problems.first().and_then(|problem| problem.help.as_deref());
    let meant = help.and_then(|help| help.strip_prefix("write "));
    meant.map_or(EXAMPLE, |meant| meant.trim_matches('`')).to_owned()
}

/// A template's text with the project's names in it.
fn fill(text: &str, name: &str, template: &Template) -> String {
    let readme = text
        .replace("{{where}}", template.place)
        .replace("{{component}}", template.component)
        .replace("{{into}}", template.into)
        .replace("{{then}}", template.then)
        .replace("{{hints}}", template.hints);
    let header = snake(&c::world_name(name, ["counter"]));
    readme
        .replace("{{header}}", &header)
        .replace("{{world}}", &header)
        .replace("{{snake}}", &snake(name))
        .replace("{{name}}", name)
}

/// Writes the folder aside and renames it: it is there as a whole or not at all.
fn write(folder: &Path, files: &Files) -> anyhow::Result<()> {
    let shown = folder.display();
    if folder.symlink_metadata().is_ok() {
        bail!(
            "{shown} is there already: choose another name, or move it away; nothing was written"
        );
    }
    let aside = PathBuf::from(format!(".{shown}.{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        for (path, bytes) in files {
            let path = aside.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&path, bytes)?;
        }
        fs::rename(&aside, folder)
    };
    let written = write();
    if written.is_err() {
        drop(fs::remove_dir_all(&aside));
    }
    written.with_context(|| format!("{shown} cannot be written"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_gives_a_whole_project() {
        for lang in Language::ALL {
            for name in ["cart", "counter", "two-words"] {
                let files = files(name, lang).unwrap();
                for path in [".gitignore", "Makefile", "README.md"] {
                    assert!(files.contains_key(path), "{lang:?}: {path}");
                }
                let model = &files[&format!("{name}.storm.yaml")];
                let (model, warnings) = aether_wit::read("", model).unwrap();
                assert!(warnings.is_empty() && model.scenarios.len() >= 4, "{lang:?}");
                // Rust's own braces are the SDK's.
                for (path, bytes) in files.iter().filter(|(path, _)| !path.starts_with(rust::SDK)) {
                    let text = String::from_utf8_lossy(bytes);
                    assert!(!path.contains("{{") && !text.contains("{{"), "{lang:?}: {path}");
                }
            }
        }
    }

    #[test]
    fn a_readme_fits_on_a_screen() {
        for lang in Language::ALL {
            let files = files("cart", lang).unwrap();
            let text = std::str::from_utf8(&files["README.md"]).unwrap();
            assert!(text.lines().count() <= 48, "{lang:?}: {}", text.lines().count());
        }
    }

    #[test]
    fn a_name_that_is_none_is_told_with_the_rule() {
        for (name, expected) in [
            ("MyCart", "my-cart"),
            ("1st", EXAMPLE),
            ("", EXAMPLE),
            ("a/b", "a-b"),
            ("a: b", EXAMPLE),
            ("../up", "up"),
            ("cart\n", EXAMPLE),
            ("cart # x", EXAMPLE),
        ] {
            let error = files(name, Language::C).unwrap_err().to_string();
            let expected = format!("say e.g. `aether new {expected} --lang c`");
            assert!(error.contains(&expected), "{name:?}: {error}");
        }
    }

    #[test]
    fn a_folder_that_is_there_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::from([("a".to_owned(), Vec::new())]);
        let error = write(folder.path(), &files).unwrap_err().to_string();
        assert!(error.contains("is there already"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
