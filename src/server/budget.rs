//! How many bytes of bodies lie in memory at once.
//!
//! Bytes are counted as they arrive, so whoever announces much and sends little holds little. The first part
//! of every body comes from a reserve of its own: large bodies that fill the rest leave small deliveries alone.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a body may take from the reserve.
const SMALL: usize = 256 * 1024;

/// The bytes that are left. Clones share them.
#[derive(Clone)]
pub(super) struct Budget {
    reserve: Arc<Semaphore>,
    rest: Arc<Semaphore>,
}

/// What one body holds; given back when it is dropped.
pub(super) struct Held {
    budget: Budget,
    from_reserve: Option<OwnedSemaphorePermit>,
    from_rest: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Budget {
    /// A budget of `bytes`, a quarter of it in reserve.
    pub(super) fn new(bytes: usize) -> Self {
        let reserve = bytes / 4;
        Self { reserve: Arc::new(Semaphore::new(reserve)), rest: Arc::new(Semaphore::new(bytes - reserve)) }
    }

    /// For a new body, which holds nothing yet.
    pub(super) fn hold(&self) -> Held {
        Held { budget: self.clone(), from_reserve: None, from_rest: None, bytes: 0 }
    }
}

impl Held {
    /// Takes `more` bytes; whether there were that many.
    pub(super) fn take(&mut self, more: usize) -> bool {
        let from_reserve = more.min(SMALL.saturating_sub(self.bytes));
        self.bytes += more;
        take(&self.budget.reserve, &mut self.from_reserve, from_reserve)
            && take(&self.budget.rest, &mut self.from_rest, more - from_reserve)
    }
}

fn take(from: &Arc<Semaphore>, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> bool {
    if bytes == 0 {
        return true;
    }
    let Some(taken) = u32::try_from(bytes).ok().and_then(|n| from.clone().try_acquire_many_owned(n).ok())
    else {
        return false;
    };
    match held {
        Some(held) => held.merge(taken),
        None => *held = Some(taken),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_fill_the_rest_and_leave_the_reserve_to_small_ones() {
        let budget = Budget::new(4 * 1024 * 1024);
        let mut large = budget.hold();
        assert!(large.take(100_000) && large.take(3_000_000));
        let mut other = budget.hold();
        assert!(other.take(SMALL), "its first part is from the reserve");
        assert!(!other.take(1_000_000));
        assert!(budget.hold().take(10_000));
        drop(large);
        assert!(budget.hold().take(3_000_000));
    }
}
