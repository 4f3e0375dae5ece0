//! What containers print, held in memory within bounds: the current run of each container and the one before.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;

use super::super::{LogError, LogRequest, PodLogs};
use crate::clock::Clock;

/// The most that is kept of one run of a container.
const LIMIT: usize = 1 << 20;
/// A longer line is cut into pieces of this size, as container runtimes do.
const LINE_LIMIT: usize = 16 << 10;
/// What a line costs beyond its bytes.
const LINE_COST: usize = 32;

/// The logs of all containers of this node. Clones share them.
#[derive(Debug, Clone)]
pub struct Logs {
    clock: Clock,
    runs: Arc<Mutex<BTreeMap<LogKey, Runs>>>,
}

type LogKey = (String, String, String);

#[derive(Debug, Default)]
struct Runs {
    /// The pod, by UID: another one of the same name starts with an empty log.
    pod: String,
    current: Arc<Log>,
    previous: Option<Arc<Log>>,
}

impl Logs {
    /// Logs of a node that reads the time from `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, runs: Arc::default() }
    }

    /// Begins the log of a new run of a container; `uid` is the pod's.
    #[must_use]
    pub fn begin(&self, namespace: &str, pod: &str, uid: &str, container: &str) -> Arc<Log> {
        let log = Arc::new(Log::default());
        let key = (namespace.to_owned(), pod.to_owned(), container.to_owned());
        let mut all = self.lock();
        let before = all.remove(&key).filter(|runs| runs.pod == uid).map(|runs| runs.current);
        all.insert(key, Runs { pod: uid.to_owned(), current: log.clone(), previous: before });
        log
    }

    /// Forgets the logs of a pod that is gone.
    pub(crate) fn forget(&self, namespace: &str, pod: &str, uid: &str) {
        self.lock().retain(|key, runs| !(key.0 == namespace && key.1 == pod && runs.pod == uid));
    }

    /// Reads the log of a container as a stream of whole lines.
    ///
    /// # Errors
    /// When the container has not run, or not twice where the previous run is asked for.
    pub fn read(&self, request: &LogRequest) -> Result<BoxStream<'static, Bytes>, LogError> {
        let key = (request.namespace.clone(), request.pod.clone(), request.container.clone());
        let (container, pod) = (request.container.clone(), request.pod.clone());
        let all = self.lock();
        let Some(runs) = all.get(&key).filter(|runs| request.uid.is_empty() || runs.pod == request.uid)
        else {
            return Err(LogError::NotStarted { container, pod, reason: "ContainerCreating".to_owned() });
        };
        let log = if request.previous {
            runs.previous.clone().ok_or(LogError::NoPrevious { container, pod })?
        } else {
            runs.current.clone()
        };
        let recent = request.since_seconds.map(|seconds| self.clock.now() - Duration::from_secs(seconds));
        Ok(log.read(request, request.since_time.max(recent)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LogKey, Runs>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one run of a container printed.
#[derive(Debug, Default)]
pub struct Log {
    ring: Mutex<Ring>,
    /// Changes whenever there is more to read.
    news: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
    /// The number of the first line that is still held.
    first: u64,
    closed: bool,
}

#[derive(Debug, Clone)]
struct Line {
    time: Timestamp,
    /// With its line break, unless it was cut.
    text: Bytes,
}

impl Log {
    /// Adds a line; the oldest ones go when there is no room.
    pub(crate) fn push(&self, time: Timestamp, text: Bytes) {
        let mut ring = self.lock();
        ring.bytes += text.len() + LINE_COST;
        ring.lines.push_back(Line { time, text });
        while ring.bytes > LIMIT
            && let Some(oldest) = ring.lines.pop_front()
        {
            ring.bytes -= oldest.text.len() + LINE_COST;
            ring.first += 1;
        }
        drop(ring);
        self.news.send_modify(|count| *count += 1);
    }

    /// Ends the log: readers that follow come to an end.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.news.send_modify(|count| *count += 1);
    }

    /// Takes in all that a process prints, line by line, until it closes its end.
    pub(crate) async fn drain(&self, mut output: impl AsyncRead + Unpin, now: impl Fn() -> Timestamp) {
        let mut held = BytesMut::with_capacity(LINE_LIMIT);
        loop {
            while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
                self.push(now(), held.split_to(end + 1).freeze());
            }
            if held.len() >= LINE_LIMIT {
                let mut piece = held.split_to(LINE_LIMIT);
                piece.put_u8(b'\n');
                self.push(now(), piece.freeze());
                continue;
            }
            held.reserve(LINE_LIMIT - held.len());
            match output.read_buf(&mut held).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        if !held.is_empty() {
            self.push(now(), held.freeze());
        }
    }

    /// The last lines, for the status of a container that failed: at most 80 lines and 2 KiB.
    pub(crate) fn last_words(&self) -> String {
        let ring = self.lock();
        let tail: Vec<u8> = ring
            .lines
            .iter()
            .skip(ring.lines.len().saturating_sub(80))
            .flat_map(|line| line.text.to_vec())
            .collect();
        let cut = tail.len().saturating_sub(2048);
        String::from_utf8_lossy(&tail[cut..]).into_owned()
    }

    fn read(self: Arc<Self>, request: &LogRequest, since: Option<Timestamp>) -> BoxStream<'static, Bytes> {
        let reader = Reader {
            next: self.start(request, since),
            news: self.news.subscribe(),
            log: self,
            follow: request.follow,
            timestamps: request.timestamps,
        };
        let lines =
            stream::unfold(
                reader,
                |mut reader| async move { reader.chunk().await.map(|chunk| (chunk, reader)) },
            );
        match request.limit_bytes.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)) {
            None => lines.boxed(),
            Some(limit) => {
                let cut = lines.scan(limit, |rest, mut chunk: Bytes| {
                    chunk.truncate(*rest);
                    *rest -= chunk.len();
                    std::future::ready((!chunk.is_empty()).then_some(chunk))
                });
                cut.boxed()
            }
        }
    }

    /// The number of the first line that the request shows.
    fn start(&self, request: &LogRequest, since: Option<Timestamp>) -> u64 {
        let ring = self.lock();
        let tail = request.tail_lines.map(|tail| usize::try_from(tail).unwrap_or(usize::MAX));
        let skipped = tail.map_or(0, |tail| ring.lines.len().saturating_sub(tail));
        let older = since.map_or(0, |since| ring.lines.partition_point(|line| line.time < since));
        ring.first + u64::try_from(skipped.max(older)).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader of a log.
struct Reader {
    log: Arc<Log>,
    news: watch::Receiver<u64>,
    next: u64,
    follow: bool,
    timestamps: bool,
}

impl Reader {
    /// All lines from `next` on, waiting for the first where the reader follows.
    async fn chunk(&mut self) -> Option<Bytes> {
        loop {
            self.news.mark_unchanged();
            let (chunk, closed) = self.take();
            if !chunk.is_empty() {
                return Some(chunk);
            }
            if closed || !self.follow || self.news.changed().await.is_err() {
                return None;
            }
        }
    }

    fn take(&mut self) -> (Bytes, bool) {
        let ring = self.log.lock();
        let skip = usize::try_from(self.next.saturating_sub(ring.first)).unwrap_or(usize::MAX);
        let mut chunk = BytesMut::new();
        for line in ring.lines.iter().skip(skip) {
            if self.timestamps {
                chunk.put_slice(format!("{:.9} ", line.time).as_bytes());
            }
            chunk.put_slice(&line.text);
        }
        self.next = ring.first + u64::try_from(ring.lines.len()).unwrap_or(u64::MAX);
        (chunk.freeze(), ring.closed)
    }
}

impl PodLogs for Logs {
    fn open(
        &self,
        request: LogRequest,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Bytes, io::Error>>, LogError>> {
        async move { Ok(self.read(&request)?.map(Ok).boxed()) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    async fn text(stream: BoxStream<'static, Bytes>) -> String {
        let chunks: Vec<Bytes> = stream.collect().await;
        String::from_utf8(chunks.concat()).unwrap()
    }

    fn request() -> LogRequest {
        LogRequest {
            namespace: "shop".to_owned(),
            pod: "web-1".to_owned(),
            uid: "uid".to_owned(),
            container: "web".to_owned(),
            follow: false,
            previous: false,
            timestamps: false,
            tail_lines: None,
            since_seconds: None,
            since_time: None,
            limit_bytes: None,
        }
    }

    #[tokio::test]
    async fn a_reader_sees_the_tail_the_times_and_the_run_before() {
        let logs = Logs::new(Clock::test(at(100)));
        let first = logs.begin("shop", "web-1", "uid", "web");
        first.drain(&b"one\ntwo\nlast words"[..], || at(1)).await;
        first.close();
        let second = logs.begin("shop", "web-1", "uid", "web");
        second.push(at(2), Bytes::from_static(b"hello\n"));
        let read = async |request| text(logs.read(&request).unwrap()).await;
        let previous = LogRequest { previous: true, ..request() };
        assert_eq!(read(previous.clone()).await, "one\ntwo\nlast words");
        assert_eq!(read(LogRequest { tail_lines: Some(1), ..previous.clone() }).await, "last words");
        assert_eq!(read(LogRequest { limit_bytes: Some(5), ..previous.clone() }).await, "one\nt");
        let timed = LogRequest { timestamps: true, ..request() };
        assert_eq!(read(timed).await, "1970-01-01T00:00:02.000000000Z hello\n");
        assert_eq!(read(LogRequest { since_time: Some(at(2)), ..previous }).await, "");
        assert_eq!(read(LogRequest { since_seconds: Some(98), ..request() }).await, "hello\n");
        assert_eq!(read(LogRequest { since_seconds: Some(97), ..request() }).await, "");
    }

    #[tokio::test]
    async fn a_follower_sees_what_comes_until_the_container_ends() {
        let logs = Logs::new(Clock::system());
        let log = logs.begin("shop", "web-1", "uid", "web");
        log.push(at(1), Bytes::from_static(b"one\n"));
        let mut stream = logs.read(&LogRequest { follow: true, ..request() }).unwrap();
        assert_eq!(stream.next().await.unwrap(), "one\n");
        log.push(at(2), Bytes::from_static(b"two\n"));
        assert_eq!(stream.next().await.unwrap(), "two\n");
        log.close();
        assert_eq!(stream.next().await, None);
    }

    #[tokio::test]
    async fn a_flood_is_bounded_and_a_long_line_is_cut() {
        let log = Arc::new(Log::default());
        log.drain(&vec![b'x'; 3 * LINE_LIMIT][..], || at(1)).await;
        assert_eq!(log.lock().lines.len(), 3);
        for _ in 0..20 {
            log.drain(&vec![b'\n'; LIMIT / 10][..], || at(1)).await;
        }
        let ring = log.lock();
        assert!(ring.bytes <= LIMIT && ring.first > 0);
    }

    #[test]
    fn a_container_that_never_ran_has_no_log() {
        let logs = Logs::new(Clock::system());
        let error = logs.read(&request()).err().unwrap();
        insta::assert_snapshot!(error, @r#"container "web" in pod "web-1" is waiting to start: ContainerCreating"#);
    }
}
