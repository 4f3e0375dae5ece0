//! GitHub's rate limits as they apply to us: what its headers say, and a budget of our own below them.
//!
//! <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>: besides the primary limit there
//! are secondary ones, among them 80 requests a minute and 500 an hour that make content. They count per installation
//! or per token, so there is one [`Limits`] for each.

use std::collections::VecDeque;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::error::GitHubError;

const A_MINUTE: usize = 80;
const AN_HOUR: usize = 500;
/// Without a header, GitHub asks for at least a minute, and for longer each time.
const SECONDARY: Duration = Duration::from_mins(1);
/// The longest pause that we make without being told to.
const LONGEST: Duration = Duration::from_mins(15);
/// The longest pause that a header makes us make: the primary limit is counted by the hour.
const LONGEST_TOLD: Duration = Duration::from_hours(1);

/// What one installation, or one token, may still do.
#[derive(Debug, Default)]
pub(super) struct Limits {
    writes: VecDeque<Timestamp>,
    closed: Option<(Timestamp, &'static str)>,
    secondary_in_a_row: u32,
    troubles_in_a_row: u32,
}

impl Limits {
    /// Whether a request may go out now.
    pub(super) fn may_read(&self, now: Timestamp) -> Result<(), GitHubError> {
        match self.closed {
            Some((until, limit)) if now < until => Err(GitHubError::Limited { limit, until }),
            _ => Ok(()),
        }
    }

    /// Whether a request that makes content may go out now; counts it, if so.
    pub(super) fn take_write(&mut self, now: Timestamp) -> Result<(), GitHubError> {
        self.may_read(now)?;
        let hour = Duration::from_hours(1);
        while self.writes.front().is_some_and(|time| *time + hour <= now) {
            self.writes.pop_front();
        }
        let minute = Duration::from_mins(1);
        let budgets = [
            (A_MINUTE, minute, "limit of 80 writes a minute"),
            (AN_HOUR, hour, "limit of 500 writes an hour"),
        ];
        for (allowed, window, limit) in budgets {
            let Some(nth) = self.writes.len().checked_sub(allowed) else { continue };
            let until = self.writes[nth] + window;
            if now < until {
                return Err(GitHubError::Limited { limit, until });
            }
        }
        self.writes.push_back(now);
        Ok(())
    }

    /// Reads an answer's status and headers; an error where they say that this was one request too many.
    pub(super) fn answered(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        message: &str,
        now: Timestamp,
    ) -> Result<(), GitHubError> {
        let exhausted = number(headers, "x-ratelimit-remaining") == Some(0);
        let refused = status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::FORBIDDEN;
        let secondary = message.to_ascii_lowercase().contains("secondary rate limit");
        let retry_after = number(headers, "retry-after");
        let limited =
            status == StatusCode::TOO_MANY_REQUESTS || secondary || retry_after.is_some() || exhausted;
        if refused && limited {
            let (pause, limit) = match (retry_after, exhausted) {
                (Some(seconds), _) => (told(seconds), "rate limit"),
                (None, true) => (until_reset(headers, now), "rate limit"),
                (None, false) => (growing(SECONDARY, self.secondary_in_a_row), "secondary rate limit"),
            };
            self.secondary_in_a_row = self.secondary_in_a_row.saturating_add(1);
            let until = now + pause;
            self.closed = Some((until, limit));
            return Err(GitHubError::Limited { limit, until });
        }
        if status.is_server_error() {
            // Retry-After comes with 503 too (RFC 9110, section 10.2.3)
            self.trouble(now, retry_after.map(told));
            return Ok(());
        }
        self.troubles_in_a_row = 0;
        self.secondary_in_a_row = 0;
        // the answer is good, and the last one for a while
        self.closed = exhausted.then(|| (now + until_reset(headers, now), "rate limit"));
        Ok(())
    }

    /// Notes that GitHub is in trouble, so that not every waiting row finds it out by itself.
    pub(super) fn trouble(&mut self, now: Timestamp, pause: Option<Duration>) {
        let pause = pause.unwrap_or_else(|| growing(Duration::from_secs(2), self.troubles_in_a_row));
        self.troubles_in_a_row = self.troubles_in_a_row.saturating_add(1);
        self.closed = Some((now + pause, "pause after its own trouble"));
    }
}

fn growing(first: Duration, before: u32) -> Duration {
    first.saturating_mul(1 << before.min(10)).min(LONGEST)
}

fn told(seconds: u64) -> Duration {
    Duration::from_secs(seconds.max(1)).min(LONGEST_TOLD)
}

/// The reset time is GitHub's clock; so is `date`, and the difference holds on ours.
fn until_reset(headers: &HeaderMap, now: Timestamp) -> Duration {
    let Some(reset) = number(headers, "x-ratelimit-reset").and_then(|reset| i64::try_from(reset).ok()) else {
        return SECONDARY;
    };
    let date = headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()).map(|date| date.timestamp());
    let there = date.unwrap_or(now).as_second();
    told(u64::try_from(reset - there).unwrap_or(0).saturating_add(1))
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_763_800_000 + second).unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn until(result: Result<(), GitHubError>) -> Option<Timestamp> {
        match result.err()?.retry() {
            super::super::Retry::At(time) => Some(time),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn eighty_writes_go_out_in_a_minute_and_five_hundred_in_an_hour() {
        let mut limits = Limits::default();
        let mut now = at(0);
        let mut sent = 0;
        while now < at(3600) {
            match until(limits.take_write(now)) {
                None => sent += 1,
                Some(time) => {
                    assert!(time > now);
                    now = time;
                }
            }
            if now == at(0) {
                assert!(sent <= 80);
            }
        }
        assert_eq!(sent, 500);
    }

    #[test]
    fn retry_after_is_held_and_reads_wait_too() {
        let mut limits = Limits::default();
        let answer =
            limits.answered(StatusCode::FORBIDDEN, &headers(&[("retry-after", "17")]), "slow down", at(0));
        assert_eq!(until(answer), Some(at(17)));
        assert_eq!(until(limits.may_read(at(16))), Some(at(17)));
        assert!(limits.may_read(at(17)).is_ok());
    }

    #[test]
    fn a_secondary_limit_without_a_header_waits_longer_each_time() {
        let mut limits = Limits::default();
        let message = "You have exceeded a secondary rate limit.";
        let mut answer = |now| until(limits.answered(StatusCode::FORBIDDEN, &HeaderMap::new(), message, now));
        assert_eq!(answer(at(0)), Some(at(60)));
        assert_eq!(answer(at(60)), Some(at(180)));
    }

    #[test]
    fn the_reset_is_told_by_their_clock() {
        let mut limits = Limits::default();
        // their clock is an hour ahead of ours
        let pairs = [
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1763803630"),
            ("date", "Sat, 22 Nov 2025 09:26:40 GMT"),
        ];
        let answer = limits.answered(StatusCode::FORBIDDEN, &headers(&pairs), "", at(0));
        assert_eq!(until(answer), Some(at(31)));
        // a refusal for another reason is none of ours
        let mut limits = Limits::default();
        let refused = limits.answered(StatusCode::FORBIDDEN, &HeaderMap::new(), "not accessible", at(0));
        assert!(refused.is_ok());
    }
}
