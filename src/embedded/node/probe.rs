//! Probes: asking a container whether it has started, is ready, is alive.
//!
//! The timing is the kubelet's
//! (<https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/>), with
//! one addition: while a container has not yet answered for the first time, it is also asked in between, soon and
//! then less often. Such a look counts only when it succeeds, so it can make a rollout faster and never fail it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{ContainerPort, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use super::runtime::{Container, Place};
use crate::clock::Clock;

/// The first pause between looks at a container that has not answered yet.
const SOON: Duration = Duration::from_millis(25);

/// What a probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    Started,
    Ready,
    Alive,
}

impl Question {
    /// The word for it in messages.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Started => "Startup",
            Self::Ready => "Readiness",
            Self::Alive => "Liveness",
        }
    }
}

/// Where and what is probed.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) place: Place,
    pub(crate) ports: Vec<ContainerPort>,
    pub(crate) container: Arc<dyn Container>,
}

impl Target {
    /// The port of this machine that a manifest means by a number or a name.
    fn port(&self, port: &IntOrString) -> Result<u16, String> {
        let number = match port {
            IntOrString::Int(number) => u16::try_from(*number).ok(),
            IntOrString::String(name) => {
                let named = self.ports.iter().find(|port| port.name.as_ref() == Some(name));
                named.and_then(|port| u16::try_from(port.container_port).ok())
            }
        };
        let unknown = || format!("the container has no port {port:?}");
        number.map(|number| self.place.real(number)).ok_or_else(unknown)
    }

    fn address(&self, host: Option<&str>, port: &IntOrString) -> Result<SocketAddr, String> {
        let host = match host.filter(|host| !host.is_empty()) {
            None => self.place.address,
            Some(host) => host.parse::<IpAddr>().map_err(|_| format!("the host {host:?} is no address"))?,
        };
        Ok(SocketAddr::new(host, self.port(port)?))
    }
}

/// Counts answers until they settle a question one way or the other.
#[derive(Debug, Default)]
struct Tally {
    successes: u32,
    failures: u32,
}

impl Tally {
    /// Takes in an answer, and gives the verdict once enough of the same kind came in a row.
    fn count(&mut self, success: bool, probe: &Probe) -> Option<bool> {
        let threshold =
            |value: Option<i32>, default| u32::try_from(value.unwrap_or(default)).unwrap_or(1).max(1);
        let (count, other, needed) = if success {
            (&mut self.successes, &mut self.failures, threshold(probe.success_threshold, 1))
        } else {
            (&mut self.failures, &mut self.successes, threshold(probe.failure_threshold, 3))
        };
        *count += 1;
        *other = 0;
        (*count >= needed).then_some(success)
    }
}

/// Asks one question again and again, and tells each verdict. It goes on until it is dropped.
pub(crate) async fn ask(
    question: Question,
    probe: &Probe,
    target: &Target,
    clock: &Clock,
    mut tell: impl FnMut(Question, Result<(), String>),
) {
    let seconds = |value: Option<i32>, default| {
        Duration::from_secs(u64::try_from(value.unwrap_or(default)).unwrap_or(0))
    };
    let period = seconds(probe.period_seconds, 10).max(Duration::from_secs(1));
    clock.sleep(seconds(probe.initial_delay_seconds, 0)).await;
    let mut tally = Tally::default();
    let mut unanswered = question != Question::Alive && probe.exec.is_none();
    loop {
        let answer = attempt(probe, target).await;
        unanswered &= answer.is_err();
        if let Some(verdict) = tally.count(answer.is_ok(), probe) {
            tell(question, if verdict { Ok(()) } else { answer });
        }
        if unanswered {
            if early(probe, target, clock, period).await {
                unanswered = false;
                if tally.count(true, probe) == Some(true) {
                    tell(question, Ok(()));
                }
            }
        } else {
            clock.sleep(period).await;
        }
    }
}

/// Looks in between until the container answers, or the period is over.
async fn early(probe: &Probe, target: &Target, clock: &Clock, period: Duration) -> bool {
    let (mut passed, mut pause) = (Duration::ZERO, SOON);
    while passed < period {
        let step = pause.min(period.saturating_sub(passed));
        clock.sleep(step).await;
        passed += step;
        pause *= 2;
        if passed < period && attempt(probe, target).await.is_ok() {
            return true;
        }
    }
    false
}

/// Asks once.
pub(crate) async fn attempt(probe: &Probe, target: &Target) -> Result<(), String> {
    let limit = Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1)).unwrap_or(1).max(1));
    if let Some(exec) = &probe.exec {
        let command = exec.command.clone().unwrap_or_default();
        return match target.container.exec(&command, limit).await {
            Ok(0) => Ok(()),
            Ok(code) => Err(format!("the command ended with {code}")),
            Err(error) => Err(error.to_string()),
        };
    }
    let asked = async {
        if let Some(get) = &probe.http_get {
            http(get, target).await
        } else if let Some(tcp) = &probe.tcp_socket {
            let address = target.address(tcp.host.as_deref(), &tcp.port)?;
            TcpStream::connect(address).await.map(drop).map_err(|error| refused(address, &error))
        } else {
            Err("only httpGet, tcpSocket and exec probes are offered by the embedded cluster".to_owned())
        }
    };
    tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}

/// A GET; any status from 200 to 399 is good.
pub(crate) async fn http(get: &HTTPGetAction, target: &Target) -> Result<(), String> {
    let address = target.address(get.host.as_deref(), &get.port)?;
    if get.scheme.as_deref().is_some_and(|scheme| scheme != "HTTP") {
        return Err("only plain HTTP is probed on the embedded cluster".to_owned());
    }
    let stream = TcpStream::connect(address).await.map_err(|error| refused(address, &error))?;
    let words = |error: hyper::Error| format!("http://{address} does not speak HTTP: {error}");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(words)?;
    let path = get.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let mut request = http::Request::get(path).header(http::header::USER_AGENT, "kube-probe/1.34");
    let headers = get.http_headers.as_deref().unwrap_or_default();
    if !headers.iter().any(|header| header.name.eq_ignore_ascii_case("host")) {
        request = request.header(http::header::HOST, address.to_string());
    }
    for header in headers {
        request = request.header(&header.name, &header.value);
    }
    let request = request.header(http::header::CONNECTION, "close").body(Empty::new());
    let request = request.map_err(|error| format!("the probe is no request: {error}"))?;
    let answered = async {
        tokio::select! {
            answer = sender.send_request(request) => answer.map_err(words),
            // the connection is driven until the answer's head is here
            Err(error) = connection => Err(words(error)),
        }
    };
    let status = answered.await?.status();
    if (200..400).contains(&status.as_u16()) {
        Ok(())
    } else {
        Err(format!("HTTP status {}", status.as_u16()))
    }
}

fn refused(address: SocketAddr, error: &std::io::Error) -> String {
    let hint = if error.kind() == std::io::ErrorKind::ConnectionRefused {
        "; hint: the program must listen on the port in PORT"
    } else {
        ""
    };
    format!("connecting to {address} failed: {error}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_needs_enough_answers_in_a_row() {
        let probe = Probe { failure_threshold: Some(2), success_threshold: Some(2), ..Probe::default() };
        let mut tally = Tally::default();
        let verdicts: Vec<_> = [true, false, true, true, false, false, false]
            .into_iter()
            .map(|answer| tally.count(answer, &probe))
            .collect();
        assert_eq!(verdicts, [None, None, None, Some(true), None, Some(false), Some(false)]);
    }
}
