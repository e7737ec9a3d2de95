//! One command per way in which a component can harm its host or its neighbours.

use std::{
    env, fs,
    hash::{BuildHasher, Hasher, RandomState},
    hint::black_box,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket},
    process,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

aether_guest::aggregate!("hostile.storm.yaml", "saboteur", Saboteur);

/// Does harm, on command.
pub struct Saboteur;

/// What must not outlive a command, yet does.
static CALLS: AtomicU64 = AtomicU64::new(0);

impl Aggregate for Saboteur {
    fn initial(id: String) -> State {
        if id.starts_with("loop") {
            spin();
        }
        assert!(!id.starts_with("panic"), "initial panics because of its id `{id}`");
        State { told: 0, blob: Vec::new() }
    }

    fn decide(context: Context, _: State, command: Command) -> Result<Vec<Event>, Rejection> {
        let event = match command {
            Command::Loop(Loop { place: Place::Decide }) => spin(),
            Command::Loop(Loop { place: Place::Evolve }) => Event::Looped,
            Command::Panic(Panic { place: Place::Decide }) => panic!("decide panics as told"),
            Command::Panic(Panic { place: Place::Evolve }) => Event::Panicked,
            Command::Recurse(Recurse { depth }) => {
                Event::Recursed(Recursed { depth: recurse(depth) })
            }
            Command::Grow(Grow { bytes, block }) => {
                Event::Grown(Grown { bytes: grow(bytes, block) })
            }
            Command::Print(Print { bytes, channel }) => {
                Event::Printed(Printed { bytes: print(bytes, channel) })
            }
            Command::Wait(Wait { ms }) => {
                thread::sleep(Duration::from_millis(ms));
                Event::Waited(Waited { ms })
            }
            Command::Look => Event::Looked(look()),
            Command::Report => Event::Reported(report(context)),
            Command::Count => {
                Event::Counted(Counted { calls: CALLS.fetch_add(1, Ordering::Relaxed) + 1 })
            }
            Command::Smuggle => Event::Looped,
            Command::Refuse => return Err(Rejection::Unable),
            Command::Decline => return Err(Rejection::Unable),
            Command::Fill(Fill { bytes }) => Event::Filled(Filled { bytes }),
            Command::Store(Store { bytes }) => Event::Stored(Stored { data: blob(bytes) }),
            Command::Exit(Exit { ok }) => process::exit(i32::from(!ok)),
        };
        Ok(vec![event])
    }

    fn evolve(mut state: State, events: Vec<Event>) -> State {
        for event in events {
            state.told += 1;
            match event {
                Event::Looped => spin(),
                Event::Panicked => panic!("evolve panics as told"),
                Event::Filled(Filled { bytes }) => state.blob = blob(bytes),
                _ => {}
            }
        }
        state
    }
}

fn spin() -> ! {
    loop {
        black_box(());
    }
}

/// Goes `depth` calls deep, each with a frame of at least 512 bytes.
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == 0 { 0 } else { recurse(depth - 1) + u64::from(black_box(frame).contains(&depth)) }
}

/// Takes and touches `bytes` of memory, `block` at a time, and holds them all.
fn grow(bytes: u64, block: u64) -> u64 {
    let mut held = Vec::new();
    let mut taken = 0;
    while taken < bytes {
        held.push(black_box(blob(block.clamp(1, bytes - taken))));
        taken += block.max(1);
    }
    held.iter().map(|block| block.len() as u64).sum()
}

fn blob(bytes: u64) -> Vec<u8> {
    vec![0x5a; usize::try_from(bytes).unwrap_or(usize::MAX)]
}

/// Prints `bytes` in lines of 100; how many were taken.
fn print(bytes: u64, channel: Channel) -> u64 {
    let mut line = [b'x'; 100];
    if let Some(end) = line.last_mut() {
        *end = b'\n';
    }
    let mut taken = 0;
    while taken < bytes {
        let written = match channel {
            Channel::Stdout => io::stdout().write_all(&line),
            Channel::Stderr => io::stderr().write_all(&line),
        };
        if written.is_err() {
            break;
        }
        taken += line.len() as u64;
    }
    taken
}

#[expect(clippy::disallowed_methods, reason = "whether time can be seen is the question")]
fn look() -> Looked {
    let start = Instant::now();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut input = Vec::new();
    let _ = io::stdin().read_to_end(&mut input);
    Looked {
        wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
        random: RandomState::new().build_hasher().finish(),
        variables: env::vars().map(|(name, value)| format!("{name}={value}")).collect(),
        arguments: env::args().collect(),
        stdin: input.len() as u64,
        refusals: vec![
            tried("read a file", fs::read("/etc/passwd")),
            tried("write a file", fs::write("/tmp/saboteur", "was here")),
            tried("list a folder", fs::read_dir("/")),
            tried("connect", TcpStream::connect("127.0.0.1:4222")),
            tried("listen", TcpListener::bind("127.0.0.1:0")),
            tried("bind udp", UdpSocket::bind("127.0.0.1:0")),
            tried("resolve", ("localhost", 80).to_socket_addrs()),
            tried("start a thread", thread::Builder::new().spawn(|| ())),
        ],
        elapsed_ns: u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
    }
}

fn tried<T>(what: &str, outcome: io::Result<T>) -> (String, String) {
    (what.into(), outcome.map_or_else(|error| error.to_string(), |_| "done".into()))
}

fn report(context: Context) -> Reported {
    Reported {
        id: context.id,
        version: context.version,
        command_id: context.command_id,
        correlation_id: context.correlation_id,
        at: context.at,
        by: context.by,
        seed: context.seed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_the_memory_that_is_asked_for_is_taken() {
        assert_eq!(grow(10, 10), 10);
        assert_eq!(grow(10, 3), 10);
        assert_eq!(grow(10, 100), 10);
    }

    #[test]
    fn recursion_goes_as_deep_as_it_is_told() {
        assert_eq!(recurse(100), 100);
    }
}
