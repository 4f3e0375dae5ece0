//! Services, Ingresses and network policies.

use super::pod::container::{PORT_RANGE, port};
use super::{Cause, list, names, text, workload};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::IpAddr;

/// Problems of a Service.
pub(super) fn service(object: &Value, live: Option<&Value>) -> Vec<Cause> {
    let spec = &object["spec"];
    let mut causes = Vec::new();
    let kind = text(spec, "type");
    if let Some(live) = live {
        causes.extend(changed_address(spec, &live["spec"]));
    }
    let headless = spec["clusterIP"] == "None";
    let ports = list(spec, "ports");
    if ports.is_empty() && !headless && kind != "ExternalName" {
        causes.push(Cause::required("spec.ports", ""));
    }
    match kind {
        "LoadBalancer" if headless => {
            let why = "may not be set to 'None' for LoadBalancer services";
            causes.push(Cause::invalid("spec.clusterIPs[0]", &json!("None"), why));
        }
        "NodePort" if headless => {
            let why = "may not be set to 'None' for NodePort services";
            causes.push(Cause::invalid("spec.clusterIPs[0]", &json!("None"), why));
        }
        "ExternalName" => {
            if !text(spec, "clusterIP").is_empty() && live.is_none() {
                causes.push(Cause::forbidden("spec.clusterIPs", "may not be set for ExternalName services"));
            }
            let name = text(spec, "externalName").trim_end_matches('.');
            if name.is_empty() {
                causes.push(Cause::required("spec.externalName", ""));
            } else {
                let problems = names::dns_subdomain(name).into_iter();
                causes.extend(problems.map(|why| Cause::invalid("spec.externalName", &json!(name), why)));
            }
        }
        _ => {}
    }
    if let Some(address) = spec["clusterIP"].as_str().filter(|address| !matches!(*address, "" | "None"))
        && address.parse::<IpAddr>().is_err()
    {
        let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        causes.push(Cause::invalid("spec.clusterIPs[0]", &spec["clusterIP"], why));
    }
    causes.extend(service_ports(ports));
    let selector = &spec["selector"];
    causes.extend(super::meta::labels(selector, "spec.selector"));
    let affinity = text(spec, "sessionAffinity");
    if !["ClientIP", "None"].contains(&affinity) {
        causes.push(Cause::unsupported(
            "spec.sessionAffinity",
            &spec["sessionAffinity"],
            &["ClientIP", "None"],
        ));
    }
    let kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    if !kinds.contains(&kind) {
        causes.push(Cause::unsupported("spec.type", &spec["type"], &kinds));
    }
    causes.extend(same_ports(ports));
    if kind == "ClusterIP" {
        for (position, port) in ports.iter().enumerate() {
            let node_port = port["nodePort"].as_i64().unwrap_or(0);
            let was = live.is_some_and(|live| live["spec"]["type"] != "ClusterIP");
            if node_port != 0 && !was {
                let field = format!("spec.ports[{position}].nodePort");
                causes.push(Cause::forbidden(field, "may not be used when `type` is 'ClusterIP'"));
            }
        }
    }
    for (position, address) in list(spec, "externalIPs").iter().enumerate() {
        if address.as_str().unwrap_or_default().parse::<IpAddr>().is_err() {
            let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            causes.push(Cause::invalid(format!("spec.externalIPs[{position}]"), address, why));
        }
    }
    causes
}

/// An address stays what it is, unless the Service becomes or was an `ExternalName`.
fn changed_address(spec: &Value, live: &Value) -> Option<Cause> {
    let (address, was) = (text(spec, "clusterIP"), text(live, "clusterIP"));
    let external = spec["type"] == "ExternalName" || live["type"] == "ExternalName";
    if external || was.is_empty() || address == was {
        return None;
    }
    let now = if address.is_empty() { json!(null) } else { json!([address]) };
    Some(if address.is_empty() {
        Cause::invalid("spec.clusterIPs[0]", &now, "primary clusterIP can not be unset")
    } else {
        Cause::invalid("spec.clusterIPs[0]", &now, "may not change once set")
    })
}

fn service_ports(ports: &[Value]) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen = HashSet::new();
    for (position, service_port) in ports.iter().enumerate() {
        let at = format!("spec.ports[{position}]");
        let name = text(service_port, "name");
        if name.is_empty() {
            if ports.len() > 1 {
                causes.push(Cause::required(format!("{at}.name"), ""));
            }
        } else {
            let problems = names::dns_label(name).into_iter();
            causes
                .extend(problems.map(|why| Cause::invalid(format!("{at}.name"), &service_port["name"], why)));
            if !seen.insert(name) {
                causes.push(Cause::duplicate(format!("{at}.name"), &service_port["name"]));
            }
        }
        let number = service_port["port"].as_i64().unwrap_or(0);
        if !(1..=65535).contains(&number) {
            causes.push(Cause::invalid(format!("{at}.port"), &json!(number), PORT_RANGE));
        }
        let protocols = ["SCTP", "TCP", "UDP"];
        if !protocols.contains(&text(service_port, "protocol")) {
            causes.push(Cause::unsupported(format!("{at}.protocol"), &service_port["protocol"], &protocols));
        }
        causes.extend(port(&service_port["targetPort"], &format!("{at}.targetPort")));
    }
    causes
}

fn same_ports(ports: &[Value]) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen = HashSet::new();
    for (position, port) in ports.iter().enumerate() {
        let key = json!({"protocol": port["protocol"], "port": port["port"]});
        if !seen.insert(key.to_string()) {
            let told = json!({
                "Name": "", "Protocol": port["protocol"], "AppProtocol": null, "Port": port["port"],
                "TargetPort": 0, "NodePort": 0,
            });
            causes.push(Cause::duplicate(format!("spec.ports[{position}]"), &told));
        }
    }
    causes
}

/// Problems of a Service's status.
pub(super) fn service_status(object: &Value) -> Vec<Cause> {
    let points = list(&object["status"]["loadBalancer"], "ingress");
    if points.is_empty() || object["spec"]["type"] == "LoadBalancer" {
        return Vec::new();
    }
    let why = "may only be used when `spec.type` is 'LoadBalancer'";
    vec![Cause::forbidden("status.loadBalancer.ingress", why)]
}

/// Problems of an Ingress.
pub(super) fn ingress(object: &Value) -> Vec<Cause> {
    let spec = &object["spec"];
    let mut causes = Vec::new();
    let rules = list(spec, "rules");
    if rules.is_empty() && spec["defaultBackend"].is_null() {
        let why = "either `defaultBackend` or `rules` must be specified";
        causes.push(Cause::invalid("spec", &spec["rules"], why));
    }
    if let Some(default) = spec.get("defaultBackend") {
        causes.extend(backend(default, "spec.defaultBackend"));
    }
    for (position, rule) in rules.iter().enumerate() {
        let at = format!("spec.rules[{position}]");
        causes.extend(host(&rule["host"], &format!("{at}.host")));
        let Some(http) = rule.get("http") else { continue };
        if list(http, "paths").is_empty() {
            causes.push(Cause::required(format!("{at}.http.paths"), ""));
        }
        for (position, path) in list(http, "paths").iter().enumerate() {
            causes.extend(ingress_path(path, &format!("{at}.http.paths[{position}]")));
        }
    }
    for (position, tls) in list(spec, "tls").iter().enumerate() {
        let at = format!("spec.tls[{position}]");
        for (position, name) in list(tls, "hosts").iter().enumerate() {
            causes.extend(host(name, &format!("{at}.hosts[{position}]")));
        }
        let secret = text(tls, "secretName");
        if !secret.is_empty() {
            let problems = names::dns_subdomain(secret).into_iter();
            causes.extend(
                problems.map(|why| Cause::invalid(format!("{at}.secretName"), &tls["secretName"], why)),
            );
        }
    }
    let class = text(spec, "ingressClassName");
    if spec.get("ingressClassName").is_some() {
        let problems = names::dns_subdomain(class).into_iter();
        causes.extend(problems.map(|why| Cause::invalid("spec.ingressClassName", &json!(class), why)));
    }
    causes
}

fn host(host: &Value, at: &str) -> Vec<Cause> {
    let name = host.as_str().unwrap_or_default();
    if name.is_empty() {
        return Vec::new();
    }
    let mut causes = Vec::new();
    if name.parse::<IpAddr>().is_ok() {
        causes.push(Cause::invalid(at, host, "must be a DNS name, not an IP address"));
    }
    if name.contains('*') {
        let rest = name.strip_prefix("*.").unwrap_or(name);
        if rest.contains('*') || !names::dns_subdomain(rest).is_empty() {
            let why = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which \
                must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character \
                (e.g. '*.example.com', regex used for validation is \
                '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
            causes.push(Cause::invalid(at, host, why));
        }
    } else {
        causes.extend(names::dns_subdomain(name).into_iter().map(|why| Cause::invalid(at, host, why)));
    }
    causes
}

fn ingress_path(path: &Value, at: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let value = text(path, "path");
    let field = format!("{at}.path");
    match text(path, "pathType") {
        "" => return vec![Cause::required(format!("{at}.pathType"), "pathType must be specified")],
        "Exact" | "Prefix" => {
            if !value.starts_with('/') {
                causes.push(Cause::invalid(&field, &json!(value), "must be an absolute path"));
            }
            for bad in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|bad| value.contains(bad)) {
                causes.push(Cause::invalid(&field, &json!(value), format!("must not contain '{bad}'")));
            }
            for bad in ["/..", "/."].into_iter().filter(|bad| value.ends_with(bad)) {
                causes.push(Cause::invalid(&field, &json!(value), format!("cannot end with '{bad}'")));
            }
        }
        "ImplementationSpecific" if !value.is_empty() && !value.starts_with('/') => {
            causes.push(Cause::invalid(&field, &json!(value), "must be an absolute path"));
        }
        "ImplementationSpecific" => {}
        _ => {
            let supported = ["Exact", "ImplementationSpecific", "Prefix"];
            causes.push(Cause::unsupported(format!("{at}.pathType"), &path["pathType"], &supported));
        }
    }
    causes.extend(backend(&path["backend"], &format!("{at}.backend")));
    causes
}

fn backend(backend: &Value, at: &str) -> Vec<Cause> {
    let empty = json!("");
    let (service, resource) = (backend.get("service"), backend.get("resource"));
    let service = match (service, resource) {
        (Some(_), Some(_)) => {
            return vec![Cause::invalid(at, &empty, "cannot set both resource and service backends")];
        }
        (None, Some(_)) => return Vec::new(),
        (None, None) => return vec![Cause::invalid(at, &empty, "resource or service backend is required")],
        (Some(service), None) => service,
    };
    let mut causes = Vec::new();
    let name = text(service, "name");
    if name.is_empty() {
        causes.push(Cause::required(format!("{at}.service.name"), ""));
    } else {
        let problems = names::dns_1035_label(name).into_iter();
        causes
            .extend(problems.map(|why| Cause::invalid(format!("{at}.service.name"), &service["name"], why)));
    }
    let port = &service["port"];
    let (port_name, number) = (text(port, "name"), port["number"].as_i64().unwrap_or(0));
    match (port_name.is_empty(), number) {
        (false, 1..) => causes.push(Cause::invalid(at, &empty, "cannot set both port name & port number")),
        (false, _) => {
            let problems = names::port_name(port_name).into_iter();
            causes.extend(
                problems.map(|why| Cause::invalid(format!("{at}.service.port.name"), &port["name"], why)),
            );
        }
        (true, 0) => causes.push(Cause::required(at, "port name or number is required")),
        (true, number) if !(1..=65535).contains(&number) => {
            causes.push(Cause::invalid(format!("{at}.service.port.number"), &port["number"], PORT_RANGE));
        }
        (true, _) => {}
    }
    causes
}

/// Problems of a `NetworkPolicy`.
pub(super) fn policy(object: &Value) -> Vec<Cause> {
    let spec = &object["spec"];
    let mut causes = workload::selector(&spec["podSelector"], "spec.podSelector");
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (position, rule) in list(spec, direction).iter().enumerate() {
            let at = format!("spec.{direction}[{position}]");
            for (position, rule_port) in list(rule, "ports").iter().enumerate() {
                if let Some(value) = rule_port.get("port") {
                    causes.extend(port(value, &format!("{at}.ports[{position}].port")));
                }
            }
            for (position, peer) in list(rule, peers).iter().enumerate() {
                let at = format!("{at}.{peers}[{position}]");
                let given = peer.as_object().map_or(0, serde_json::Map::len);
                if given == 0 {
                    causes.push(Cause::required(at, "must specify a peer"));
                } else if peer.get("ipBlock").is_some() && given > 1 {
                    causes.push(Cause::forbidden(at, "may not specify both ipBlock and another peer"));
                }
            }
        }
    }
    let kinds = ["Ingress", "Egress"];
    if list(spec, "policyTypes").len() > 2 {
        causes.push(Cause::invalid(
            "spec.policyTypes",
            &spec["policyTypes"],
            "may not specify more than two policyTypes",
        ));
        return causes;
    }
    for (position, kind) in list(spec, "policyTypes").iter().enumerate() {
        if !kinds.contains(&kind.as_str().unwrap_or_default()) {
            causes.push(Cause::unsupported_in_order(format!("spec.policyTypes[{position}]"), kind, &kinds));
        }
    }
    causes
}
