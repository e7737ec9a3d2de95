//! A SQLite VFS that tells what reaches the disk, and fails on demand.
//!
//! It stands in front of the machine's own VFS and passes everything through, so locks, shared
//! memory and the write-ahead log are the real ones. Every write, truncation, sync and deletion
//! goes into a trace, and so do the moments at which the test was told something
//! ([`TraceVfs::note`]). What a crash would leave after any of them is computed from the trace,
//! see [`crate::crash_disk`].

#![expect(
    unsafe_code,
    reason = "a VFS is a table of C functions; it lives in this crate so that the product needs none"
)]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    path::Path,
    ptr, slice,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rusqlite::ffi;
use tokio::sync::watch;

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Op {
    /// A file was opened; it exists from now on.
    Open(String),
    /// Bytes were written at an offset.
    Write(String, u64, Vec<u8>),
    /// A file was cut or grown to a size.
    Truncate(String, u64),
    /// Everything written to a file before is on disk.
    Sync(String),
    /// A sync failed: what was written before may never reach the disk.
    SyncFailed(String),
    /// A file was deleted.
    Delete(String),
    /// The test was told something; the number is its own.
    Note(usize),
}

/// The operations that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failing {
    /// Writes.
    Write,
    /// Syncs.
    Sync,
}

/// Failures to come.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// What fails.
    pub failing: Failing,
    /// SQLite's code for it, e.g. `SQLITE_FULL`.
    pub code: c_int,
    /// How many of them still work.
    pub skip: u64,
    /// How many fail then.
    pub times: u64,
}

/// A registered VFS with a trace of its own. It stays registered for the life of the process.
#[derive(Debug, Clone)]
pub struct TraceVfs {
    name: String,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    trace: Mutex<Vec<Op>>,
    fault: Mutex<Option<Fault>>,
    failed: watch::Sender<u64>,
    /// Whether syncs wait.
    held: Mutex<bool>,
    released: Condvar,
}

impl TraceVfs {
    /// Registers a new VFS.
    ///
    /// # Errors
    /// If SQLite does not take it.
    pub fn register() -> anyhow::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("trace-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let shared = Arc::new(Shared::default());
        register(&name, shared.clone())?;
        Ok(Self { name, shared })
    }

    /// The name by which connections choose it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts a note into the trace: the test was told something.
    pub fn note(&self, number: usize) {
        lock(&self.shared.trace).push(Op::Note(number));
    }

    /// Everything that happened so far.
    #[must_use]
    pub fn trace(&self) -> Vec<Op> {
        lock(&self.shared.trace).clone()
    }

    /// Has operations fail from now on, or no longer.
    pub fn fail(&self, fault: Option<Fault>) {
        *lock(&self.shared.fault) = fault;
    }

    /// Has syncs wait from now on, as a disk does that has stalled, or lets them go on.
    pub fn hold_syncs(&self, held: bool) {
        *lock(&self.shared.held) = held;
        self.shared.released.notify_all();
    }

    /// Waits until `count` operations have failed since the VFS was made.
    pub async fn failed(&self, count: u64) {
        let mut failed = self.shared.failed.subscribe();
        // The sender lives in `self`.
        let _ = failed.wait_for(|failed| *failed >= count).await;
    }
}

impl Shared {
    fn push(&self, op: Op) {
        lock(&self.trace).push(op);
    }

    /// Waits as long as syncs are held.
    fn wait_for_release(&self) {
        let held = self.released.wait_while(lock(&self.held), |held| *held);
        drop(held.unwrap_or_else(PoisonError::into_inner));
    }

    /// The code with which this operation is to fail.
    fn fault(&self, failing: Failing) -> Option<c_int> {
        let mut slot = lock(&self.fault);
        let fault = slot.as_mut().filter(|fault| fault.failing == failing)?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        fault.times = fault.times.checked_sub(1)?;
        let code = fault.code;
        drop(slot);
        self.failed.send_modify(|failed| *failed += 1);
        Some(code)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the VFS's `pAppData` points to.
struct Registration {
    real: *mut ffi::sqlite3_vfs,
    shared: Arc<Shared>,
}

/// An open file: SQLite's part first, then ours; the real file follows in the same memory.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    real: *mut ffi::sqlite3_file,
    state: *mut State,
}

/// What is known of an open file.
struct State {
    /// Its name without the folder; none if it is a temporary one, which no crash leaves behind.
    name: Option<String>,
    shared: Arc<Shared>,
}

fn register(name: &str, shared: Arc<Shared>) -> anyhow::Result<()> {
    let name = CString::new(name)?;
    // SAFETY: SQLite gives the default VFS, which lives as long as the process. The copy differs
    // in what is set here; what is leaked must live as long as the process, too. Those functions of
    // the copy that stay the real ones do not look at `pAppData`.
    let code = unsafe {
        let real = ffi::sqlite3_vfs_find(ptr::null());
        anyhow::ensure!(!real.is_null(), "SQLite has no VFS");
        let mut vfs: ffi::sqlite3_vfs = ptr::read(real);
        vfs.pNext = ptr::null_mut();
        vfs.zName = name.into_raw();
        vfs.pAppData = Box::into_raw(Box::new(Registration { real, shared })).cast();
        vfs.szOsFile += c_int::try_from(size_of::<File>())?;
        vfs.xOpen = Some(open);
        vfs.xDelete = Some(delete);
        ffi::sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 0)
    };
    anyhow::ensure!(code == ffi::SQLITE_OK, "SQLite refuses the VFS with code {code}");
    Ok(())
}

/// # Safety
/// `vfs` must be one that [`register`] made.
unsafe fn registration<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a Registration {
    // SAFETY: `register` put it there and never takes it back.
    unsafe { &*(*vfs).pAppData.cast::<Registration>() }
}

/// # Safety
/// `name` must be null or a C string.
unsafe fn file_name(name: *const c_char) -> Option<String> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the caller says so.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    Path::new(name.as_ref()).file_name().map(|name| name.to_string_lossy().into_owned())
}

/// # Safety
/// As SQLite calls `xOpen`: `file` has `szOsFile` bytes.
unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives memory for our part and the real file's behind it.
    unsafe {
        let registration = registration(vfs);
        let ours = file.cast::<File>();
        (*ours).base.pMethods = ptr::null();
        (*ours).real = ours.add(1).cast();
        let Some(real_open) = (*registration.real).xOpen else { return ffi::SQLITE_CANTOPEN };
        let code = real_open(registration.real, name, (*ours).real, flags, out);
        if code == ffi::SQLITE_OK {
            let state = State { name: file_name(name), shared: registration.shared.clone() };
            state.push(Op::Open);
            (*ours).state = Box::into_raw(Box::new(state));
            (*ours).base.pMethods = &raw const METHODS;
        }
        code
    }
}

/// # Safety
/// As SQLite calls `xDelete`.
unsafe extern "C" fn delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_folder: c_int,
) -> c_int {
    // SAFETY: the arguments go on as they came.
    unsafe {
        let registration = registration(vfs);
        let Some(real_delete) = (*registration.real).xDelete else { return ffi::SQLITE_ERROR };
        let code = real_delete(registration.real, name, sync_folder);
        if code == ffi::SQLITE_OK
            && let Some(name) = file_name(name)
        {
            registration.shared.push(Op::Delete(name));
        }
        code
    }
}

impl State {
    fn push(&self, op: impl FnOnce(String) -> Op) {
        if let Some(name) = &self.name {
            self.shared.push(op(name.clone()));
        }
    }
}

/// # Safety
/// `file` must have been opened by [`open`].
unsafe fn state<'a>(file: *mut ffi::sqlite3_file) -> &'a State {
    // SAFETY: `open` put it there; `close` alone takes it back.
    unsafe { &*(*file.cast::<File>()).state }
}

/// Calls a method of the real file.
macro_rules! real {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        let real = (*$file.cast::<File>()).real;
        match (*(*real).pMethods).$method {
            Some(method) => method(real $(, $argument)*),
            None => ffi::SQLITE_IOERR,
        }
    }};
}

/// Methods that only go on to the real file.
macro_rules! forward {
    ($($name:ident: $method:ident($($argument:ident: $type:ty),*);)*) => {
        $(
            /// # Safety
            /// As SQLite calls the method.
            unsafe extern "C" fn $name(
                file: *mut ffi::sqlite3_file
                $(, $argument: $type)*
            ) -> c_int {
                // SAFETY: the arguments go on as they came.
                unsafe { real!(file, $method $(, $argument)*) }
            }
        )*
    };
}

forward! {
    read: xRead(to: *mut c_void, count: c_int, offset: i64);
    size: xFileSize(to: *mut i64);
    lock_file: xLock(level: c_int);
    unlock_file: xUnlock(level: c_int);
    is_locked: xCheckReservedLock(to: *mut c_int);
    control: xFileControl(op: c_int, argument: *mut c_void);
    sector_size: xSectorSize();
    characteristics: xDeviceCharacteristics();
    map_memory: xShmMap(page: c_int, size: c_int, extend: c_int, to: *mut *mut c_void);
    lock_memory: xShmLock(offset: c_int, count: c_int, flags: c_int);
    unmap_memory: xShmUnmap(delete: c_int);
}

/// # Safety
/// As SQLite calls `xShmBarrier`.
unsafe extern "C" fn barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: the file is open.
    unsafe {
        let real = (*file.cast::<File>()).real;
        if let Some(barrier) = (*(*real).pMethods).xShmBarrier {
            barrier(real);
        }
    }
}

/// # Safety
/// As SQLite calls `xClose`: once per opened file.
unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: `open` boxed the state; nobody uses it after this call.
    unsafe {
        drop(Box::from_raw((*file.cast::<File>()).state));
        real!(file, xClose)
    }
}

/// # Safety
/// As SQLite calls `xWrite`: `from` holds `count` bytes.
unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    count: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: the file is open and the bytes are there.
    unsafe {
        let state = state(file);
        if let Some(code) = state.shared.fault(Failing::Write) {
            return code;
        }
        let code = real!(file, xWrite, from, count, offset);
        if code == ffi::SQLITE_OK {
            let count = usize::try_from(count).unwrap_or(0);
            let bytes = slice::from_raw_parts(from.cast::<u8>(), count).to_vec();
            state.push(|name| Op::Write(name, offset.unsigned_abs(), bytes));
        }
        code
    }
}

/// # Safety
/// As SQLite calls `xTruncate`.
unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        let code = real!(file, xTruncate, size);
        if code == ffi::SQLITE_OK {
            state(file).push(|name| Op::Truncate(name, size.unsigned_abs()));
        }
        code
    }
}

/// # Safety
/// As SQLite calls `xSync`.
unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        let state = state(file);
        state.shared.wait_for_release();
        if let Some(code) = state.shared.fault(Failing::Sync) {
            state.push(Op::SyncFailed);
            return code;
        }
        let code = real!(file, xSync, flags);
        if code == ffi::SQLITE_OK {
            state.push(Op::Sync);
        }
        code
    }
}

/// Version 2: without `xFetch`, which would let SQLite write past the trace through a mapping.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(size),
    xLock: Some(lock_file),
    xUnlock: Some(unlock_file),
    xCheckReservedLock: Some(is_locked),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(map_memory),
    xShmLock: Some(lock_memory),
    xShmBarrier: Some(barrier),
    xShmUnmap: Some(unmap_memory),
    xFetch: None,
    xUnfetch: None,
};
