//! What the program says about itself: log lines on stderr and figures for Prometheus.
//!
//! Every log line passes the redactor before it is written. Each room makes its own figures and registers
//! them in [`Metrics`]; nothing here knows what they mean.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Metric, Registry};
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::secret::Redactor;

/// What is logged when nobody asks for anything else.
const DEFAULT_FILTER: &str = "info,hyper=warn,kube=warn,notify=warn,octocrab=warn,sqlx=warn,warp=warn";
/// The content type of [`Metrics::encode`].
pub const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is no filter.
    #[error("the log filter {filter:?} cannot be read\nhint: it looks like info,branchline::reconcile=debug")]
    Filter {
        /// What was given.
        filter: String,
        /// Where it goes wrong.
        #[source]
        source: ParseError,
    },
    /// Somebody has started logging before.
    #[error("logging was started twice")]
    Twice(#[source] TryInitError),
    /// No such format.
    #[error("{0:?} is no log format\nhint: json or pretty")]
    Format(String),
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Pretty,
    /// One JSON object per line, for machines.
    Json,
}

impl FromStr for LogFormat {
    type Err = TelemetryError;

    fn from_str(text: &str) -> Result<Self, TelemetryError> {
        match text {
            "json" => Ok(Self::Json),
            "pretty" => Ok(Self::Pretty),
            other => Err(TelemetryError::Format(other.to_owned())),
        }
    }
}

/// Starts logging to stderr, for the whole process.
///
/// # Errors
/// The filter cannot be read, or logging runs already.
pub fn start_logging(
    format: LogFormat,
    filter: Option<&str>,
    colour: bool,
    redactor: Redactor,
) -> Result<(), TelemetryError> {
    let filter = filter.unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::try_new(filter)
        .map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })?;
    let writer = RedactedStderr(redactor);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Json => {
            let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(writer);
            registry.with(lines).try_init()
        }
        LogFormat::Pretty => {
            let lines = tracing_subscriber::fmt::layer().with_ansi(colour).with_target(false);
            registry.with(lines.with_writer(writer)).try_init()
        }
    };
    started.map_err(TelemetryError::Twice)
}

/// Makes a writer for each log line; a line arrives in one piece.
struct RedactedStderr(Redactor);

impl<'a> MakeWriter<'a> for RedactedStderr {
    type Writer = RedactedLine<'a, io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        RedactedLine { redactor: &self.0, sink: io::stderr() }
    }
}

/// Writes what the redactor leaves.
struct RedactedLine<'a, W> {
    redactor: &'a Redactor,
    sink: W,
}

impl<W: Write> Write for RedactedLine<'_, W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let redacted = self.redactor.redact(&String::from_utf8_lossy(line));
        self.sink.write_all(redacted.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// The figures of all rooms. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Registry::with_prefix("branchline"))))
    }
}

impl Metrics {
    /// Registers a figure under `branchline_NAME` and gives it back, to be kept and counted by its room.
    /// Labels must come from closed sets: a name from a repository is no label.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        let mut registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The encoder ends every help text with a full stop of its own.
        registry.register(name, help.trim_end_matches('.'), metric.clone());
        metric
    }

    /// All figures as `OpenMetrics` text.
    ///
    /// # Errors
    /// A figure could not be printed.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;

    use super::*;

    #[test]
    fn registered_figures_are_printed_with_our_prefix() {
        let metrics = Metrics::default();
        let family: Family<[(&'static str, &'static str); 1], Counter> = Family::default();
        let webhooks = metrics.register("webhooks", "Deliveries by what became of them.", family);
        webhooks.get_or_create(&[("outcome", "stored")]).inc_by(3);
        insta::assert_snapshot!(metrics.encode().unwrap(), @r#"
        # HELP branchline_webhooks Deliveries by what became of them.
        # TYPE branchline_webhooks counter
        branchline_webhooks_total{outcome="stored"} 3
        # EOF
        "#);
    }

    #[test]
    fn a_log_line_never_holds_a_secret() {
        let redactor = Redactor::new();
        redactor.add("hunter2-and-more");
        let mut sink = Vec::new();
        let mut line = RedactedLine { redactor: &redactor, sink: &mut sink };
        let text = b"token hunter2-and-more was refused\n";
        assert_eq!(line.write(text).unwrap(), text.len());
        assert_eq!(String::from_utf8(sink).unwrap(), "token [redacted] was refused\n");
    }

    #[test]
    fn an_unreadable_filter_names_the_way_out() {
        let error = start_logging(LogFormat::Json, Some("info,=,"), false, Redactor::new()).unwrap_err();
        assert!(error.to_string().contains("hint: it looks like"), "{error}");
        assert!("xml".parse::<LogFormat>().is_err());
    }
}
