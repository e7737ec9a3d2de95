//! Compiled code on disk, so that a component is compiled once per machine and not once per start.
//!
//! Compiled code is run as it is: whoever can write it can do what this process can. So it is only
//! taken from a folder that belongs to our user and nobody else can enter, and only if it is whole:
//! the file begins with the digest of what it was made from and the digest of the code itself. It
//! is written aside and renamed, and read into memory, so no other process can change it under us.
//! Anything unexpected means to compile again; the cache is never a reason to fail.
//!
//! Code is written only when somebody says that it is wanted ([`Unkept::keep`]): a host refuses
//! components that fit none of its models, and whoever sends it many of those would otherwise fill
//! the disk with them, and have every commit of the log wait behind their bytes.
//!
//! What compiling would cost ([`super::survey`]) is part of the key, so code that is there is not
//! judged again.

mod held;

use std::{
    fs,
    hash::{Hash, Hasher},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use aether_wit::Digest;
use sha2::{Digest as _, Sha256};
use wasmtime::{Engine, component::Component};

use self::held::{Held, PIECE, digest, of_piece};
use super::{
    LoadError,
    engine::{Engines, POOL_SHAPE},
    limits::CompileLimits,
    survey::survey,
};
use crate::clock;

/// First bytes of a file: what it is, and the version of this layout.
const MAGIC: &[u8; 16] = b"aether code v2\n\0";

/// Bytes before the reason why the code does not fit the pool: [`MAGIC`], the key, the digest, and how
/// long the reason is.
const HEADER: usize = 16 + 32 + 32 + 4;

/// Longest reason, in bytes.
const MAX_REASON: usize = 4 << 10;

/// Most bytes of compiled code that are read; larger ones are compiled again.
const MAX_CODE_BYTES: u64 = 1 << 30;

/// Compiled code in one folder.
pub(super) struct Cache(Option<PathBuf>);

/// Compiled code that is not in the cache.
pub(super) struct Unkept {
    folder: PathBuf,
    path: PathBuf,
    key: [u8; 32],
    /// Why it does not fit the pool.
    unfit: Option<String>,
    code: Vec<u8>,
}

impl Unkept {
    /// Writes it to the cache. Failing costs the next start its time, so it is only told.
    pub(super) fn keep(self) {
        let Self { folder, path, key, unfit, code } = self;
        if let Err(error) = write(&folder, &path, &key, unfit.as_deref(), &code) {
            tracing::warn!(path = %path.display(), %error, "compiled code could not be cached");
        }
    }
}

/// A component that was found or compiled.
pub(super) struct Found {
    pub(super) component: Component,
    /// Why it does not fit the pool, if it does not.
    pub(super) unfit: Option<String>,
    /// Its code, if it can be kept and is not yet.
    pub(super) unkept: Option<Unkept>,
}

impl Cache {
    /// A cache in `folder`, which is made if it is not there; `None` keeps nothing.
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        let Some(folder) = folder else { return Self(None) };
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        match made.and_then(|()| ours(&folder)) {
            Ok(()) => Self(Some(folder)),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "compiled code is not cached");
                Self(None)
            }
        }
    }

    /// The component from the cache, or compiled: for the pool, or, with the reason, for `on_demand`
    /// if it does not fit a slot. Code is the same for both, so that it is compiled once.
    ///
    /// # Errors
    /// If compiling the bytes would cost more than `limits`, or they do not compile.
    pub(super) fn component(
        &self,
        engines: &Engines,
        limits: &CompileLimits,
        digest: Digest,
        bytes: &[u8],
    ) -> Result<Found, LoadError> {
        let Some(folder) = &self.0 else {
            let (component, unfit, _) = compile(engines, limits, digest, bytes)?;
            return Ok(Found { component, unfit, unkept: None });
        };
        let key = key(&engines.pooled, limits, digest);
        let path = folder.join(format!("{}.code", hex(&key)));
        match read(folder, &path, &key) {
            Ok((code, unfit)) => match kept(engines, &code, unfit.is_none()) {
                Ok(component) => return Ok(Found { component, unfit, unkept: None }),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "cached code does not fit, compiling again")
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cached code is not used, compiling again")
            }
        }
        let (component, unfit, code) = compile(engines, limits, digest, bytes)?;
        let unkept = Unkept { folder: folder.clone(), path, key, unfit: unfit.clone(), code };
        Ok(Found { component, unfit, unkept: Some(unkept) })
    }
}

/// The component, why it does not fit the pool if it does not, and its code as it is kept.
fn compile(
    engines: &Engines,
    limits: &CompileLimits,
    digest: Digest,
    bytes: &[u8],
) -> Result<(Component, Option<String>, Vec<u8>), LoadError> {
    survey(bytes, limits)?;
    let begun = clock::now();
    let code = engines.pooled.precompile_component(bytes).map_err(refused)?;
    tracing::info!(component = %digest, bytes = bytes.len(), took_ms = begun.elapsed().as_millis(), "component compiled");
    match deserialize(&engines.pooled, &code) {
        Ok(component) => Ok((component, None, code)),
        Err(reason) => {
            let component = deserialize(&engines.on_demand, &code).map_err(refused)?;
            Ok((component, Some(cause(&reason)), code))
        }
    }
}

fn refused(error: wasmtime::Error) -> LoadError {
    LoadError::NotAComponent(cause(&error))
}

/// Error and cause in one line.
fn cause(error: &wasmtime::Error) -> String {
    let mut text = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
    text.truncate(text.floor_char_boundary(MAX_REASON));
    text
}

/// Takes compiled code as it is.
#[expect(unsafe_code, reason = "wasmtime offers no checked way to load compiled code")]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` must be what wasmtime compiled and nobody changed: `compile` has just got it
    // from there.
    unsafe { Component::deserialize(engine, code) }
}

/// Takes code that was kept, for the pool or on demand.
#[expect(unsafe_code, reason = "wasmtime offers no checked way to load compiled code")]
fn kept(engines: &Engines, code: &Held, fits: bool) -> wasmtime::Result<Component> {
    let engine = if fits { &engines.pooled } else { &engines.on_demand };
    // SAFETY: `code` must be what wasmtime compiled and nobody changed or will change. `read` gave
    // it: its digest stands in the header beside the key of this engine and component, and header
    // and code come from a file of our user in a folder that no other user can write or enter. What
    // is held is a sealed copy of it in memory, made before its digest was compared. wasmtime itself
    // checks the settings.
    unsafe { Component::deserialize_file(engine, code.path()) }
}

/// What the code depends on: the component, and through the engine's own hash wasmtime's version,
/// the target and every setting that decides about code. And what was found of it: the limits within
/// which it may be compiled, and through the pool's shape whether it fits.
fn key(engine: &Engine, limits: &CompileLimits, component: Digest) -> [u8; 32] {
    struct IntoSha(Sha256);
    impl Hasher for IntoSha {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hash = IntoSha(Sha256::new());
    hash.write(MAGIC);
    POOL_SHAPE.hash(&mut hash);
    hash.write(component.as_bytes());
    limits.hash(&mut hash);
    engine.precompile_compatibility_hash().hash(&mut hash);
    hash.0.finalize().into()
}

/// The code in the file at `path`, and why it does not fit the pool, if every check passes.
fn read(folder: &Path, path: &Path, key: &[u8; 32]) -> io::Result<(Held, Option<String>)> {
    ours(folder)?;
    let mut file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.uid() != me() || about.mode() & 0o022 != 0 {
        return Err(io::Error::other("the file is not ours alone"));
    }
    if about.len() > MAX_CODE_BYTES {
        return Err(io::Error::other("the file is too large"));
    }
    let damaged = || io::Error::other("the file is damaged or of another component");
    let mut header = Vec::with_capacity(HEADER);
    Read::by_ref(&mut file).take(HEADER as u64).read_to_end(&mut header)?;
    let parts = header.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(key));
    let parts = parts.and_then(|rest| rest.split_first_chunk::<32>());
    let parts = parts.and_then(|(digest, rest)| Some((digest, rest.try_into().ok()?)));
    let (expected, length) = parts.ok_or_else(damaged)?;
    let length = u64::from(u32::from_le_bytes(length));
    let begin = HEADER as u64 + length;
    if length > MAX_REASON as u64 || begin > about.len() {
        return Err(damaged());
    }
    let mut reason = Vec::new();
    Read::by_ref(&mut file).take(length).read_to_end(&mut reason)?;
    let (code, pieces) = Held::read(&file, begin, about.len() - begin)?;
    if digest(&reason, pieces) != *expected {
        return Err(damaged());
    }
    let reason = String::from_utf8(reason).map_err(|_| damaged())?;
    Ok((code, (!reason.is_empty()).then_some(reason)))
}

/// Writes the file aside and renames it, so that readers see all of it or nothing. Each piece goes to
/// the disk before the next: a commit of the log, often on the same disk, that comes meanwhile waits
/// for one of them and not for 50 MB.
fn write(
    folder: &Path,
    path: &Path,
    key: &[u8; 32],
    unfit: Option<&str>,
    code: &[u8],
) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    ours(folder)?;
    let next = NEXT.fetch_add(1, Relaxed);
    let aside = path.with_extension(format!("{}-{next}.new", std::process::id()));
    let written = (|| {
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        file.write_all(MAGIC)?;
        file.write_all(key)?;
        let reason = unfit.unwrap_or_default().as_bytes();
        file.write_all(&digest(reason, code.chunks(PIECE).map(of_piece)))?;
        file.write_all(&u32::try_from(reason.len()).map_err(io::Error::other)?.to_le_bytes())?;
        file.write_all(reason)?;
        for piece in code.chunks(PIECE) {
            file.write_all(piece)?;
            file.sync_data()?;
        }
        fs::rename(&aside, path)
    })();
    if written.is_err() {
        // What is left aside is never read; failing to remove it only costs room.
        let _ = fs::remove_file(&aside);
    }
    written
}

/// Whether `folder` is a folder of our user that nobody else can write or enter.
fn ours(folder: &Path) -> io::Result<()> {
    let about = fs::symlink_metadata(folder)?;
    if !about.is_dir() {
        return Err(io::Error::other("it is not a folder"));
    }
    if about.uid() != me() {
        return Err(io::Error::other("the folder belongs to another user"));
    }
    if about.mode() & 0o077 != 0 {
        return Err(io::Error::other(format!(
            "other users can enter the folder (mode {:o}): expected 700",
            about.mode() & 0o777
        )));
    }
    Ok(())
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::vm::SandboxConfig;

    const COMPONENT: &str = r#"(component
        (core module $m (func (export "f") (result i32) i32.const 7))
        (core instance $i (instantiate $m))
        (func (export "f") (result u32) (canon lift (core func $i "f"))))"#;

    /// The only file in the cache.
    fn file(folder: &Path) -> PathBuf {
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }

    fn engines(memory: usize) -> Engines {
        let limits = SandboxConfig {
            max_instances: Some(1),
            max_guest_memory: memory,
            ..SandboxConfig::default()
        };
        Engines::new(&limits).unwrap()
    }

    /// The component within the default limits, kept from then on, and why it does not fit the pool.
    fn component(
        cache: &Cache,
        engines: &Engines,
        digest: Digest,
        bytes: &[u8],
    ) -> Result<(Component, Option<String>), LoadError> {
        let found = cache.component(engines, &CompileLimits::default(), digest, bytes)?;
        if let Some(unkept) = found.unkept {
            unkept.keep();
        }
        Ok((found.component, found.unfit))
    }

    fn cached(folder: &Path) -> (Cache, Engines, Vec<u8>, Digest) {
        let bytes = wat::parse_str(COMPONENT).unwrap();
        let digest = Digest::of(&bytes);
        (Cache::new(Some(folder.to_owned())), engines(1 << 20), bytes, digest)
    }

    #[test]
    fn code_is_kept_and_taken_instead_of_compiling() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        let (cache, engines, bytes, digest) = cached(&folder);
        component(&cache, &engines, digest, &bytes).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(file(&folder)).unwrap().mode() & 0o777, 0o600);
        // These bytes would not compile: what comes back is what was kept under the digest.
        assert!(component(&cache, &engines, digest, b"nothing").is_ok());
        assert!(component(&cache, &engines, Digest::of(b"other"), b"nothing").is_err());
    }

    #[test]
    fn code_that_nobody_wants_is_not_written() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("cache");
        let (cache, engines, bytes, digest) = cached(&folder);
        let load = || cache.component(&engines, &CompileLimits::default(), digest, &bytes).unwrap();
        drop(load());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        load().unkept.unwrap().keep();
        assert!(load().unkept.is_none(), "it is kept already");
        file(&folder);
    }

    #[test]
    fn damaged_and_foreign_files_are_compiled_again() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("cache");
        let (cache, engines, bytes, digest) = cached(&folder);
        component(&cache, &engines, digest, &bytes).unwrap();
        let path = file(&folder);
        let whole = fs::read(&path).unwrap();
        for at in [0, 20, 50, 80, 83, 90, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert!(component(&cache, &engines, digest, b"nothing").is_err(), "byte {at}");
            assert!(component(&cache, &engines, digest, &bytes).is_ok());
            assert_eq!(fs::read(&path).unwrap(), whole, "written anew");
        }
        for cut in [0, 30, 70, 82, 90, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(component(&cache, &engines, digest, b"nothing").is_err(), "cut at {cut}");
        }
        fs::write(&path, &whole).unwrap();
        assert!(component(&cache, &engines, digest, b"nothing").is_ok());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).unwrap();
        assert!(component(&cache, &engines, digest, b"nothing").is_err(), "others can write it");
        fs::remove_file(&path).unwrap();
        let elsewhere = root.path().join("elsewhere");
        fs::write(&elsewhere, &whole).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(component(&cache, &engines, digest, b"nothing").is_err(), "a link");
    }

    #[test]
    fn code_of_other_settings_is_another_file() {
        let root = tempfile::tempdir().unwrap();
        let (cache, engines, bytes, digest) = cached(&root.path().join("cache"));
        component(&cache, &engines, digest, &bytes).unwrap();
        assert!(component(&cache, &self::engines(2 << 20), digest, b"nothing").is_err());
    }

    #[test]
    fn code_is_judged_anew_by_other_limits() {
        let root = tempfile::tempdir().unwrap();
        let (cache, engines, bytes, digest) = cached(&root.path().join("cache"));
        component(&cache, &engines, digest, &bytes).unwrap();
        let limits = CompileLimits { functions: 0, ..CompileLimits::default() };
        let refused = cache.component(&engines, &limits, digest, &bytes).err();
        assert!(matches!(refused, Some(LoadError::TooCostly { .. })), "{refused:?}");
    }

    #[test]
    fn code_that_does_not_fit_the_pool_is_kept_too() {
        let root = tempfile::tempdir().unwrap();
        let (cache, engines, _, _) = cached(&root.path().join("cache"));
        let many: String =
            (0..20).map(|n| format!("(core instance $i{n} (instantiate $m))")).collect();
        let large = COMPONENT.replace(
            "(core instance $i (instantiate $m))",
            &format!("{many} (core instance $i (instantiate $m))"),
        );
        let bytes = wat::parse_str(large).unwrap();
        let digest = Digest::of(&bytes);
        let (_, compiled) = component(&cache, &engines, digest, &bytes).unwrap();
        assert!(compiled.is_some(), "it fits the pool");
        let (_, kept) = component(&cache, &engines, digest, b"nothing").unwrap();
        assert_eq!(kept, compiled, "with the reason");
    }

    #[test]
    fn a_folder_that_others_can_enter_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("open");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let (cache, engines, bytes, digest) = cached(&folder);
        component(&cache, &engines, digest, &bytes).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        let file = root.path().join("file");
        fs::write(&file, b"").unwrap();
        assert!(Cache::new(Some(file)).0.is_none());
    }

    #[test]
    fn a_folder_opened_later_is_not_used_either() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("cache");
        let (cache, engines, bytes, digest) = cached(&folder);
        component(&cache, &engines, digest, &bytes).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(component(&cache, &engines, digest, b"nothing").is_err());
    }

    #[test]
    fn a_folder_of_another_user_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        let mut folder = root.path().join("cache");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        if me() == 0 {
            std::os::unix::fs::chown(&folder, Some(65_534), None).unwrap();
        } else {
            // Only root can give a folder away; this one belongs to root.
            folder = "/usr".into();
        }
        let told = ours(&folder).unwrap_err().to_string();
        assert!(told.contains("another user"), "{told}");
        assert!(Cache::new(Some(folder)).0.is_none());
    }

    #[test]
    fn a_folder_that_a_group_can_write_or_a_link_to_one_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("cache");
        for mode in [0o770, 0o720, 0o701] {
            drop(fs::remove_dir(&folder));
            fs::create_dir(&folder).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            let told = ours(&folder).unwrap_err().to_string();
            assert!(told.contains(&format!("mode {mode:o}")), "{told}");
            assert!(Cache::new(Some(folder.clone())).0.is_none());
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert!(Cache::new(Some(folder)).0.is_some());
        assert!(Cache::new(Some(link)).0.is_none(), "a link can be turned elsewhere");
    }

    #[test]
    fn code_of_another_component_under_the_name_is_compiled_again() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("cache");
        let (cache, engines, bytes, digest) = cached(&folder);
        component(&cache, &engines, digest, &bytes).unwrap();
        let path = file(&folder);
        let right = fs::read(&path).unwrap();
        let other = wat::parse_str(COMPONENT.replace("i32.const 7", "i32.const 8")).unwrap();
        let elsewhere = root.path().join("other");
        let others = Cache::new(Some(elsewhere.clone()));
        component(&others, &engines, Digest::of(&other), &other).unwrap();
        fs::copy(file(&elsewhere), &path).unwrap();
        assert!(
            component(&cache, &engines, digest, b"nothing").is_err(),
            "whole, but not this one"
        );
        component(&cache, &engines, digest, &bytes).unwrap();
        assert_eq!(fs::read(&path).unwrap(), right, "written anew");
    }

    #[test]
    fn many_at_once_leave_one_whole_file() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("cache");
        let (_, engines, bytes, digest) = cached(&folder);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let cache = Cache::new(Some(folder.clone()));
                    component(&cache, &engines, digest, &bytes).unwrap();
                });
            }
        });
        let cache = Cache::new(Some(folder.clone()));
        assert!(component(&cache, &engines, digest, b"nothing").is_ok());
        file(&folder);
    }
}
