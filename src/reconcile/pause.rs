//! Pauses between tries that fail through no fault of the input: what cannot be put back now, or a cluster that does not
//! answer. Each failure doubles the pause; a good end, another input or a person ends it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;

use super::rollout::Key;
use crate::hash::ContentHash;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// The services that failed of late, and when each may be tried again.
#[derive(Default)]
pub(super) struct Pauses(Mutex<BTreeMap<Key, Pause>>);

struct Pause {
    digest: Option<ContentHash>,
    length: Duration,
    until: Timestamp,
}

impl Pauses {
    /// How long an input of a service has to wait still; none where it may be tried.
    pub(super) fn left(&self, key: &Key, digest: Option<ContentHash>, now: Timestamp) -> Option<Duration> {
        let all = self.0.lock().expect("no holder of this lock panics");
        let pause = all.get(key).filter(|pause| pause.digest == digest)?;
        Duration::try_from(pause.until.duration_since(now)).ok().filter(|left| !left.is_zero())
    }

    /// A try failed: the next one waits, and twice as long as this one did.
    pub(super) fn failed(&self, key: &Key, digest: Option<ContentHash>, now: Timestamp) {
        let mut all = self.0.lock().expect("no holder of this lock panics");
        let before = all.get(key).filter(|pause| pause.digest == digest);
        let length = before.map_or(FIRST, |pause| (pause.length * 2).min(LONGEST));
        all.insert(key.clone(), Pause { digest, length, until: now + length });
    }

    /// The service may be tried at once.
    pub(super) fn end(&self, key: &Key) {
        self.0.lock().expect("no holder of this lock panics").remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Hasher;

    #[test]
    fn each_failure_doubles_the_pause_up_to_five_minutes_and_another_input_has_none() {
        let key: Key = ("shop".parse().unwrap(), "staging".parse().unwrap(), "web".parse().unwrap());
        let (pauses, now) = (Pauses::default(), Timestamp::UNIX_EPOCH);
        let digest = |text| Some(Hasher::new("test").text(text).finish());
        let left = |of| pauses.left(&key, digest(of), now).map(|left| left.as_secs());
        assert_eq!(left("a"), None);
        let mut seen = Vec::new();
        for _ in 0..11 {
            pauses.failed(&key, digest("a"), now);
            seen.extend(left("a"));
        }
        assert_eq!(seen, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(left("b"), None);
        assert_eq!(pauses.left(&key, digest("a"), now + Duration::from_secs(300)), None);
        pauses.end(&key);
        assert_eq!(left("a"), None);
    }
}
