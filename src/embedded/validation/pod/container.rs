//! One container: its ports, environment, mounts, resources and probes.

use super::super::{Cause, list, names, text};
use crate::embedded::quantity::Quantity;
use serde_json::{Value, json};
use std::collections::HashSet;

/// Which list a container stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Main,
    Init,
}

/// Problems of a list of containers.
pub(super) fn all(containers: &[Value], at: &str, volumes: &[&str], role: Role) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen = HashSet::new();
    for (position, container) in containers.iter().enumerate() {
        let at = format!("{at}[{position}]");
        causes.extend(common(container, &at, volumes));
        if !seen.insert(text(container, "name")) {
            causes.push(Cause::duplicate(format!("{at}.name"), &container["name"]));
        }
        let sidecar = role == Role::Init && container["restartPolicy"] == "Always";
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            let Some(value) = container.get(probe) else { continue };
            let at = format!("{at}.{probe}");
            if role == Role::Init && !sidecar {
                causes.push(Cause::forbidden(
                    at,
                    "may not be set for init containers without restartPolicy=Always",
                ));
            } else {
                causes.extend(self::probe(value, &at, probe));
            }
        }
        if let Some(lifecycle) = container.get("lifecycle") {
            for hook in ["postStart", "preStop"] {
                if let Some(hook_value) = lifecycle.get(hook) {
                    causes.extend(handler(hook_value, &format!("{at}.lifecycle.{hook}")));
                }
            }
        }
    }
    causes
}

fn common(container: &Value, at: &str, volumes: &[&str]) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = text(container, "name");
    if name.is_empty() {
        causes.push(Cause::required(format!("{at}.name"), ""));
    } else {
        let problems = names::dns_label(name).into_iter();
        causes.extend(problems.map(|why| Cause::invalid(format!("{at}.name"), &container["name"], why)));
    }
    if text(container, "image").is_empty() {
        causes.push(Cause::required(format!("{at}.image"), ""));
    }
    let one_of = |field: &str, supported: &[&str]| {
        let known = supported.contains(&text(container, field));
        (!known).then(|| Cause::unsupported_in_order(format!("{at}.{field}"), &container[field], supported))
    };
    causes.extend(one_of("terminationMessagePolicy", &["File", "FallbackToLogsOnError"]));
    causes.extend(ports(list(container, "ports"), &format!("{at}.ports")));
    causes.extend(environment(list(container, "env"), &format!("{at}.env")));
    causes.extend(environment_from(list(container, "envFrom"), &format!("{at}.envFrom")));
    causes.extend(mounts(list(container, "volumeMounts"), &format!("{at}.volumeMounts"), volumes));
    causes.extend(one_of("imagePullPolicy", &["Always", "IfNotPresent", "Never"]));
    causes.extend(resources(&container["resources"], &format!("{at}.resources")));
    causes
}

/// The range of ports, as messages say it.
pub(in crate::embedded::validation) const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";

fn is_port(number: i64) -> bool {
    (1..=65535).contains(&number)
}

fn ports(ports: &[Value], at: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen = HashSet::new();
    for (position, port) in ports.iter().enumerate() {
        let at = format!("{at}[{position}]");
        let name = text(port, "name");
        if !name.is_empty() {
            let problems = names::port_name(name);
            if problems.is_empty() && !seen.insert(name) {
                causes.push(Cause::duplicate(format!("{at}.name"), &port["name"]));
            }
            let problems = problems.into_iter();
            causes.extend(problems.map(|why| Cause::invalid(format!("{at}.name"), &port["name"], why)));
        }
        match port["containerPort"].as_i64().unwrap_or(0) {
            0 => causes.push(Cause::required(format!("{at}.containerPort"), "")),
            number if !is_port(number) => {
                causes.push(Cause::invalid(
                    format!("{at}.containerPort"),
                    &port["containerPort"],
                    PORT_RANGE,
                ));
            }
            _ => {}
        }
        let host = port["hostPort"].as_i64().unwrap_or(0);
        if host != 0 && !is_port(host) {
            causes.push(Cause::invalid(format!("{at}.hostPort"), &port["hostPort"], PORT_RANGE));
        }
        if !["SCTP", "TCP", "UDP"].contains(&text(port, "protocol")) {
            let field = format!("{at}.protocol");
            causes.push(Cause::unsupported(field, &port["protocol"], &["SCTP", "TCP", "UDP"]));
        }
    }
    causes
}

fn environment(variables: &[Value], at: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (position, variable) in variables.iter().enumerate() {
        let at = format!("{at}[{position}]");
        let name = text(variable, "name");
        if name.is_empty() {
            causes.push(Cause::required(format!("{at}.name"), ""));
        } else if !name.chars().all(|c| (' '..='~').contains(&c) && c != '=') {
            let why = "a valid environment variable name must consist only of printable ASCII characters other \
                than '='";
            causes.push(Cause::invalid(format!("{at}.name"), &variable["name"], why));
        }
        let Some(from) = variable.get("valueFrom") else { continue };
        let at = format!("{at}.valueFrom");
        let sources: Vec<&str> = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef"]
            .into_iter()
            .filter(|source| from.get(source).is_some())
            .collect();
        for source in &sources {
            let needed: &[&str] = match *source {
                "configMapKeyRef" | "secretKeyRef" => &["name", "key"],
                "fieldRef" => &["fieldPath"],
                _ => &["resource"],
            };
            for field in needed.iter().filter(|field| text(&from[*source], field).is_empty()) {
                let field_at = format!("{at}.{source}.{field}");
                if *field == "name" {
                    let problems = names::dns_subdomain("").into_iter();
                    causes.extend(problems.map(|why| Cause::invalid(field_at.as_str(), &json!(""), why)));
                } else {
                    causes.push(Cause::required(field_at, ""));
                }
            }
        }
        let why = if sources.is_empty() {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        } else if !text(variable, "value").is_empty() {
            "may not be specified when `value` is not empty"
        } else if sources.len() > 1 {
            "may not have more than one field specified at a time"
        } else {
            continue;
        };
        causes.push(Cause::invalid(at, &json!(""), why));
    }
    causes
}

fn environment_from(sources: &[Value], at: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (position, source) in sources.iter().enumerate() {
        let item = format!("{at}[{position}]");
        let given: Vec<&str> =
            ["configMapRef", "secretRef"].into_iter().filter(|one| source.get(one).is_some()).collect();
        for one in &given {
            if text(&source[*one], "name").is_empty() {
                causes.push(Cause::required(format!("{item}.{one}.name"), ""));
            }
        }
        match given.len() {
            0 => causes.push(Cause::invalid(
                at,
                &json!(""),
                "must specify one of: `configMapRef` or `secretRef`",
            )),
            1 => {}
            _ => {
                let why = "may not have more than one field specified at a time";
                causes.push(Cause::invalid(at, &json!(""), why));
            }
        }
    }
    causes
}

fn mounts(mounts: &[Value], at: &str, volumes: &[&str]) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut paths = HashSet::new();
    for (position, mount) in mounts.iter().enumerate() {
        let at = format!("{at}[{position}]");
        let (name, path) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            causes.push(Cause::required(format!("{at}.name"), ""));
        }
        if !volumes.contains(&name) {
            causes.push(Cause::not_found(format!("{at}.name"), &mount["name"]));
        }
        if path.is_empty() {
            causes.push(Cause::required(format!("{at}.mountPath"), ""));
        }
        if !paths.insert(path) {
            causes.push(Cause::invalid(format!("{at}.mountPath"), &mount["mountPath"], "must be unique"));
        }
    }
    causes
}

fn resources(resources: &Value, at: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let amount = |value: &Value| value.as_str().and_then(|text| Quantity::parse(text).ok());
    for list in ["limits", "requests"] {
        for (resource, value) in resources[list].as_object().into_iter().flatten() {
            let field = format!("{at}.{list}[{resource}]");
            let standard = ["cpu", "memory", "ephemeral-storage", "storage"].contains(&resource.as_str())
                || resource.starts_with("hugepages-");
            if !standard && !resource.contains('/') {
                let why = "must be a standard resource type or fully qualified";
                causes.push(Cause::invalid(field.clone(), &json!(resource), why));
                causes.push(Cause::invalid(
                    field.clone(),
                    &json!(resource),
                    "must be a standard resource for containers",
                ));
            }
            if amount(value).is_some_and(Quantity::is_negative) {
                causes.push(Cause::invalid(field, value, "must be greater than or equal to 0"));
            }
            let limit = &resources["limits"][resource.as_str()];
            if list == "requests"
                && let (Some(request), Some(most)) = (amount(value), amount(limit))
                && request > most
            {
                let most = limit.as_str().unwrap_or_default();
                let why = format!("must be less than or equal to {resource} limit of {most}");
                causes.push(Cause::invalid(format!("{at}.requests"), value, why));
            }
        }
    }
    causes
}

fn probe(probe: &Value, at: &str, which: &str) -> Vec<Cause> {
    let mut causes = handler(probe, at);
    for field in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        causes.extend(super::super::not_negative(probe, field, at));
    }
    let grace = &probe["terminationGracePeriodSeconds"];
    if grace.as_i64().is_some_and(|seconds| seconds <= 0) {
        causes.push(Cause::invalid(
            format!("{at}.terminationGracePeriodSeconds"),
            grace,
            "must be greater than 0",
        ));
    }
    if which == "readinessProbe" {
        if !grace.is_null() {
            let why = "must not be set for readinessProbes";
            causes.push(Cause::invalid(format!("{at}.terminationGracePeriodSeconds"), grace, why));
        }
    } else if probe["successThreshold"].as_i64().is_some_and(|times| times != 1) {
        causes.push(Cause::invalid(
            format!("{at}.successThreshold"),
            &probe["successThreshold"],
            "must be 1",
        ));
    }
    causes
}

fn handler(handler: &Value, at: &str) -> Vec<Cause> {
    let given: Vec<&str> = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"]
        .into_iter()
        .filter(|one| handler.get(one).is_some())
        .collect();
    let Some(first) = given.first() else {
        return vec![Cause::required(at, "must specify a handler type")];
    };
    let mut causes = Vec::new();
    let (action, field) = (&handler[*first], format!("{at}.{first}"));
    match *first {
        "exec" if list(action, "command").is_empty() => {
            causes.push(Cause::required(format!("{field}.command"), ""));
        }
        "httpGet" => {
            causes.extend(port(&action["port"], &format!("{field}.port")));
            if !["HTTP", "HTTPS"].contains(&text(action, "scheme")) {
                causes.push(Cause::unsupported(
                    format!("{field}.scheme"),
                    &action["scheme"],
                    &["HTTP", "HTTPS"],
                ));
            }
        }
        "tcpSocket" | "grpc" => causes.extend(port(&action["port"], &format!("{field}.port"))),
        _ => {}
    }
    for extra in given.iter().skip(1) {
        causes.push(Cause::forbidden(format!("{at}.{extra}"), "may not specify more than 1 handler type"));
    }
    causes
}

/// Problems of a port given by number or by name.
pub(in crate::embedded::validation) fn port(port: &Value, at: &str) -> Vec<Cause> {
    match port {
        Value::String(name) => {
            names::port_name(name).into_iter().map(|why| Cause::invalid(at, port, why)).collect()
        }
        _ if is_port(port.as_i64().unwrap_or(0)) => Vec::new(),
        _ => vec![Cause::invalid(at, &json!(port.as_i64().unwrap_or(0)), PORT_RANGE)],
    }
}
