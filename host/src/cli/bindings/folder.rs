//! A folder of generated files, and what in it is whose.
//!
//! A list of what was written, with digests, lies in the folder. Only a file that stands there and is
//! still what was written may be replaced or removed: nobody loses a line that was typed.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use aether_wit::Digest;
use anyhow::{Context as _, bail};

/// Files by their path below the folder, with `/`.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The list of what was written.
pub const LIST: &str = ".aether-bindings";

/// How [`LIST`] begins.
const HEAD: &str = "# Written by `aether bindings`: these files are replaced when it runs again.\n";

/// What became of a folder.
#[derive(Debug, PartialEq, Eq)]
pub struct Written {
    /// How many files are new, other than before or gone.
    pub changed: usize,
    /// What is no longer made, but was changed by somebody else.
    pub left: Vec<PathBuf>,
}

/// Makes `folder` hold `files`.
///
/// # Errors
/// If another file is in the way: then nothing is written. If a file cannot be written.
pub fn write(folder: &Path, files: &Files) -> anyhow::Result<Written> {
    let shown = folder.display();
    let before = listed(folder)?;
    let (mut wanted, mut in_the_way) = (Vec::new(), Vec::new());
    for (path, bytes) in files {
        match found(&folder.join(path))? {
            Some(digest) if digest == Digest::of(bytes) => {}
            Some(digest) if before.get(path) != Some(&digest) => in_the_way.push(path.as_str()),
            _ => wanted.push((path, bytes)),
        }
    }
    if !in_the_way.is_empty() {
        bail!(
            "{shown} holds files that are not as `aether bindings` wrote them: {}; move them away, or name another folder with --out; nothing was written",
            in_the_way.join(", ")
        );
    }
    let mut written = Written { changed: wanted.len(), left: Vec::new() };
    for (path, bytes) in wanted {
        put(&folder.join(path), bytes)?;
    }
    for (path, digest) in before.iter().filter(|(path, _)| !files.contains_key(*path)) {
        match found(&folder.join(path))? {
            Some(now) if now == *digest => {
                remove(folder, path)?;
                written.changed += 1;
            }
            Some(_) => written.left.push(PathBuf::from(path)),
            None => {}
        }
    }
    // As it was, its time too, where nothing has changed: what is built from it need not be built
    // anew. That make looks here again each time after such an edit costs nothing.
    let (path, list) = (folder.join(LIST), list(files));
    if found(&path)? != Some(Digest::of(list.as_bytes())) {
        put(&path, list.as_bytes())?;
    }
    Ok(written)
}

/// The text of [`LIST`] for these files.
#[must_use]
pub fn list(files: &Files) -> String {
    let lines = files.iter().map(|(path, bytes)| format!("{} {path}\n", Digest::of(bytes)));
    std::iter::once(HEAD.to_owned()).chain(lines).collect()
}

/// Writes a file, and makes its folder.
fn put(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

/// Removes a file, and the folders below `folder` that it leaves empty.
fn remove(folder: &Path, path: &str) -> anyhow::Result<()> {
    let file = folder.join(path);
    fs::remove_file(&file).with_context(|| format!("{} cannot be removed", file.display()))?;
    for parent in Path::new(path).ancestors().skip(1).filter(|it| !it.as_os_str().is_empty()) {
        // It is not empty: then it stays.
        if fs::remove_dir(folder.join(parent)).is_err() {
            break;
        }
    }
    Ok(())
}

/// The digest of a file; none if it is not there.
fn found(path: &Path) -> anyhow::Result<Option<Digest>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(Digest::of(&bytes))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} is in the way", path.display())),
    }
}

/// What the last run wrote. Lines that nobody could have written are passed over: what they would
/// name then counts as somebody else's.
fn listed(folder: &Path) -> anyhow::Result<BTreeMap<String, Digest>> {
    let path = folder.join(LIST);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => bail!("{} cannot be read: {error}", path.display()),
    };
    let inside = |path: &str| {
        Path::new(path).components().all(|part| matches!(part, std::path::Component::Normal(_)))
    };
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let entries = lines.filter_map(|(digest, path)| Some((path.to_owned(), digest.parse().ok()?)));
    Ok(entries.filter(|(path, _)| inside(path)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> Files {
        files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn what_was_written_is_replaced_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("deep/out");
        let first = write(&out, &files(&[("a.h", "1"), ("b/c.go", "2")])).unwrap();
        assert_eq!(first, Written { changed: 2, left: Vec::new() });
        let again = write(&out, &files(&[("a.h", "1"), ("b/c.go", "2")])).unwrap();
        assert_eq!(again.changed, 0);
        let second = write(&out, &files(&[("a.h", "3")])).unwrap();
        assert_eq!(second, Written { changed: 2, left: Vec::new() });
        assert_eq!(fs::read_to_string(out.join("a.h")).unwrap(), "3");
        assert!(!out.join("b").exists());
    }

    #[test]
    fn what_somebody_typed_is_never_lost() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path();
        fs::write(out.join("a.h"), "mine").unwrap();
        let error = write(out, &files(&[("a.h", "1"), ("b.h", "2")])).unwrap_err().to_string();
        assert!(error.contains("wrote them: a.h;"), "{error}");
        assert!(!out.join("b.h").exists());

        fs::remove_file(out.join("a.h")).unwrap();
        write(out, &files(&[("a.h", "1"), ("b.h", "2")])).unwrap();
        fs::write(out.join("b.h"), "changed").unwrap();
        assert!(write(out, &files(&[("b.h", "3")])).unwrap_err().to_string().contains("b.h"));
        let written = write(out, &files(&[("a.h", "1")])).unwrap();
        assert_eq!(written.left, [PathBuf::from("b.h")]);
        assert_eq!(fs::read_to_string(out.join("b.h")).unwrap(), "changed");
    }

    #[test]
    fn a_list_that_names_places_outside_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "v").unwrap();
        let out = folder.path().join("out");
        fs::create_dir(&out).unwrap();
        let line = format!("{} ../victim\n", Digest::of(b"v"));
        fs::write(out.join(LIST), line).unwrap();
        write(&out, &files(&[])).unwrap();
        assert!(victim.exists());
    }
}
