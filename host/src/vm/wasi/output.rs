//! What components print: kept until the call has an outcome, then given to the log by lines.
//!
//! A call may run twice (see [`super::super::slow`]), so nothing may reach the log while it runs.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use crate::address::Address;

/// Bytes that a guest is told it may write at once.
const WRITE_SIZE: usize = 4096;

/// Longest tail of stderr that a fault quotes, in bytes.
const MAX_QUOTE: usize = 400;

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
    /// The host, about what the component did.
    Host,
}

impl Stream {
    const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Host => "host",
        }
    }
}

/// What an instance has printed in this call, up to its budget.
#[derive(Default)]
pub(super) struct Buffer {
    printed: Printed,
    left: usize,
}

/// The output of one call.
#[derive(Debug, Default)]
pub(in crate::vm) struct Printed {
    chunks: Vec<(Stream, Vec<u8>)>,
    dropped: usize,
}

impl Buffer {
    /// Forgets everything; `budget` bytes may follow.
    pub(super) fn restart(&mut self, budget: usize) {
        self.printed = Printed::default();
        self.left = budget;
    }

    /// Takes what was printed.
    pub(super) fn take(&mut self) -> Printed {
        std::mem::take(&mut self.printed)
    }

    /// Has the host say a line of its own.
    pub(super) fn note(&mut self, line: &str) {
        self.write(Stream::Host, format!("{line}\n").as_bytes());
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let (kept, dropped) = bytes.split_at(bytes.len().min(self.left));
        self.left -= kept.len();
        self.printed.dropped = self.printed.dropped.saturating_add(dropped.len());
        if kept.is_empty() {
            return;
        }
        match self.printed.chunks.last_mut() {
            Some((last, text)) if *last == stream => text.extend_from_slice(kept),
            _ => self.printed.chunks.push((stream, kept.to_vec())),
        }
    }
}

impl Printed {
    /// Gives every line to the log, under target `guest`, with the actor's address.
    pub(in crate::vm) fn publish(&self, actor: &Address) {
        // Rust begins what it says of a panic with an empty line.
        for (stream, line) in self.lines().into_iter().filter(|(_, line)| !line.is_empty()) {
            tracing::info!(target: "guest", %actor, stream = stream.name(), "{line}");
        }
        if self.dropped > 0 {
            let dropped = self.dropped;
            tracing::warn!(target: "guest", %actor, dropped, "the component printed {dropped} bytes more than a call may print: they were dropped");
        }
    }

    /// The end of what it printed to stderr, in one line; empty if nothing.
    pub(in crate::vm) fn last_words(&self) -> String {
        let lines = self.lines();
        let stderr = lines.iter().filter(|(stream, _)| *stream == Stream::Stderr);
        let text = stderr.map(|(_, line)| line.trim()).filter(|line| !line.is_empty());
        // Rust's advice to set a variable that no component can see.
        let text = text.filter(|line| !line.starts_with("note: run with `RUST_BACKTRACE"));
        let text = text.collect::<Vec<_>>().join(" | ");
        // The beginning says what happened.
        let mut end = text.len().min(MAX_QUOTE);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        match text.get(..end) {
            Some(short) if end < text.len() => format!("{short}…"),
            _ => text,
        }
    }

    /// The lines of both streams, in the order in which they were ended, made harmless.
    fn lines(&self) -> Vec<(Stream, String)> {
        let mut lines = vec![];
        let mut open = [Stream::Stdout, Stream::Stderr, Stream::Host].map(|it| (it, vec![]));
        for (stream, bytes) in &self.chunks {
            for (of, line) in open.iter_mut().filter(|(of, _)| of == stream) {
                for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                    line.extend_from_slice(part);
                    if line.last() == Some(&b'\n') {
                        line.pop();
                        lines.push((*of, harmless(line)));
                        line.clear();
                    }
                }
            }
        }
        let rest = open.iter().filter(|(_, line)| !line.is_empty());
        lines.extend(rest.map(|(stream, line)| (*stream, harmless(line))));
        lines
    }
}

/// The text of `bytes` as UTF-8, with control characters written out so that no component can
/// forge lines or steer a terminal.
fn harmless(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for c in String::from_utf8_lossy(bytes).chars() {
        if c.is_control() || is_format(c) {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

/// Whether `c` changes the direction or the lines of the text around it.
const fn is_format(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The writing end of a stream.
#[derive(Clone)]
pub(super) struct Pipe {
    stream: Stream,
    buffer: Arc<Mutex<Buffer>>,
}

impl Pipe {
    pub(super) fn stdout(buffer: &Arc<Mutex<Buffer>>) -> Self {
        Self { stream: Stream::Stdout, buffer: Arc::clone(buffer) }
    }

    pub(super) fn stderr(buffer: &Arc<Mutex<Buffer>>) -> Self {
        Self { stream: Stream::Stderr, buffer: Arc::clone(buffer) }
    }
}

impl IsTerminal for Pipe {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Pipe {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for it, which no component can import.
        Box::new(tokio::io::sink())
    }
}

#[async_trait::async_trait]
impl Pollable for Pipe {
    async fn ready(&mut self) {}
}

impl OutputStream for Pipe {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        // Beyond the budget it is dropped without an error: printing must not change a result.
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner).write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_SIZE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(budget: usize, chunks: &[(Stream, &[u8])]) -> Printed {
        let mut buffer = Buffer::default();
        buffer.restart(budget);
        chunks.iter().for_each(|(stream, bytes)| buffer.write(*stream, bytes));
        buffer.take()
    }

    #[test]
    fn lines_are_kept_whole_and_cannot_forge_others() {
        use Stream::{Stderr, Stdout};
        let printed = printed(
            1000,
            &[(Stdout, b"one\ntw"), (Stderr, b"err\n"), (Stdout, b"o\n\x1b[31mred\r\xff")],
        );
        let expected = [
            (Stdout, "one".to_owned()),
            (Stderr, "err".to_owned()),
            (Stdout, "two".to_owned()),
            (Stdout, "\\u{1b}[31mred\\r\u{fffd}".to_owned()),
        ];
        assert_eq!(printed.lines(), expected);
    }

    #[test]
    fn what_the_host_says_is_not_the_components() {
        let mut buffer = Buffer::default();
        buffer.restart(100);
        buffer.write(Stream::Stderr, b"half a ");
        buffer.note("a socket: refused");
        buffer.write(Stream::Stderr, b"line\n");
        let printed = buffer.take();
        let host = (Stream::Host, "a socket: refused".to_owned());
        assert_eq!(printed.lines(), [host, (Stream::Stderr, "half a line".to_owned())]);
        assert_eq!(printed.last_words(), "half a line");
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let line = [b'x'; 999];
        let printed = printed(1500, &[(Stream::Stdout, &line), (Stream::Stderr, &line)]);
        assert_eq!(printed.dropped, 2 * 999 - 1500);
        assert_eq!(printed.chunks.iter().map(|(_, text)| text.len()).sum::<usize>(), 1500);
        let words = printed.last_words();
        assert!(words.len() <= MAX_QUOTE + 3 && words.ends_with('…'), "{words}");
    }

    #[test]
    fn the_last_words_are_those_on_stderr() {
        let said: &[(Stream, &[u8])] = &[
            (Stream::Stdout, b"hello\n"),
            (Stream::Stderr, b"\npanicked at x:\nboom\nnote: run with `RUST_BACKTRACE=1` to see\n"),
        ];
        assert_eq!(printed(100, said).last_words(), "panicked at x: | boom");
        assert_eq!(printed(100, &[]).last_words(), "");
    }
}
