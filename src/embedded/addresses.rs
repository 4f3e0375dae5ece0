//! Addresses of Services: which are taken, and which the next one gets.
//!
//! The range is 10.96.0.0/16, as the test bed's. On one machine nobody routes it; it stands in the objects because
//! clients expect it. Node ports come from 30000–32767.

use super::kinds::{Kind, named};
use super::status::Cause;
use super::storage::{Storage, Stored};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = u32::from_be_bytes([10, 96, 0, 2]);
const RANGE: u32 = 0xFFFD;
const PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;

/// Hands out addresses.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// Where the search for a free address goes on.
    next: AtomicU32,
}

impl Addresses {
    pub(crate) fn new() -> Self {
        Self { next: AtomicU32::new(0) }
    }

    /// Gives a new Service its addresses and node ports; says what is wrong with those that it asks for.
    pub(crate) fn assign(
        &self,
        kind: &Kind,
        service: &mut Value,
        storage: &Storage,
        dry_run: bool,
    ) -> Vec<Cause> {
        if kind.kind != "Service" {
            return Vec::new();
        }
        let mut causes = Vec::new();
        if service["spec"]["type"] != "ExternalName" {
            let asked = service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
            if asked.is_empty() && !dry_run {
                let address = self.free_address(storage);
                service["spec"]["clusterIP"] = Value::from(address.as_str());
                service["spec"]["clusterIPs"] = json!([address]);
            } else if !asked.is_empty() {
                service["spec"]["clusterIPs"] = json!([asked]);
                causes.extend(refused_address(&asked, storage));
            }
            set_families(service);
        }
        causes.extend(assign_ports(service, None, storage));
        causes
    }

    /// Gives a changed Service what its new type needs, and keeps what it has.
    pub(crate) fn reassign(
        &self,
        kind: &Kind,
        service: &mut Value,
        live: &Value,
        storage: &Storage,
    ) -> Vec<Cause> {
        if kind.kind != "Service" || service["spec"] == live["spec"] {
            return Vec::new();
        }
        if service["spec"]["type"] == "ExternalName" {
            if let Some(spec) = service["spec"].as_object_mut()
                && live["spec"]["type"] != "ExternalName"
            {
                for field in
                    ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]
                {
                    spec.shift_remove(field);
                }
            }
            return Vec::new();
        }
        if service["spec"]["clusterIP"].as_str().unwrap_or_default().is_empty() {
            let address = self.free_address(storage);
            service["spec"]["clusterIP"] = Value::from(address.as_str());
            service["spec"]["clusterIPs"] = json!([address]);
        }
        set_families(service);
        assign_ports(service, Some(live), storage)
    }

    fn free_address(&self, storage: &Storage) -> String {
        let services = services(storage);
        loop {
            let offset = self.next.fetch_add(1, Ordering::Relaxed) % RANGE;
            let address = Ipv4Addr::from(FIRST + offset).to_string();
            // a machine that runs 65,000 Services has run out of everything else before
            if !is_taken(&services, &address) || services.len() >= RANGE as usize {
                return address;
            }
        }
    }
}

/// What an update leaves out of the allocated fields is taken from the live object.
pub(crate) fn keep_allocated(service: &mut Value, live: &Value) {
    let needs = |object: &Value| matches!(object["spec"]["type"].as_str(), Some("NodePort" | "LoadBalancer"));
    drop_dependent(service, live);
    if live["spec"]["type"] == "ExternalName" || service["spec"]["type"] == "ExternalName" {
        return;
    }
    let empty = |value: &Value| value.as_str().is_none_or(str::is_empty);
    if empty(&service["spec"]["clusterIP"])
        && let Some(address) = live["spec"].get("clusterIP")
    {
        service["spec"]["clusterIP"] = address.clone();
    }
    if service["spec"]["clusterIPs"].as_array().is_none_or(Vec::is_empty)
        && let Some(addresses) = live["spec"].get("clusterIPs")
    {
        service["spec"]["clusterIPs"] = addresses.clone();
    }
    // who changes the one name of the address means the other too
    let (address, was) = (&service["spec"]["clusterIP"], &live["spec"]["clusterIP"]);
    if address != was && service["spec"]["clusterIPs"] == live["spec"]["clusterIPs"] && !empty(address) {
        service["spec"]["clusterIPs"] = json!([address]);
    }
    if needs(service) && needs(live) {
        let known: Vec<Value> = live["spec"]["ports"].as_array().cloned().unwrap_or_default();
        for port in service["spec"]["ports"].as_array_mut().into_iter().flatten() {
            if port["nodePort"].as_i64().unwrap_or(0) == 0
                && let Some(same) = known
                    .iter()
                    .find(|other| other["port"] == port["port"] && other["protocol"] == port["protocol"])
                && !same["nodePort"].is_null()
            {
                port["nodePort"] = same["nodePort"].clone();
            }
        }
    }
}

/// What only the old type of a Service used, and the request did not change, goes with it.
fn drop_dependent(service: &mut Value, live: &Value) {
    let kind = service["spec"]["type"].as_str().unwrap_or_default().to_owned();
    if live["spec"]["type"] == kind.as_str() {
        return;
    }
    let external = matches!(kind.as_str(), "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && service["spec"]["externalIPs"].is_array());
    for (field, used) in [
        ("externalTrafficPolicy", external),
        ("allocateLoadBalancerNodePorts", kind == "LoadBalancer"),
        ("loadBalancerClass", kind == "LoadBalancer"),
    ] {
        if !used
            && service["spec"].get(field) == live["spec"].get(field)
            && let Some(spec) = service["spec"].as_object_mut()
        {
            spec.shift_remove(field);
        }
    }
}

fn set_families(service: &mut Value) {
    let spec = &mut service["spec"];
    let selectorless = spec["selector"].as_object().is_none_or(serde_json::Map::is_empty);
    if spec["clusterIP"] == "None" && selectorless && spec["ipFamilyPolicy"].is_null() {
        // nobody allocates for it, so it may be whatever its endpoints are
        spec["ipFamilyPolicy"] = json!("RequireDualStack");
        if spec["ipFamilies"].is_null() {
            spec["ipFamilies"] = json!(["IPv4", "IPv6"]);
        }
    }
    if spec["ipFamilyPolicy"].is_null() {
        spec["ipFamilyPolicy"] = json!("SingleStack");
    }
    if spec["ipFamilies"].as_array().is_none_or(Vec::is_empty) {
        spec["ipFamilies"] = json!(["IPv4"]);
    }
}

fn services(storage: &Storage) -> Vec<Arc<Stored>> {
    storage.list(named("Service"), None, None, None, |_| true).objects
}

fn is_taken(services: &[Arc<Stored>], address: &str) -> bool {
    services.iter().any(|service| service.value["spec"]["clusterIP"] == address)
}

fn refused_address(asked: &str, storage: &Storage) -> Option<Cause> {
    if asked == "None" {
        return None;
    }
    let wrong = |why: &str| Some(Cause::invalid("spec.clusterIPs", &json!([asked]), why));
    let parsed: Option<Ipv4Addr> = asked.parse().ok();
    let in_range = parsed.is_some_and(|address| address.octets()[..2] == [10, 96]);
    if !in_range {
        return wrong(&format!(
            "failed to allocate IP {asked}: the provided network does not match the current range"
        ));
    }
    if is_taken(&services(storage), asked) {
        return wrong(&format!("failed to allocate IP {asked}: provided IP is already allocated"));
    }
    None
}

fn assign_ports(service: &mut Value, live: Option<&Value>, storage: &Storage) -> Vec<Cause> {
    let wanted = matches!(service["spec"]["type"].as_str(), Some("NodePort" | "LoadBalancer"));
    let uid = service["metadata"]["uid"].clone();
    let Some(ports) = service["spec"].get_mut("ports").and_then(Value::as_array_mut) else {
        return Vec::new();
    };
    if !wanted {
        for port in ports {
            if live.is_some()
                && let Some(port) = port.as_object_mut()
            {
                port.shift_remove("nodePort");
            }
        }
        return Vec::new();
    }
    let mut taken: HashSet<u16> = HashSet::new();
    for other in services(storage).iter().filter(|other| other.value["metadata"]["uid"] != uid) {
        for port in other.value["spec"]["ports"].as_array().into_iter().flatten() {
            taken.extend(port["nodePort"].as_u64().and_then(|port| u16::try_from(port).ok()));
        }
    }
    let mut causes = Vec::new();
    for (at, port) in ports.iter_mut().enumerate() {
        let asked = port["nodePort"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
        if asked == 0 {
            if let Some(free) = PORTS.clone().find(|port| !taken.contains(port)) {
                taken.insert(free);
                port["nodePort"] = Value::from(free);
            }
        } else if !PORTS.contains(&asked) {
            let field = format!("spec.ports[{at}].nodePort");
            let why = "provided port is not in the valid range. The range of valid ports is 30000-32767";
            causes.push(Cause::invalid(field, &json!(asked), why));
        } else if !taken.insert(asked) {
            let field = format!("spec.ports[{at}].nodePort");
            causes.push(Cause::invalid(field, &json!(asked), "provided port is already allocated"));
        }
    }
    causes
}
