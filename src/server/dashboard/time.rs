//! Times as people read them.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// A moment: how long ago in words, and exactly for machines and for whoever points at it.
#[derive(Debug, Serialize)]
pub(super) struct When {
    iso: String,
    ago: String,
    exact: String,
}

pub(super) fn when(now: Timestamp, then: Timestamp) -> When {
    When {
        iso: then.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        ago: ago(now.duration_since(then)),
        exact: then.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    }
}

/// The time of day, as log lines carry it. UTC, as everything here.
pub(super) fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%S").to_string()
}

fn ago(passed: SignedDuration) -> String {
    let seconds = passed.as_secs();
    match seconds {
        ..10 => "just now".to_owned(),
        10..60 => format!("{} s ago", seconds / 10 * 10),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        86_400..172_800 => "1 day ago".to_owned(),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// How long something took.
pub(super) fn took(from: Timestamp, to: Timestamp) -> String {
    let passed = to.duration_since(from);
    let (seconds, milliseconds) = (passed.as_secs().max(0), passed.subsec_millis().max(0));
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..10 => format!("{seconds}.{} s", milliseconds / 100),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_few_words() {
        let said: Vec<_> = [0, 42, 61, 7300, 90_000, 200_000]
            .into_iter()
            .map(|seconds| ago(SignedDuration::from_secs(seconds)))
            .collect();
        assert_eq!(said.join(", "), "just now, 40 s ago, 1 min ago, 2 h ago, 1 day ago, 2 days ago");
        let from: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let said: Vec<_> = [40, 1540, 59_999, 125_000, 7_260_000]
            .into_iter()
            .map(|milliseconds| took(from, from + SignedDuration::from_millis(milliseconds)))
            .collect();
        assert_eq!(said.join(", "), "40 ms, 1.5 s, 59 s, 2 min 5 s, 2 h 1 min");
    }
}
