//! Time as a value that is passed in, so that a test can hold it still.
//!
//! Whoever needs the time or has to wait takes a [`Clock`]. Production uses [`Clock::system`]; a test uses
//! [`Clock::test`] and moves it with [`Clock::advance`].

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

/// A source of time. Cheap to clone; clones of a test clock share its time.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Test(Arc<watch::Sender<Timestamp>>),
}

impl Clock {
    /// The clock of this machine.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `start` until it is advanced.
    #[must_use]
    pub fn test(start: Timestamp) -> Self {
        Self(Source::Test(Arc::new(watch::Sender::new(start))))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Test(time) => *time.borrow(),
        }
    }

    /// Waits for `duration` to pass on this clock.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            Source::System => tokio::time::sleep(duration).await,
            Source::Test(time) => {
                let mut time = time.subscribe();
                let until = *time.borrow() + duration;
                // the sender lives in `self`, so waiting cannot fail
                let _ = time.wait_for(|now| *now >= until).await;
            }
        }
    }

    /// Moves a test clock forward and wakes whoever waits. It does nothing to the system's clock.
    pub fn advance(&self, duration: Duration) {
        if let Source::Test(time) = &self.0 {
            time.send_modify(|now| *now += duration);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_test_clock_wakes_a_sleeper_when_its_time_has_come() {
        let clock = Clock::test(Timestamp::UNIX_EPOCH);
        let sleeper = {
            let clock = clock.clone();
            async move {
                clock.sleep(Duration::from_secs(5)).await;
                clock.now()
            }
        };
        let mover = async {
            for _ in 0..5 {
                tokio::task::yield_now().await;
                clock.advance(Duration::from_secs(1));
            }
        };
        let (woken, ()) = tokio::join!(sleeper, mover);
        assert_eq!(woken, Timestamp::UNIX_EPOCH + Duration::from_secs(5));
    }
}
