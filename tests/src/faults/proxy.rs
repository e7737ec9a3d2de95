//! A TCP proxy that breaks connections in every way that a network can.
//!
//! One proxy stands on one way, e.g. from a host to one nats-server. What it is told holds for the
//! connections that are there and for those that come. A direction that is stalled keeps what was
//! sent and passes it on when it flows again, late, as TCP does after a partition; a cut is a reset
//! towards both ends.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use rand::RngExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    runtime::Handle,
    sync::watch,
    task::AbortHandle,
};

/// Most bytes that are passed on at once.
const CHUNK: usize = 16 << 10;

/// Longest wait for a connection to the target.
const CONNECT: Duration = Duration::from_secs(1);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From whoever connected to the target.
    Up,
    /// From the target back.
    Down,
}

/// How the proxy treats what passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// New connections are reset at once.
    pub refuse: bool,
    /// Nothing passes up.
    pub stall_up: bool,
    /// Nothing passes down.
    pub stall_down: bool,
    /// How long each piece waits before it passes, at least and at most; `None` = not at all.
    pub delay: Option<(Duration, Duration)>,
}

impl Mode {
    /// Nothing passes, either way; connections are taken.
    #[must_use]
    pub fn stalled() -> Self {
        Self { stall_up: true, stall_down: true, ..Self::default() }
    }

    const fn stalls(&self, direction: Direction) -> bool {
        match direction {
            Direction::Up => self.stall_up,
            Direction::Down => self.stall_down,
        }
    }
}

/// A reset in the middle of something: once `pattern` has been seen in a direction, `after` more
/// bytes pass and then the connection that they were on is reset.
#[derive(Clone, Debug)]
pub struct Trap {
    /// Where to look.
    pub direction: Direction,
    /// What to look for within one piece; empty = anything.
    pub pattern: Vec<u8>,
    /// How many bytes pass from the beginning of the pattern on.
    pub after: usize,
}

/// A proxy on a port of its own. Gone, with its connections, when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    at: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<Option<SocketAddr>>,
    mode: watch::Sender<Mode>,
    /// Counts the cuts; a connection ends when it changes.
    cuts: watch::Sender<u64>,
    /// Counts the half-closes of each direction.
    closes: [watch::Sender<u64>; 2],
    trap: Mutex<Option<Trap>>,
    sprung: AtomicU64,
    open: AtomicU64,
    passed: [AtomicU64; 2],
}

/// Why a pump ended.
enum End {
    /// The sender has closed its side, or the proxy did so in its place.
    Closed,
    /// The connection is to be reset.
    Reset,
}

impl Proxy {
    /// Starts a proxy on a free port of this machine, on `runtime`; without a target, connections
    /// are reset.
    ///
    /// # Errors
    /// If there is no free port.
    pub fn start(runtime: &Handle, target: Option<SocketAddr>) -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("no free port")?;
        listener.set_nonblocking(true)?;
        let at = listener.local_addr()?;
        let _entered = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            mode: watch::Sender::new(Mode::default()),
            cuts: watch::Sender::new(0),
            closes: [watch::Sender::new(0), watch::Sender::new(0)],
            trap: Mutex::new(None),
            sprung: AtomicU64::new(0),
            open: AtomicU64::new(0),
            passed: [AtomicU64::new(0), AtomicU64::new(0)],
        });
        let accepting = runtime.spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self { at, shared, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub const fn at(&self) -> SocketAddr {
        self.at
    }

    /// Leads new connections elsewhere.
    pub fn lead_to(&self, target: SocketAddr) {
        *lock(&self.shared.target) = Some(target);
    }

    /// Treats what passes like this from now on.
    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Resets every connection that is there now.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Ends one direction of every connection that is there now; the other goes on.
    pub fn half_close(&self, direction: Direction) {
        let [up, down] = &self.shared.closes;
        let closes = if direction == Direction::Up { up } else { down };
        closes.send_modify(|closes| *closes += 1);
    }

    /// Waits for one more connection to reset in the middle of something; replaces a trap that has
    /// not sprung.
    pub fn arm(&self, trap: Trap) {
        *lock(&self.shared.trap) = Some(trap);
    }

    /// Takes back a trap that has not sprung.
    pub fn disarm(&self) {
        *lock(&self.shared.trap) = None;
    }

    /// How many traps have sprung.
    #[must_use]
    pub fn sprung(&self) -> u64 {
        self.shared.sprung.load(Ordering::Relaxed)
    }

    /// How many connections lead through it now.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// How many bytes have passed in a direction.
    #[must_use]
    pub fn passed(&self, direction: Direction) -> u64 {
        let [up, down] = &self.shared.passed;
        if direction == Direction::Up { up } else { down }.load(Ordering::Relaxed)
    }

    /// Passes everything on again; what was cut stays cut.
    pub fn heal(&self) {
        self.disarm();
        self.set(Mode::default());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // An error of accepting is that of one connection, e.g. one that was reset while it waited.
    loop {
        if let Ok((incoming, _)) = listener.accept().await {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                shared.open.fetch_add(1, Ordering::Relaxed);
                serve(incoming, &shared).await;
                shared.open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }
}

/// Carries one connection to its end.
async fn serve(mut incoming: TcpStream, shared: &Shared) {
    let mut cuts = shared.cuts.subscribe();
    let Some(mut outgoing) = connect(shared).await else {
        reset(&incoming);
        return;
    };
    // Errors mean that the other side is gone already.
    let _ = (incoming.set_nodelay(true), outgoing.set_nodelay(true));
    let torn = {
        let (from_below, to_below) = incoming.split();
        let (from_above, to_above) = outgoing.split();
        let pumps = async {
            let up = pump(from_below, to_above, Direction::Up, shared);
            let down = pump(from_above, to_below, Direction::Down, shared);
            let reset = |end| if matches!(end, End::Reset) { Err(()) } else { Ok(()) };
            tokio::try_join!(async { reset(up.await) }, async { reset(down.await) }).is_err()
        };
        tokio::select! {
            torn = pumps => torn,
            _ = cuts.changed() => true,
        }
    };
    if torn {
        reset(&incoming);
        reset(&outgoing);
    }
}

async fn connect(shared: &Shared) -> Option<TcpStream> {
    if shared.mode.borrow().refuse {
        return None;
    }
    let target = (*lock(&shared.target))?;
    tokio::time::timeout(CONNECT, TcpStream::connect(target)).await.ok()?.ok()
}

/// Passes bytes one way until that way ends.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    shared: &Shared,
) -> End {
    let [up, down] = &shared.closes;
    let mut closes = if direction == Direction::Up { up } else { down }.subscribe();
    let end = tokio::select! {
        end = pass(&mut from, &mut to, direction, shared) => end,
        _ = closes.changed() => End::Closed,
    };
    if matches!(end, End::Closed) && to.shutdown().await.is_err() {
        return End::Reset;
    }
    end
}

async fn pass(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    direction: Direction,
    shared: &Shared,
) -> End {
    let mut mode = shared.mode.subscribe();
    let [up, down] = &shared.passed;
    let passed = if direction == Direction::Up { up } else { down };
    let mut buffer = vec![0; CHUNK];
    // What is left until a trap springs that has seen its pattern here.
    let mut left = None;
    loop {
        if mode.wait_for(|mode| !mode.stalls(direction)).await.is_err() {
            return End::Reset;
        }
        let Ok(length) = from.read(&mut buffer).await else { return End::Reset };
        let Some(piece) = buffer.get(..length).filter(|piece| !piece.is_empty()) else {
            return End::Closed;
        };
        // Copied out: no borrow of the mode may be held over an await.
        let delay = mode.borrow().delay;
        if let Some((least, most)) = delay {
            let delay = rand::rng().random_range(least..=most);
            tokio::time::sleep(delay).await;
        }
        // A stall that began meanwhile holds what was read too.
        if mode.wait_for(|mode| !mode.stalls(direction)).await.is_err() {
            return End::Reset;
        }
        if left.is_none() {
            left = shared.spring(direction, piece);
        }
        let (passing, rest) = match left {
            Some(left) if left <= piece.len() => (piece.get(..left).unwrap_or(piece), None),
            Some(left) => (piece, Some(left - piece.len())),
            None => (piece, None),
        };
        let torn = left.is_some() && rest.is_none();
        left = rest;
        if to.write_all(passing).await.is_err() {
            return End::Reset;
        }
        passed.fetch_add(passing.len() as u64, Ordering::Relaxed);
        if torn {
            shared.sprung.fetch_add(1, Ordering::Relaxed);
            return End::Reset;
        }
    }
}

impl Shared {
    /// How many bytes of `piece` and what follows still pass, if the trap is for it. It is taken
    /// then: a trap springs once.
    fn spring(&self, direction: Direction, piece: &[u8]) -> Option<usize> {
        let mut armed = lock(&self.trap);
        let trap = armed.as_ref().filter(|trap| trap.direction == direction)?;
        let begins = match trap.pattern.len() {
            0 => 0,
            length => piece.windows(length).position(|window| window == trap.pattern)?,
        };
        let left = begins + trap.after;
        *armed = None;
        Some(left)
    }
}

/// Makes the end of a connection a reset instead of an orderly close.
fn reset(stream: &TcpStream) {
    // An error means that it is gone already.
    let _ = stream.set_zero_linger();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::time::timeout;

    use super::*;

    /// Longest wait for what must happen, and how long nothing must happen.
    const SOON: Duration = Duration::from_secs(10);
    const QUIET: Duration = Duration::from_millis(50);

    /// A proxy before a listener, and a connection through it: both ends.
    async fn connected() -> (Proxy, TcpListener, TcpStream, TcpStream) {
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(&Handle::current(), Some(target.local_addr().unwrap())).unwrap();
        let (near, far) = through(&proxy, &target).await;
        (proxy, target, near, far)
    }

    async fn through(proxy: &Proxy, target: &TcpListener) -> (TcpStream, TcpStream) {
        let near = TcpStream::connect(proxy.at()).await.unwrap();
        let (far, _) = timeout(SOON, target.accept()).await.unwrap().unwrap();
        (near, far)
    }

    async fn expect(stream: &mut TcpStream, text: &str) {
        let mut read = vec![0; text.len()];
        timeout(SOON, stream.read_exact(&mut read)).await.expect("nothing came").unwrap();
        assert_eq!(read, text.as_bytes());
    }

    async fn expect_nothing(stream: &mut TcpStream) {
        let mut byte = [0];
        assert!(timeout(QUIET, stream.read(&mut byte)).await.is_err(), "something came");
    }

    async fn expect_reset(stream: &mut TcpStream) {
        let mut byte = [0];
        let read = timeout(SOON, stream.read(&mut byte)).await.expect("still open");
        assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_and_an_end_is_an_end() {
        let (proxy, _target, mut near, mut far) = connected().await;
        near.write_all(b"there").await.unwrap();
        expect(&mut far, "there").await;
        far.write_all(b"back").await.unwrap();
        expect(&mut near, "back").await;
        assert_eq!((proxy.passed(Direction::Up), proxy.passed(Direction::Down)), (5, 4));
        near.shutdown().await.unwrap();
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
        far.write_all(b"more").await.unwrap();
        expect(&mut near, "more").await;
    }

    #[tokio::test]
    async fn a_cut_resets_what_is_there_and_refusing_what_comes() {
        let (proxy, target, mut near, mut far) = connected().await;
        assert_eq!(proxy.open(), 1);
        proxy.cut();
        expect_reset(&mut near).await;
        expect_reset(&mut far).await;

        let (mut near, mut far) = through(&proxy, &target).await;
        proxy.set(Mode { refuse: true, ..Mode::default() });
        let mut refused = TcpStream::connect(proxy.at()).await.unwrap();
        expect_reset(&mut refused).await;
        near.write_all(b"old ones stay").await.unwrap();
        expect(&mut far, "old ones stay").await;
        proxy.heal();
        through(&proxy, &target).await;
    }

    #[tokio::test]
    async fn a_stalled_direction_passes_late_what_was_sent() {
        let (proxy, target, mut near, mut far) = connected().await;
        proxy.set(Mode { stall_up: true, ..Mode::default() });
        near.write_all(b"late").await.unwrap();
        far.write_all(b"in time").await.unwrap();
        expect(&mut near, "in time").await;
        expect_nothing(&mut far).await;
        proxy.heal();
        expect(&mut far, "late").await;

        proxy.set(Mode::stalled());
        let (mut other, mut other_far) = through(&proxy, &target).await;
        other.write_all(b"taken").await.unwrap();
        far.write_all(b"held").await.unwrap();
        expect_nothing(&mut other_far).await;
        expect_nothing(&mut near).await;
        proxy.heal();
        expect(&mut other_far, "taken").await;
        expect(&mut near, "held").await;
    }

    #[tokio::test]
    async fn a_delay_holds_every_piece_for_a_while() {
        let (proxy, _target, mut near, mut far) = connected().await;
        let least = Duration::from_millis(60);
        proxy.set(Mode { delay: Some((least, least * 2)), ..Mode::default() });
        let begun = aether::clock::now();
        near.write_all(b"slow").await.unwrap();
        expect(&mut far, "slow").await;
        assert!(begun.elapsed() >= least);
    }

    #[tokio::test]
    async fn one_direction_can_end_alone() {
        let (proxy, _target, mut near, mut far) = connected().await;
        // Only what has begun to pass can end.
        near.write_all(b"begun").await.unwrap();
        expect(&mut far, "begun").await;
        proxy.half_close(Direction::Up);
        assert_eq!(timeout(SOON, far.read(&mut [0])).await.unwrap().unwrap(), 0);
        far.write_all(b"still here").await.unwrap();
        expect(&mut near, "still here").await;
    }

    #[tokio::test]
    async fn a_trap_lets_a_part_through_and_springs_once() {
        let (proxy, target, mut near, mut far) = connected().await;
        let pattern = b"PUB".to_vec();
        proxy.arm(Trap { direction: Direction::Up, pattern, after: 5 });
        near.write_all(b"SUB a").await.unwrap();
        expect(&mut far, "SUB a").await;
        near.write_all(b"..PUB record").await.unwrap();
        expect(&mut far, "..PUB r").await;
        expect_reset(&mut far).await;
        expect_reset(&mut near).await;
        assert_eq!(proxy.sprung(), 1);

        let (mut near, mut far) = through(&proxy, &target).await;
        near.write_all(b"PUB record").await.unwrap();
        expect(&mut far, "PUB record").await;

        // Over several pieces.
        proxy.arm(Trap { direction: Direction::Down, pattern: Vec::new(), after: 6 });
        far.write_all(b"abc").await.unwrap();
        expect(&mut near, "abc").await;
        far.write_all(b"defgh").await.unwrap();
        expect(&mut near, "def").await;
        expect_reset(&mut near).await;
        assert_eq!(proxy.sprung(), 2);
    }

    #[tokio::test]
    async fn a_target_that_is_gone_is_a_reset_and_a_new_one_is_found() {
        let (proxy, target, ..) = connected().await;
        drop(target);
        let mut near = TcpStream::connect(proxy.at()).await.unwrap();
        expect_reset(&mut near).await;
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        proxy.lead_to(other.local_addr().unwrap());
        through(&proxy, &other).await;
    }
}
