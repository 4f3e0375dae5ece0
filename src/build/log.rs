//! The log of a build: bytes of a pipe → redacted lines, capped, with the last ones kept at hand.

use std::collections::VecDeque;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::time::{Duration, timeout};

use crate::secret::{RedactedStream, Redactor};

/// A longer line is cut into several.
const LONGEST_LINE: usize = 16 << 10;
/// Lines that an error carries.
const TAIL: usize = 20;
/// How long a line without an end is held back before it is shown.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The builder itself.
    Builder,
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// A line of a build's log, redacted, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Where it came from.
    pub stream: Stream,
    /// The text, with bytes that are not UTF-8 replaced.
    pub text: String,
}

/// What both pipes of a command share: the cap, the count and the last lines.
pub(super) struct Log {
    sender: mpsc::Sender<LogLine>,
    kept: u64,
    cap: u64,
    capped: bool,
    tail: VecDeque<String>,
}

impl Log {
    pub(super) fn new(sender: mpsc::Sender<LogLine>, cap: u64) -> Self {
        Self { sender, kept: 0, cap, capped: false, tail: VecDeque::new() }
    }

    /// Puts a line into the log; what is over the cap is dropped, after one line that says so.
    pub(super) async fn line(&mut self, stream: Stream, text: String) {
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(text.clone());
        self.kept += text.len() as u64 + 1;
        if self.kept > self.cap {
            if !self.capped {
                self.capped = true;
                let text = format!("… the log is cut here: only its first {} bytes are kept", self.cap);
                self.send(LogLine { stream: Stream::Builder, text }).await;
            }
            return;
        }
        self.send(LogLine { stream, text }).await;
    }

    async fn send(&self, line: LogLine) {
        // nobody reads any more: the build goes on without a log
        let _ = self.sender.send(line).await;
    }

    /// The last lines, also those over the cap.
    pub(super) fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }
}

/// Reads a pipe to its end. `count` is given the size of each piece and says whether to go on.
pub(super) async fn read(
    mut pipe: impl AsyncRead + Unpin,
    stream: Stream,
    redactor: &Redactor,
    log: &tokio::sync::Mutex<Log>,
    count: impl Fn(u64) -> bool,
) {
    let mut lines = Lines::new(redactor);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = match timeout(PATIENCE, pipe.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(length)) => length,
            Err(_) => {
                // silent for long enough: what is held back is no half of a secret
                for line in lines.release() {
                    log.lock().await.line(stream, line).await;
                }
                continue;
            }
        };
        if !count(length as u64) {
            break;
        }
        for line in lines.push(&buffer[..length]) {
            log.lock().await.line(stream, line).await;
        }
    }
    for line in lines.release().into_iter().chain(lines.rest()) {
        log.lock().await.line(stream, line).await;
    }
}

/// Makes redacted lines of bytes that are cut anywhere.
struct Lines {
    redactor: Redactor,
    /// The first bytes of a character whose others have not come yet.
    bytes: Vec<u8>,
    redacted: RedactedStream,
    /// The line that has not ended yet.
    line: String,
}

impl Lines {
    fn new(redactor: &Redactor) -> Self {
        let redacted = redactor.stream();
        Self { redactor: redactor.clone(), bytes: Vec::new(), redacted, line: String::new() }
    }

    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        self.bytes.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.bytes) {
            // a character that is cut at the end waits for its rest; anything else is replaced
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.bytes.len(),
        };
        let rest = self.bytes.split_off(whole);
        let text = String::from_utf8_lossy(&std::mem::replace(&mut self.bytes, rest)).into_owned();
        let shown = self.redacted.push(&text);
        self.cut(&shown)
    }

    /// The whole lines among what is held back for the redactor.
    fn release(&mut self) -> Vec<String> {
        let held = std::mem::replace(&mut self.redacted, self.redactor.stream()).finish();
        self.cut(&held)
    }

    /// The last line, if it has no end.
    fn rest(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        (!line.is_empty()).then(|| clean(line))
    }

    fn cut(&mut self, text: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in text.split_inclusive('\n') {
            self.line.push_str(piece);
            if self.line.ends_with('\n') {
                lines.push(clean(std::mem::take(&mut self.line)));
            }
            while self.line.len() > LONGEST_LINE {
                let cut = self.line.floor_char_boundary(LONGEST_LINE);
                let rest = self.line.split_off(cut);
                lines.push(clean(std::mem::replace(&mut self.line, rest)));
            }
        }
        lines
    }
}

fn clean(mut line: String) -> String {
    line.truncate(line.trim_end_matches(['\n', '\r']).len());
    if line.contains('\0') { line.replace('\0', "\u{fffd}") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(redactor: &Redactor, pieces: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::new(redactor);
        let mut all: Vec<String> = pieces.iter().flat_map(|piece| lines.push(piece)).collect();
        all.extend(lines.release());
        all.extend(lines.rest());
        all
    }

    #[test]
    fn lines_are_whole_wherever_the_bytes_are_cut() {
        let pieces: [&[u8]; 5] = [b"one\ntw", b"o\r\n\xc3", b"\xa4\n", b"bad \xff byte\n", b"no end\0"];
        assert_eq!(
            lines(&Redactor::new(), &pieces),
            ["one", "two", "ä", "bad \u{fffd} byte", "no end\u{fffd}"]
        );
    }

    #[test]
    fn b4_a_secret_is_hidden_across_the_border_of_two_pieces() {
        let redactor = Redactor::new();
        redactor.add("hunter2hunter2");
        let all = lines(&redactor, &[b"token=hunter2", b"hunter2 is it\n", b"next\n"]);
        assert_eq!(all, ["token=[redacted] is it", "next"]);
    }

    #[test]
    fn b5_a_line_without_an_end_is_cut_into_pieces() {
        let long = vec![b'x'; 100_000];
        let all = lines(&Redactor::new(), &[&long]);
        assert!(all.iter().all(|line| line.len() <= LONGEST_LINE));
        assert_eq!(all.concat().len(), 100_000);
    }

    #[tokio::test]
    async fn b5_what_is_over_the_cap_is_dropped_with_a_line_that_says_so() {
        let (sender, mut receiver) = mpsc::channel(100);
        let mut log = Log::new(sender, 25);
        for n in 0..50 {
            log.line(Stream::Output, format!("line {n:04}")).await;
        }
        let tail = log.tail();
        drop(log);
        let mut seen = Vec::new();
        while let Some(line) = receiver.recv().await {
            seen.push(line.text);
        }
        assert_eq!(
            seen,
            ["line 0000", "line 0001", "… the log is cut here: only its first 25 bytes are kept"]
        );
        assert_eq!((tail.len(), tail[TAIL - 1].as_str()), (TAIL, "line 0049"));
    }
}
