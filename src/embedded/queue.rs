//! The work that is due, one entry per key.
//!
//! A key that is added twice is worked on once; a key that is added while it is worked on is worked on again
//! afterwards, never twice at a time. A key that failed comes back later and later.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::clock::Clock;

const FIRST_RETRY: Duration = Duration::from_millis(10);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

pub(crate) struct Queue<T> {
    clock: Clock,
    state: Mutex<State<T>>,
    wake: Notify,
}

struct State<T> {
    ready: VecDeque<T>,
    queued: HashSet<T>,
    running: HashSet<T>,
    timers: BTreeMap<Timestamp, BTreeSet<T>>,
    failures: HashMap<T, u32>,
}

impl<T: Clone + Ord + Hash> Queue<T> {
    pub(crate) fn new(clock: Clock) -> Self {
        let state = State {
            ready: VecDeque::new(),
            queued: HashSet::new(),
            running: HashSet::new(),
            timers: BTreeMap::new(),
            failures: HashMap::new(),
        };
        Self { clock, state: Mutex::new(state), wake: Notify::new() }
    }

    /// Marks `key` as due now.
    pub(crate) fn add(&self, key: T) {
        self.lock().add(key);
        self.wake.notify_one();
    }

    /// Marks `key` as due after `delay`.
    pub(crate) fn add_after(&self, key: T, delay: Duration) {
        let due = self.clock.now() + delay;
        self.lock().timers.entry(due).or_default().insert(key);
        self.wake.notify_one();
    }

    /// Waits for the next key that is due. Each key that is taken is given back with [`Queue::done`].
    pub(crate) async fn next(&self) -> T {
        loop {
            let (taken, pause) = self.take();
            if let Some(key) = taken {
                // another worker may be asleep while more is ready
                self.wake.notify_one();
                return key;
            }
            match pause {
                Some(pause) => tokio::select! {
                    () = self.clock.sleep(pause) => {}
                    () = self.wake.notified() => {}
                },
                None => self.wake.notified().await,
            }
        }
    }

    /// Gives a key back; one that failed is due again, each time later.
    pub(crate) fn done(&self, key: &T, succeeded: bool) {
        let mut state = self.lock();
        state.running.remove(key);
        if state.queued.contains(key) {
            state.ready.push_back(key.clone());
        }
        if succeeded {
            state.failures.remove(key);
        } else {
            let failures = state.failures.entry(key.clone()).or_insert(0);
            let delay = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(*failures)).min(LONGEST_RETRY);
            *failures += 1;
            let due = self.clock.now() + delay;
            state.timers.entry(due).or_default().insert(key.clone());
        }
        drop(state);
        self.wake.notify_one();
    }

    /// A key that is ready, or how long until a timer makes one so.
    fn take(&self) -> (Option<T>, Option<Duration>) {
        let now = self.clock.now();
        let mut state = self.lock();
        while let Some(entry) = state.timers.first_entry()
            && *entry.key() <= now
        {
            for key in entry.remove() {
                state.add(key);
            }
        }
        if let Some(key) = state.ready.pop_front() {
            state.queued.remove(&key);
            state.running.insert(key.clone());
            return (Some(key), None);
        }
        let pause = state.timers.keys().next().map(|due| due.duration_since(now).unsigned_abs());
        (None, pause)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone + Ord + Hash> State<T> {
    fn add(&mut self, key: T) {
        if self.queued.insert(key.clone()) && !self.running.contains(&key) {
            self.ready.push_back(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_never_worked_on_twice_at_a_time() {
        let queue = Queue::new(Clock::test(Timestamp::UNIX_EPOCH));
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().await, "a");
        queue.add("a");
        assert_eq!(queue.take().0, None, "it is being worked on");
        queue.done(&"a", true);
        assert_eq!(queue.next().await, "a", "what came meanwhile is not lost");
        queue.done(&"a", true);
        assert_eq!(queue.take(), (None, None));
    }

    #[tokio::test]
    async fn a_key_that_fails_comes_back_later_and_later() {
        let clock = Clock::test(Timestamp::UNIX_EPOCH);
        let queue = Queue::new(clock.clone());
        queue.add("a");
        let mut delays = Vec::new();
        for _ in 0..3 {
            let key = queue.next().await;
            queue.done(&key, false);
            let delay = queue.take().1.unwrap();
            delays.push(delay.as_millis());
            clock.advance(delay);
        }
        assert_eq!(delays, [10, 20, 40]);
    }
}
