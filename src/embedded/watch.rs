//! Watches: a stream of changes from a revision on, filtered, until the client, the clock or a full queue ends it.

use super::api::answer::Form;
use super::kinds::Kind;
use super::select::Selector;
use super::status::Refusal;
use super::storage::{Change, Stored, Subscription};
use super::table;
use crate::clock::Clock;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::Stream;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// How often a quiet watch that asked for bookmarks is told the current revision.
const BOOKMARK_EVERY: Duration = Duration::from_mins(1);

/// What a watch is to show and for how long.
pub(crate) struct Watch {
    pub(crate) kind: &'static Kind,
    pub(crate) namespace: Option<String>,
    pub(crate) selector: Selector,
    pub(crate) form: Form,
    pub(crate) bookmarks: bool,
    pub(crate) timeout: Duration,
    pub(crate) clock: Clock,
}

struct State {
    watch: Watch,
    subscription: Subscription,
    ready: VecDeque<Bytes>,
    ended: bool,
    first: bool,
    /// The last revision told.
    revision: u64,
    deadline: tokio::time::Instant,
}

impl Watch {
    /// The lines of the watch: what is there (`initial`), what was missed, what comes.
    ///
    /// `announce_end` puts a bookmark after what is there, as clients that asked for `sendInitialEvents` expect.
    pub(crate) fn stream(
        self,
        initial: &[Arc<Stored>],
        subscription: Subscription,
        announce_end: bool,
    ) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
        let deadline = tokio::time::Instant::now() + self.timeout;
        let revision = subscription.revision;
        let mut state = State {
            watch: self,
            subscription,
            ready: VecDeque::new(),
            ended: false,
            first: true,
            revision,
            deadline,
        };
        for stored in initial {
            if state.watch.picks(&stored.value) {
                state.push("ADDED", stored);
            }
        }
        if announce_end {
            state.bookmark(true);
        }
        for change in std::mem::take(&mut state.subscription.missed) {
            state.tell(&change);
        }
        futures::stream::unfold(state, |mut state| async move {
            let line = state.next().await?;
            Some((Ok(line), state))
        })
    }

    fn picks(&self, object: &Value) -> bool {
        let here = self.namespace.as_deref();
        here.is_none_or(|namespace| object["metadata"]["namespace"] == namespace)
            && (self.selector.is_everything() || self.selector.matches(object))
    }
}

impl State {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.ended {
                return None;
            }
            let wake = if self.watch.bookmarks {
                self.deadline.min(tokio::time::Instant::now() + BOOKMARK_EVERY)
            } else {
                self.deadline
            };
            match tokio::time::timeout_at(wake, self.subscription.changes.recv()).await {
                Ok(Ok(change)) => self.tell(&change),
                Ok(Err(RecvError::Lagged(_))) => {
                    let gone = Refusal::gone("the watcher is too slow: it missed changes; list again");
                    self.ready.push_back(line("ERROR", gone.to_json().to_string().as_bytes()));
                    self.ended = true;
                }
                Ok(Err(RecvError::Closed)) => return None,
                Err(_) if wake >= self.deadline => {
                    self.ended = true;
                    if self.watch.bookmarks {
                        self.bookmark(false);
                    }
                }
                Err(_) => self.bookmark(false),
            }
        }
    }

    /// Shows a change to a watcher that sees only what its selector picks.
    fn tell(&mut self, change: &Change) {
        self.revision = self.revision.max(change.revision);
        let before = change.before.as_ref().is_some_and(|before| self.watch.picks(&before.value));
        let after = !change.deleted && self.watch.picks(&change.after.value);
        match (before, after) {
            (false, true) => self.push("ADDED", &change.after),
            (true, true) => self.push("MODIFIED", &change.after),
            (true, false) => self.push("DELETED", &change.after),
            (false, false) => {}
        }
    }

    fn push(&mut self, kind: &str, stored: &Stored) {
        let line = match self.watch.form {
            Form::Full | Form::Discovery => line(kind, &stored.json()),
            Form::Metadata | Form::MetadataList => {
                line(kind, super::api::partial(&stored.value, true).to_string().as_bytes())
            }
            Form::Table => {
                let metadata = json!({"resourceVersion": stored.value["metadata"]["resourceVersion"]});
                let now = self.watch.clock.now();
                let table = table::of(self.watch.kind, &[&stored.value], &metadata, now, self.first);
                self.first = false;
                line(kind, table.to_string().as_bytes())
            }
        };
        self.ready.push_back(line);
    }

    fn bookmark(&mut self, end_of_initial: bool) {
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        if end_of_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let kind = self.watch.kind;
        let object = match self.watch.form {
            Form::Full | Form::Discovery => {
                json!({"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata})
            }
            Form::Metadata | Form::MetadataList => json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            }),
            Form::Table => json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                "columnDefinitions": [], "rows": [],
            }),
        };
        self.ready.push_back(line("BOOKMARK", object.to_string().as_bytes()));
    }
}

/// One event as it stands in the stream.
pub(crate) fn line(kind: &str, object: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(object.len() + 40);
    line.put_slice(format!("{{\"type\":\"{kind}\",\"object\":").as_bytes());
    line.put_slice(object);
    line.put_slice(b"}\n");
    line.freeze()
}
