//! Tells what the standard library sees.

use std::{
    cell::Cell,
    collections::hash_map::RandomState,
    fs::File,
    hash::BuildHasher,
    io,
    net::TcpStream,
    thread,
    time::{Duration, SystemTime},
};

aether_guest::aggregate!("conformance.storm.yaml", "probe", Probe);

/// Looks around.
pub struct Probe;

thread_local! {
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

impl Aggregate for Probe {
    fn initial(_id: String) -> State {
        State { looked: 0, clock: 0, calls: 0 }
    }

    fn decide(_: Context, _: State, command: Command) -> Result<Vec<Event>, ()> {
        Ok(vec![match command {
            Command::Look => Event::Looked(look()),
            Command::Count => Event::Counted(Counted { calls: count() }),
        }])
    }

    fn evolve(state: State, events: Vec<Event>) -> State {
        events.into_iter().fold(state, |state, event| match event {
            Event::Looked(_) => State { looked: state.looked + 1, clock: clock(), ..state },
            Event::Counted(Counted { calls }) => State { calls, ..state },
        })
    }
}

fn look() -> Looked {
    println!("it is {}", clock());
    eprintln!("and all is well");
    thread::sleep(Duration::from_secs(60));
    Looked {
        clock: clock(),
        random: (0..4).map(|n: u64| RandomState::new().hash_one(n)).collect(),
        secure: Vec::new(),
        environment: std::env::vars().map(|(name, value)| format!("{name}={value}")).collect(),
        arguments: std::env::args().collect(),
        file: complaint(File::open("/etc/passwd")),
        socket: complaint(TcpStream::connect("127.0.0.1:80")),
    }
}

fn complaint<T>(attempt: io::Result<T>) -> Option<String> {
    let error = attempt.err()?.to_string();
    eprintln!("refused: {error}");
    Some(error)
}

/// How often it was called in this instance: what no guest should do.
fn count() -> u32 {
    CALLS.with(|calls| {
        calls.set(calls.get() + 1);
        calls.get()
    })
}

#[expect(clippy::disallowed_methods, reason = "it is what the host shows that is looked at")]
fn clock() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
