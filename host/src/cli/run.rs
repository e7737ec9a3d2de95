//! `aether run`: a host, from its settings to its last answer.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context as _, bail};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use super::{bundle::bundle, dev, flags::Flags, hints, print};
#[cfg(feature = "faults")]
use crate::config::units;
use crate::{
    config::{Config, Faces, StoreConfig},
    gateway::{
        admission::Bodies,
        auth::Tokens,
        http::{self, Face, feed::HEARTBEAT},
        nats,
    },
    host::Host,
};

/// What stands behind the flags in the help.
const UNITS: &str = "\
TIME is a whole number with its unit: 100ms, 10s, 5m, 1h. SIZE likewise: 512B, 768KiB, 64MiB.
Each flag is also a variable, as shown, and a key of aether.toml: the flag is stronger than the
variable, and the variable than the file. AETHER_LOG says what is logged, e.g. info,aether::store=debug.";

/// Exit status after a second signal: the host stopped without finishing its work.
const STOPPED: u8 = 130;

/// The signal of a write beyond the limit of file sizes, on Linux and macOS.
const SIGXFSZ: i32 = 25;

/// Runs a host. Settings come from flags, then AETHER_* variables, then aether.toml. Without a
/// model, the host serves what is stored. A model or component that is new to the store passes the
/// gates of `aether deploy` first, the replay of what is stored for `--start-budget`.
#[derive(Debug, clap::Args)]
#[command(after_help = UNITS)]
pub struct Args {
    /// Models to serve, with the components that they name.
    models: Vec<PathBuf>,
    #[command(flatten)]
    flags: Flags,
    /// Deploy the models again whenever they or their components change; what does not pass is told,
    /// and what was deployed last is served on.
    #[arg(long, requires = "models")]
    dev: bool,
    /// Go on although a new model folds the stored pasts to other states. With `--dev` it may.
    #[arg(long, requires = "models")]
    accept_state_changes: bool,
    /// How wrong the time of day is, for tests: `1h`, `-1h`.
    #[cfg(feature = "faults")]
    #[arg(long, value_name = "DURATION", hide = true, allow_hyphen_values = true, value_parser = units::offset)]
    clock_offset: Option<i64>,
}

/// Runs the command: until SIGTERM or SIGINT, and then until the work at hand is done.
///
/// # Errors
/// If the settings, the models or the machine do not allow it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    #[cfg(feature = "faults")]
    {
        crate::clock::set_offset(args.clock_offset.unwrap_or_default());
        crate::step::arm()?;
    }
    let mut config = args.flags.resolve()?;
    // Whoever edits sees them at once.
    config.accept_state_changes = args.accept_state_changes || args.dev;
    let tokens = tokens(&config.faces)?;
    let watch = args.dev.then(|| dev::Watch::begin(&args.models));
    let bundles = args.models.iter().map(|file| bundle(file)).collect::<Result<Vec<_>, _>>()?;
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // A file-size limit (`ulimit -f`) must be an error of a write, not the end of the process.
    let _file_size = signal(SignalKind::from_raw(SIGXFSZ))?;
    let listener = listen(&config.faces).await?;
    let at = listener.as_ref().map(TcpListener::local_addr).transpose()?;
    let host = tokio::select! {
        started = Box::pin(Host::start(config.clone(), bundles)) => started?,
        () = told(&mut interrupt, &mut terminate) => return Ok(ExitCode::from(STOPPED)),
    };
    let faces = Running::start(&host, &config, listener, tokens).await?;
    for line in banner(&host, at) {
        print::line(&line);
    }
    if let Some(watch) = watch {
        let stop = faces.stop.clone();
        tokio::spawn(dev::watch(host.clone(), watch, stop));
        print::line("watching the models and their components (--dev)");
    }
    until_told(interrupt, terminate, faces, &host, &config).await
}

/// The faces of a running host.
struct Running {
    stop: CancellationToken,
    http: Option<tokio::task::JoinHandle<()>>,
    nats: Option<nats::Running>,
}

impl Running {
    async fn start(
        host: &Host,
        config: &Config,
        listener: Option<TcpListener>,
        tokens: Option<Tokens>,
    ) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let service = Arc::new(host.clone());
        let nats = match &config.store {
            StoreConfig::JetStream(server) if config.faces.nats => {
                let limits = config.limits.clone();
                let face = nats::start(server, &config.prefix, limits, service.clone()).await;
                Some(face.context("the NATS face cannot start")?)
            }
            _ => None,
        };
        let http = listener.map(|listener| {
            let limits = config.limits.clone();
            let stop = stop.clone();
            let bodies = Bodies::new(limits.max_request_bytes);
            let face = Face { service, tokens, limits, heartbeat: HEARTBEAT, bodies, stop };
            tokio::spawn(http::serve(listener, Arc::new(face)))
        });
        Ok(Self { stop, http, nats })
    }

    /// Ends the faces: what came is answered, nothing more is taken.
    async fn drain(self) {
        self.stop.cancel();
        if let Some(nats) = self.nats {
            nats.drain().await;
        }
        if let Some(http) = self.http
            && let Err(error) = http.await
        {
            tracing::error!(%error, "the HTTP face broke");
        }
    }
}

async fn until_told(
    mut interrupt: Signal,
    mut terminate: Signal,
    faces: Running,
    host: &Host,
    config: &Config,
) -> anyhow::Result<ExitCode> {
    told(&mut interrupt, &mut terminate).await;
    let limit = config.limits.drain;
    tracing::info!(?limit, "stopping: finishing what was begun; a second signal stops at once");
    // The faces wait for the host's answers and the host ends when it has given them. The host
    // keeps to the limit itself; the faces have a little longer, to send what it said.
    let drained = async {
        let faces = tokio::time::timeout(limit + limit / 4, faces.drain());
        let ((), faces) = tokio::join!(host.drain(), faces);
        faces.is_ok()
    };
    tokio::select! {
        in_time = drained => {
            if !in_time {
                tracing::warn!("some callers did not take their answers in time");
            }
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        () = told(&mut interrupt, &mut terminate) => {
            tracing::warn!("stopped at once: commands in flight are unresolved for their callers");
            Ok(ExitCode::from(STOPPED))
        }
    }
}

async fn told(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn tokens(faces: &Faces) -> anyhow::Result<Option<Tokens>> {
    let tokens = faces.token_file.as_deref().map(Tokens::load).transpose()?;
    if let Some(at) = faces.http
        && !at.ip().is_loopback()
        && tokens.is_none()
        && !faces.insecure
    {
        bail!(
            "{at} can be reached from other machines and nobody needs a token: give `--token-file FILE` (lines `NAME TOKEN`), or `--insecure` if something in front checks callers"
        );
    }
    Ok(tokens)
}

async fn listen(faces: &Faces) -> anyhow::Result<Option<TcpListener>> {
    let Some(at) = faces.http else { return Ok(None) };
    let listener = TcpListener::bind(at).await.with_context(|| {
        format!("cannot listen at {at}: choose another with `--http ADDR:PORT` or `AETHER_HTTP`")
    })?;
    Ok(Some(listener))
}

fn banner(host: &Host, at: Option<SocketAddr>) -> Vec<String> {
    let deployments: Vec<String> = host
        .deployments()
        .iter()
        .map(|d| format!("{} #{} ({})", d.context, d.number, d.model.short()))
        .collect();
    let hints = match (at, host.models().first()) {
        (Some(at), Some(model)) => hints::curls(&format!("http://{at}"), model),
        _ => Vec::new(),
    };
    lines(at, &host.store_description(), host.max_instances(), &deployments, &hints)
}

/// What is printed when the host listens: fewer than 12 lines, however much it serves.
fn lines(
    at: Option<SocketAddr>,
    store: &str,
    instances: usize,
    deployments: &[String],
    hints: &[String],
) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(at.map(|at| format!("aether listens at http://{at}")));
    lines.push(format!("records are kept in {store}"));
    lines.push(format!("at most {instances} component instances live at once (`max-instances`)"));
    match deployments {
        [] => {
            lines.push("nothing is deployed yet: start with a model, `aether run MODEL`".to_owned())
        }
        some => lines.push(format!("serves {}", some.join(", "))),
    }
    if !hints.is_empty() {
        lines.push("try:".to_owned());
        lines.extend(hints.iter().take(3).map(|hint| format!("  {hint}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faces(at: &str, insecure: bool) -> Faces {
        Faces { http: Some(at.parse().unwrap()), nats: false, token_file: None, insecure }
    }

    #[test]
    fn only_loopback_is_open_without_tokens() {
        for at in ["127.0.0.1:1", "[::1]:1", "127.9.9.9:1"] {
            assert!(tokens(&faces(at, false)).unwrap().is_none());
        }
        for at in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
            let said = tokens(&faces(at, false)).unwrap_err().to_string();
            assert!(said.contains("--token-file") && said.contains("--insecure"), "{said}");
            assert!(tokens(&faces(at, true)).is_ok());
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        std::fs::write(&file, "alice 0123456789abcdef\n").unwrap();
        let with = Faces { token_file: Some(file), ..faces("0.0.0.0:1", false) };
        assert!(tokens(&with).unwrap().is_some());
    }

    #[test]
    fn the_banner_stays_under_12_lines() {
        let many: Vec<String> = (0..50).map(|n| format!("c{n} #1")).collect();
        let shown = lines("127.0.0.1:4280".parse().ok(), "a folder", 7, &many, &many);
        assert!(shown.len() < 12 && shown[0].ends_with("http://127.0.0.1:4280"));
        assert_eq!(shown.iter().filter(|line| line.starts_with("  ")).count(), 3);
        let bare = lines(None, "s", 7, &[], &[]);
        assert!(bare[1].contains("at most 7 ") && bare[2].contains("aether run MODEL"), "{bare:?}");
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = taken.local_addr().unwrap();
        let said = listen(&faces(&at.to_string(), false)).await.unwrap_err().to_string();
        assert!(said.contains(&at.to_string()) && said.contains("--http"), "{said}");
    }
}
