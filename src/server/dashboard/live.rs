//! The live log of deployments, over a WebSocket.
//!
//! ```text
//! → {"type": "subscribe-deployment", "deployment": ID, "from": 0}     → {"type": "unsubscribe-deployment", "deployment": ID}
//! ← {"type": "lines", "deployment", "lines": [{offset, step, stream, time, text}], "next"}
//! ← {"type": "state", "deployment", "state", "icon", "word", "ended"} · {"type": "behind", "deployment", "next"} · {"type": "error", "deployment", "detail", "hint"}
//! ```
//!
//! Each subscription reads the store from its own offset, so nothing is shown twice or left out, also over
//! several connections: whoever comes back asks from the offset that is next. Between the subscriptions of a
//! socket and the socket lies a short queue. A reader that is too slow for it is told `behind`, and keeps nothing
//! waiting but itself; one that takes nothing at all is let go. The door has checked host and origin.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::ws::{Message, WebSocket, Ws};
use warp::{Filter, Reply};

use super::{badge, deployment};
use crate::server::{Problem, ServerState};
use crate::store::{Change, Deployment, LogLine, Store, StoreError};

/// Sockets at once.
const SOCKETS: usize = 256;
/// Deployments that one socket follows at once.
const SUBSCRIPTIONS: usize = 8;
/// Messages that wait for a socket.
const QUEUE: usize = 4;
/// Bytes of a message to us.
const LARGEST: usize = 4096;
/// How long a socket may take for one message.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a silent socket is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);
/// The server goes away, as RFC 6455 section 7.4.1 numbers it.
const GOING_AWAY: u16 = 1001;
/// What was said is not understood.
const POLICY: u16 = 1008;

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Request {
    SubscribeDeployment {
        deployment: String,
        #[serde(default)]
        from: i64,
    },
    UnsubscribeDeployment {
        deployment: String,
    },
}

pub(super) fn routes(state: &ServerState) -> BoxedFilter<(Response,)> {
    let places = Arc::new(Semaphore::new(SOCKETS));
    let (store, stopping) = (state.store.clone(), state.stopping.clone());
    warp::path!("api" / "v1" / "deployments" / "logs" / "live")
        .and(warp::ws())
        .map(move |ws: Ws| {
            let Ok(place) = places.clone().try_acquire_owned() else {
                return Problem::unavailable("tooManySockets", "Too many live logs are open.", 10)
                    .into_response();
            };
            let socket = Socket { store: store.clone(), stopping: stopping.clone(), place };
            ws.max_message_size(LARGEST)
                .max_frame_size(LARGEST)
                .on_upgrade(move |ws| socket.run(ws))
                .into_response()
        })
        .boxed()
}

struct Socket {
    store: Store,
    stopping: CancellationToken,
    place: OwnedSemaphorePermit,
}

impl Socket {
    /// Serves a socket until it or the server ends.
    async fn run(self, ws: WebSocket) {
        let (mut out, mut incoming) = ws.split();
        let (queue, mut waiting) = mpsc::channel::<Value>(QUEUE);
        let mut followers = JoinSet::new();
        let mut followed: BTreeMap<String, AbortHandle> = BTreeMap::new();
        let mut ping = tokio::time::interval(PING);
        let mut answered = true;
        let farewell = loop {
            let message = tokio::select! {
                () = self.stopping.cancelled() => break Some((GOING_AWAY, "the server stops")),
                Some(value) = waiting.recv() => Message::text(value.to_string()),
                _ = ping.tick() => {
                    if !answered {
                        break None;
                    }
                    answered = false;
                    Message::ping(Vec::new())
                }
                Some(_) = followers.join_next() => continue,
                said = incoming.next() => {
                    answered = true;
                    match said {
                        Some(Ok(said)) if said.is_text() => {
                            let Some(request) = understood(&said) else {
                                break Some((POLICY, "the message is not understood"));
                            };
                            if let Some(error) = self.serve(request, &queue, &mut followers, &mut followed) {
                                Message::text(error.to_string())
                            } else {
                                continue;
                            }
                        }
                        Some(Ok(said)) if said.is_close() => break None,
                        Some(Ok(_)) => continue,
                        Some(Err(_)) | None => break None,
                    }
                }
            };
            if !matches!(tokio::time::timeout(PATIENCE, out.send(message)).await, Ok(Ok(()))) {
                break None;
            }
        };
        // dropping the set ends those that follow
        drop(followers);
        if let Some((code, reason)) = farewell {
            let close = async {
                let _ = out.send(Message::close_with(code, reason)).await;
                let _ = out.close().await;
            };
            // a peer that does not take it has gone already
            let _ = tokio::time::timeout(Duration::from_secs(1), close).await;
        }
        drop(self.place);
    }

    /// Does what was asked, or answers why not.
    fn serve(
        &self,
        request: Request,
        queue: &mpsc::Sender<Value>,
        followers: &mut JoinSet<()>,
        followed: &mut BTreeMap<String, AbortHandle>,
    ) -> Option<Value> {
        followed.retain(|_, follower| !follower.is_finished());
        match request {
            Request::UnsubscribeDeployment { deployment } => {
                if let Some(follower) = followed.remove(&deployment) {
                    follower.abort();
                }
                None
            }
            Request::SubscribeDeployment { deployment, from } => {
                if let Some(before) = followed.remove(&deployment) {
                    before.abort();
                }
                if followed.len() == SUBSCRIPTIONS {
                    let detail = format!("A socket follows {SUBSCRIPTIONS} deployments at most.");
                    return Some(error(
                        &deployment,
                        &detail,
                        "Unsubscribe from one, or open another socket.",
                    ));
                }
                let follower = Follower {
                    store: self.store.clone(),
                    queue: queue.clone(),
                    deployment: deployment.clone(),
                    from: from.max(0),
                };
                followed.insert(deployment, followers.spawn(follower.run()));
                None
            }
        }
    }
}

fn understood(said: &Message) -> Option<Request> {
    serde_json::from_str(said.to_str().ok()?).ok()
}

fn error(deployment: &str, detail: &str, hint: &str) -> Value {
    json!({"type": "error", "deployment": deployment, "detail": detail, "hint": hint})
}

/// One deployment on its way to one socket.
struct Follower {
    store: Store,
    queue: mpsc::Sender<Value>,
    deployment: String,
    from: i64,
}

impl Follower {
    async fn run(self) {
        if let Err(failed) = self.follow().await {
            tracing::warn!(error = &failed as &dyn std::error::Error, "A live log could not be read on.");
            let told = error(
                &self.deployment,
                "The store does not answer.",
                "Ask again from the offset that is next.",
            );
            // without a socket there is nobody to tell
            let _ = self.queue.send(told).await;
        }
    }

    /// Ends with the socket.
    async fn follow(&self) -> Result<(), StoreError> {
        let mut changes = self.store.changes();
        let Some(mut known) = self.store.deployment(&self.deployment).await? else {
            let told =
                error(&self.deployment, "There is no such deployment.", "Look at the list of deployments.");
            let _ = self.queue.send(told).await;
            return Ok(());
        };
        let mut tail = self.store.follow_log(&self.deployment, None, self.from);
        // what is there comes before the state, so that an end is told after the last line
        loop {
            let lines = tail.ready().await?;
            if lines.is_empty() {
                break;
            }
            self.lines(lines).await;
        }
        self.tell(state(&known)).await;
        while !self.queue.is_closed() {
            tokio::select! {
                lines = tail.next() => self.lines(lines?).await,
                changed = changes.recv() => match changed {
                    Ok(Change::Deployment { id, .. }) if id != self.deployment => {}
                    Ok(Change::Deployment { .. }) | Err(broadcast::error::RecvError::Lagged(_)) => {
                        let Some(now) = self.store.deployment(&self.deployment).await? else { return Ok(()) };
                        if now.state != known.state || now.ended != known.ended {
                            let lines = tail.ready().await?;
                            self.lines(lines).await;
                            self.tell(state(&now)).await;
                        }
                        known = now;
                    }
                    Ok(_) => {}
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                },
            }
        }
        Ok(())
    }

    async fn lines(&self, lines: Vec<LogLine>) {
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return };
        if self.queue.capacity() == 0 {
            self.tell(json!({"type": "behind", "deployment": self.deployment, "next": first.offset})).await;
        }
        let next = last.offset + 1;
        let lines: Vec<Value> = lines.iter().map(deployment::line).collect();
        self.tell(json!({"type": "lines", "deployment": self.deployment, "lines": lines, "next": next}))
            .await;
    }

    /// Waits until the queue has room. Without a socket there is nobody to tell.
    async fn tell(&self, value: Value) {
        let _ = self.queue.send(value).await;
    }
}

fn state(row: &Deployment) -> Value {
    let mut value = json!(badge::of_deployment(&row.state, None));
    value["type"] = "state".into();
    value["deployment"] = row.id.as_str().into();
    value["state"] = row.state.as_str().into();
    value["ended"] = row.ended.is_some().into();
    value
}
