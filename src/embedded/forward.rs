//! The addresses of Services: a port of this machine for each, behind which its ready pods take turns.
//!
//! Processes find each other by these, since cluster addresses are routed by nobody and names under `.localhost`
//! do not resolve in most languages. Which port belongs to which Service is not decided here: the caller keeps it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Service;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backends::{Backends, PortName, find};
use super::cache::{Cache, Key};
use super::queue::Queue;
use crate::clock::Clock;
use crate::hash::Hasher;

/// How long one pod may take to accept a connection before the next is tried.
const CONNECT: Duration = Duration::from_secs(2);

/// Where a port of a Service is listened for, allotted once and kept by the caller; none when it has no address.
pub type Addresses = Arc<dyn Fn(Key, u16) -> BoxFuture<'static, Option<SocketAddr>> + Send + Sync>;

/// Ports for the addresses of Services, below those that systems give to outgoing connections and beside those of
/// pods.
const RANGE: std::ops::Range<u16> = 28_000..30_000;

/// A port for a new address: the same for the same Service wherever it is free, so that even a lost store brings
/// most of them back. `taken` says which are somebody else's; none when all are.
///
/// # Panics
/// Never: a hash is hexadecimal.
#[must_use]
pub fn choose(service: &Key, port: u16, taken: impl Fn(u16) -> bool) -> Option<u16> {
    let hash = Hasher::new("service-address").text(&service.to_string()).text(&port.to_string()).finish();
    let count = RANGE.end - RANGE.start;
    let first = u16::from_str_radix(&hash.short()[..4], 16).expect("a hash is hexadecimal") % count;
    (0..count).map(|step| RANGE.start + (first + step) % count).find(|port| !taken(*port))
}

/// Listens on the addresses of all Services; ends with `stop`.
///
/// It is called before [`Cache::start`], so that no change is missed.
pub fn start(
    cache: &Arc<Cache>,
    addresses: Addresses,
    clock: &Clock,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let queue = Arc::new(Queue::new(clock.clone()));
    let due = queue.clone();
    cache.of::<Service>().on_change(move |old, new| {
        if let Some(service) = new.or(old) {
            due.add(Key::of(service));
        }
    });
    let forwarder = Forwarder {
        cache: cache.clone(),
        addresses,
        queue,
        tasks: tasks.clone(),
        stop: stop.clone(),
        open: BTreeMap::new(),
    };
    tasks.spawn(forwarder.run());
}

struct Forwarder {
    cache: Arc<Cache>,
    addresses: Addresses,
    queue: Arc<Queue<Key>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// What is listened for, by Service and port.
    open: BTreeMap<(Key, u16), CancellationToken>,
}

impl Forwarder {
    async fn run(mut self) {
        let stop = self.stop.clone();
        while let Some(key) = stop.run_until_cancelled(self.queue.next()).await {
            let done = self.look(&key).await;
            self.queue.done(&key, done);
        }
    }

    /// Opens what is missing for a Service and closes what it no longer has; false when an address is taken.
    async fn look(&mut self, key: &Key) -> bool {
        let service = self.cache.of::<Service>().get(key);
        let ports =
            service.as_ref().and_then(|service| service.spec.as_ref()?.ports.clone()).unwrap_or_default();
        let tcp = ports.iter().filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP");
        let wanted: Vec<u16> = tcp.filter_map(|port| u16::try_from(port.port).ok()).collect();
        self.open.retain(|(of, port), closed| {
            let stays = of != key || wanted.contains(port);
            if !stays {
                closed.cancel();
            }
            stays
        });
        let mut all = true;
        for port in wanted {
            if self.open.contains_key(&(key.clone(), port)) {
                continue;
            }
            let Some(address) = (self.addresses)(key.clone(), port).await else { continue };
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    let closed = self.stop.child_token();
                    self.open.insert((key.clone(), port), closed.clone());
                    let gate =
                        Gate { cache: self.cache.clone(), key: key.clone(), port, turn: AtomicUsize::new(0) };
                    self.tasks.spawn(gate.listen(listener, self.tasks.clone(), closed));
                }
                Err(error) => {
                    tracing::warn!(service = %key, address = %address, error = %error, "The address of a Service is taken by another program; it is tried again.");
                    all = false;
                }
            }
        }
        all
    }
}

/// One port of one Service.
struct Gate {
    cache: Arc<Cache>,
    key: Key,
    port: u16,
    turn: AtomicUsize,
}

impl Gate {
    async fn listen(self, listener: TcpListener, tasks: TaskTracker, closed: CancellationToken) {
        let gate = Arc::new(self);
        while let Some(accepted) = closed.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((client, _)) => {
                    let pass = gate.clone().pass(client);
                    tasks.spawn(closed.clone().run_until_cancelled_owned(pass));
                }
                Err(error) => {
                    // too many open files: those that close make room
                    tracing::warn!(service = %gate.key, error = %error, "A connection could not be accepted.");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn pass(self: Arc<Self>, mut client: TcpStream) {
        let Some(mut pod) = self.connect().await else { return };
        // small writes are not held back: it is the same machine
        let _ = (client.set_nodelay(true), pod.set_nodelay(true));
        // either side may break off at any time
        let _ = tokio::io::copy_bidirectional(&mut client, &mut pod).await;
    }

    /// Connects to the pod whose turn it is, or to the next that accepts.
    async fn connect(&self) -> Option<TcpStream> {
        let Backends::Some(pods) = find(&self.cache, &self.key, &PortName::Number(i32::from(self.port)))
        else {
            return None;
        };
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        for step in 0..pods.len() {
            let address = pods[turn.wrapping_add(step) % pods.len()];
            if let Ok(Ok(pod)) = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
                return Some(pod);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_given_the_same_port_again_unless_it_is_taken() {
        let key = Key::new("shop", "api");
        let first = choose(&key, 80, |_| false).unwrap();
        assert_eq!(choose(&key, 80, |_| false), Some(first));
        let second = choose(&key, 80, |port| port == first).unwrap();
        assert!(second != first && RANGE.contains(&first) && RANGE.contains(&second));
        assert_eq!(choose(&key, 80, |_| true), None);
    }
}
