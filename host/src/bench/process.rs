//! The host as users run it: a process of its own, whose memory and time are its own.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use super::hosts::{COMPONENT, MODEL};
use crate::clock;

/// Longest time until a host listens: it may compile ten components.
const START: Duration = Duration::from_secs(120);

/// What its first line begins with.
const LISTENS: &str = "aether listens at http://";

/// A running host. It is killed with this value: what it keeps is thrown away.
pub struct Process {
    child: Child,
    /// Where it listens.
    pub at: SocketAddr,
    /// From the start of the process until it listened.
    pub took: Duration,
}

impl Process {
    /// Starts the binary that is running now as a host of `models`, with the records in `data` and
    /// compiled code in `cache`.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start(
        models: &[PathBuf],
        data: &Path,
        cache: &Path,
        more: &[&str],
    ) -> Result<Self> {
        let begun = clock::now();
        let mut child = Command::new(std::env::current_exe()?)
            .arg("run")
            .args(models)
            .args(["--http", "127.0.0.1:0", "--data"])
            .arg(data)
            .arg("--cache-dir")
            .arg(cache)
            .args(more)
            // An `aether.toml` that lies where this was called must not count.
            .current_dir(cache.parent().unwrap_or(cache))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let lines = child.stdout.take().context("its output is piped")?;
        let mut lines = BufReader::new(lines).lines();
        let listens = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(at) = line.strip_prefix(LISTENS) {
                    return Ok(at.parse()?);
                }
            }
            anyhow::bail!("the host ended before it listened")
        };
        let at =
            tokio::time::timeout(START, listens).await.context("the host does not start")??;
        Ok(Self { child, at, took: begun.elapsed() })
    }

    /// Ends it as a crash does.
    ///
    /// # Errors
    /// If it cannot be ended.
    pub async fn end(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Its resident memory in bytes.
    ///
    /// # Errors
    /// Where there is no `/proc`.
    pub fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(self.place("status")?)?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kib.context("/proc tells VmRSS")? << 10)
    }

    /// The processor time that all its threads have taken.
    ///
    /// # Errors
    /// Where `/proc` does not count it.
    pub fn processor(&self) -> Result<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(self.place("task")?)? {
            // A thread may end meanwhile.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            let own = text.split_whitespace().next().and_then(|own| own.parse::<u64>().ok());
            nanos += own.context("/proc tells schedstat")?;
        }
        ensure!(nanos > 0, "/proc does not count the time of threads");
        Ok(Duration::from_nanos(nanos))
    }

    fn place(&self, name: &str) -> Result<PathBuf> {
        let id = self.child.id().context("the host has ended")?;
        Ok(PathBuf::from(format!("/proc/{id}/{name}")))
    }
}

/// Writes the model and its component into `dir`; with `number`, as one of ten contexts that are
/// the same but for the name. Gives the model's path.
///
/// # Errors
/// If they cannot be written.
pub fn write_model(dir: &Path, number: Option<usize>) -> Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let (mut model, mut component) = (MODEL.to_owned(), COMPONENT.to_vec());
    if let Some(number) = number {
        // A name of the same length is a component of the same form.
        let name = format!("benc{}", number % 10);
        model = model.replacen("context: bench", &format!("context: {name}"), 1);
        component = renamed(&component, b"bench:model", format!("{name}:model").as_bytes());
    }
    let path = dir.join("bench.storm.yaml");
    fs::write(&path, model)?;
    fs::write(dir.join("bench.wasm"), component)?;
    Ok(path)
}

/// `bytes` with every `old` made `new`, which is as long.
fn renamed(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut made = bytes.to_vec();
    let mut at = 0;
    while let Some(place) = made.get_mut(at..at + old.len()) {
        if place == old {
            place.copy_from_slice(new);
        }
        at += 1;
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_replaced_wherever_it_stands() {
        assert_eq!(renamed(b"ab.ab.a", b"ab", b"xy"), b"xy.xy.a");
        assert_eq!(renamed(b"a", b"ab", b"xy"), b"a");
    }
}
