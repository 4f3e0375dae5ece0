//! The server's own figures.

use http::StatusCode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::telemetry::Metrics;

type Labelled = Family<[(&'static str, &'static str); 1], Counter>;

/// Counted by the server, shown by `/metrics`.
#[derive(Debug, Clone)]
pub struct Figures {
    answers: Labelled,
    webhooks: Labelled,
    /// From the last byte of a delivery to its row on the disk.
    pub(super) webhook_seconds: Histogram,
    pub(super) inbox_waiting: Gauge,
    pub(super) inbox_quarantined: Gauge,
    pub(super) outbox_unsent: Gauge,
    pub(super) outbox_failing: Gauge,
}

impl Figures {
    pub(super) fn register(metrics: &Metrics) -> Self {
        let seconds = Histogram::new(exponential_buckets(0.0005, 2.0, 14));
        Self {
            answers: metrics.register(
                "http_answers",
                "Answers by the class of their status.",
                Labelled::default(),
            ),
            webhooks: metrics.register("webhooks", "Deliveries by what became of them.", Labelled::default()),
            webhook_seconds: metrics.register(
                "webhook_seconds",
                "From a delivery's last byte to its row on the disk, in seconds.",
                seconds,
            ),
            inbox_waiting: metrics.register(
                "inbox_waiting",
                "Deliveries that wait to be acted on.",
                Gauge::default(),
            ),
            inbox_quarantined: metrics.register(
                "inbox_quarantined",
                "Deliveries that are set aside.",
                Gauge::default(),
            ),
            outbox_unsent: metrics.register(
                "outbox_unsent",
                "Reports that are not sent yet.",
                Gauge::default(),
            ),
            outbox_failing: metrics.register(
                "outbox_failing",
                "Reports whose sending has failed.",
                Gauge::default(),
            ),
        }
    }

    pub(super) fn answered(&self, status: StatusCode) {
        let class = match status.as_u16() / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        self.answers.get_or_create(&[("class", class)]).inc();
    }

    pub(super) fn delivered(&self, outcome: &'static str) {
        self.webhooks.get_or_create(&[("outcome", outcome)]).inc();
    }
}
