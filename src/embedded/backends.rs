//! Where a Service leads right now.
//!
//! It reads Services and pods themselves rather than what the controllers wrote about them: a pod that is asked to
//! go is left out at the very moment that is seen.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::cache::{Cache, Key};
use super::controllers::endpoints::{selects, target};
use super::controllers::pods::{is_ready, real_port};

/// The port of a Service, as an Ingress names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PortName {
    Number(i32),
    Name(String),
}

/// What stands behind a port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Backends {
    /// There is no such Service, or it has no such port.
    Unknown,
    /// None of its pods can be asked; the text says why, pod by pod.
    None(Vec<String>),
    /// These can.
    Some(Vec<SocketAddr>),
}

/// Finds what stands behind a port of a Service.
pub(crate) fn find(cache: &Cache, key: &Key, port: &PortName) -> Backends {
    let Some(service) = cache.of::<Service>().get(key) else { return Backends::Unknown };
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let named = |held: &&ServicePort| match port {
        PortName::Number(number) => held.port == *number,
        PortName::Name(name) => held.name.as_ref() == Some(name),
    };
    let Some(port) = ports.iter().find(named) else { return Backends::Unknown };
    let has_selector =
        service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).is_some_and(|all| !all.is_empty());
    if !has_selector {
        return of_slices(cache, key, port);
    }
    let pods: Vec<_> =
        cache.of::<Pod>().list(&key.namespace).into_iter().filter(|pod| selects(&service, pod)).collect();
    of_pods(&pods, port)
}

fn of_pods(pods: &[Arc<Pod>], port: &ServicePort) -> Backends {
    let address = |pod: &Arc<Pod>| {
        let ip: IpAddr = pod.status.as_ref()?.pod_ip.as_deref()?.parse().ok()?;
        Some(SocketAddr::new(ip, real_port(pod, target(port, pod)?)))
    };
    let leaves = |pod: &Arc<Pod>| pod.metadata.deletion_timestamp.is_some();
    let ready = |leaving: bool| {
        let chosen = pods.iter().filter(move |pod| is_ready(pod) && leaves(pod) == leaving);
        chosen.filter_map(address).collect::<Vec<_>>()
    };
    let mut found = ready(false);
    if found.is_empty() {
        // one that still serves while it leaves is better than none, as kube-proxy has it
        found = ready(true);
    }
    if found.is_empty() {
        Backends::None(pods.iter().map(|pod| why_not(pod)).collect())
    } else {
        Backends::Some(found)
    }
}

/// A Service without a selector leads where somebody wrote down that it does.
fn of_slices(cache: &Cache, key: &Key, port: &ServicePort) -> Backends {
    let mut found = Vec::new();
    for slice in cache.of::<EndpointSlice>().list(&key.namespace) {
        let labels = slice.metadata.labels.as_ref();
        if labels.and_then(|all| all.get("kubernetes.io/service-name")) != Some(&key.name) {
            continue;
        }
        let named = |name: Option<&str>| name.unwrap_or_default().to_owned();
        let mut ports = slice.ports.iter().flatten();
        let held = ports.find(|held| named(held.name.as_deref()) == named(port.name.as_deref()));
        let Some(number) = held.and_then(|held| u16::try_from(held.port?).ok()) else { continue };
        let ready = slice.endpoints.iter().filter(|endpoint| {
            endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
        });
        let addresses = ready.flat_map(|endpoint| &endpoint.addresses).filter_map(|text| text.parse().ok());
        found.extend(addresses.map(|ip: IpAddr| SocketAddr::new(ip, number)));
    }
    if found.is_empty() { Backends::None(Vec::new()) } else { Backends::Some(found) }
}

/// Why a pod does not serve: `web-1: CrashLoopBackOff: back-off 10s restarting …`.
fn why_not(pod: &Pod) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let mut reasons = Vec::new();
    let statuses =
        pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    for status in statuses.iter().filter(|status| !status.ready) {
        let state = status.state.clone().unwrap_or_default();
        if let Some(waiting) = state.waiting {
            let parts =
                [waiting.reason, waiting.message].into_iter().flatten().filter(|part| !part.is_empty());
            reasons.push(parts.collect::<Vec<_>>().join(": "));
        } else if let Some(ended) = state.terminated {
            reasons.push(format!("the container {} ended with {}", status.name, ended.exit_code));
        } else {
            reasons.push(format!("the container {} runs and is not ready yet", status.name));
        }
    }
    if reasons.is_empty() {
        reasons.push("it has not started yet".to_owned());
    }
    format!("{name}: {}", reasons.join("; "))
}
