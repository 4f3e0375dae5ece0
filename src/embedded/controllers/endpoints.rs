//! Service → `EndpointSlices` and Endpoints: where the ready pods of a Service listen.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort as CorePort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
    ServicePort,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::change::{Change, Part};
use super::deployment::Decision;
use super::owner;
use super::pods::{is_finished, is_ready, real_port};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";

/// What the API holds around one Service.
pub(crate) struct View {
    pub(crate) service: Arc<Service>,
    /// The pods of its namespace.
    pub(crate) pods: Vec<Arc<Pod>>,
    /// The slices of its namespace.
    pub(crate) slices: Vec<Arc<EndpointSlice>>,
    /// The Endpoints of its name.
    pub(crate) endpoints: Option<Arc<Endpoints>>,
}

/// Decides how the endpoints of a Service are to be written down.
///
/// Pods that listen on different ports stand in different slices, as in Kubernetes where a named port differs
/// between pods; here that is the rule, since processes share the ports of one machine.
pub(crate) fn decide(view: &View) -> Decision {
    let mut decision = Decision::default();
    let service = &view.service;
    if selector(service).is_none() || service.metadata.deletion_timestamp.is_some() {
        // endpoints of a Service without a selector are somebody else's to write
        return decision;
    }
    let mut groups: BTreeMap<Vec<Port>, Vec<Endpoint>> = BTreeMap::new();
    for pod in view.pods.iter().filter(|pod| selects(service, pod)) {
        if let Some(endpoint) = endpoint(service, pod) {
            groups.entry(ports(service, pod)).or_default().push(endpoint);
        }
    }
    write_endpoints(&mut decision, view, &groups);
    write_slices(&mut decision, view, groups);
    decision
}

/// Whether the Service leads to that pod.
pub(crate) fn selects(service: &Service, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    let has = |(name, value): (&String, &String)| labels.and_then(|all| all.get(name)) == Some(value);
    !is_finished(pod) && selector(service).is_some_and(|selector| selector.iter().all(has))
}

fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    service.spec.as_ref()?.selector.as_ref().filter(|all| !all.is_empty())
}

/// Deletes the Endpoints of a Service that is no more; its slices go by their owner reference.
pub(crate) fn abandon(endpoints: Option<&Endpoints>) -> Decision {
    let mut decision = Decision::default();
    if let Some(endpoints) = endpoints.filter(|held| held.metadata.deletion_timestamp.is_none()) {
        decision.write(Change::delete(endpoints));
    }
    decision
}

/// A port of a Service as one pod serves it: name, protocol, number.
type Port = (String, String, u16);

fn ports(service: &Service, pod: &Pod) -> Vec<Port> {
    let asked = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let served = asked.iter().filter_map(|port| {
        let number = real_port(pod, target(port, pod)?);
        Some((
            port.name.clone().unwrap_or_default(),
            port.protocol.clone().unwrap_or("TCP".to_owned()),
            number,
        ))
    });
    served.collect()
}

/// The `containerPort` that a port of a Service leads to.
pub(crate) fn target(port: &ServicePort, pod: &Pod) -> Option<u16> {
    match port.target_port.as_ref() {
        None | Some(IntOrString::Int(0)) => u16::try_from(port.port).ok(),
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok(),
        Some(IntOrString::String(name)) => {
            let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
            let mut ports =
                containers.iter().flat_map(|container| container.ports.as_deref().unwrap_or_default());
            let named = ports.find(|held| held.name.as_ref() == Some(name))?;
            u16::try_from(named.container_port).ok()
        }
    }
}

fn endpoint(service: &Service, pod: &Pod) -> Option<Endpoint> {
    let address = pod.status.as_ref()?.pod_ip.clone()?;
    let leaving = pod.metadata.deletion_timestamp.is_some();
    let serving = is_ready(pod);
    let always = service.spec.as_ref().is_some_and(|spec| spec.publish_not_ready_addresses == Some(true));
    Some(Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(always || (serving && !leaving)),
            serving: Some(serving),
            terminating: Some(leaving),
        }),
        node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    })
}

fn write_slices(decision: &mut Decision, view: &View, groups: BTreeMap<Vec<Port>, Vec<Endpoint>>) {
    let service = &view.service;
    let mut held: Vec<_> = view
        .slices
        .iter()
        .filter(|slice| {
            let labels = slice.metadata.labels.as_ref();
            let label = |name: &str| labels.and_then(|labels| labels.get(name)).map(String::as_str);
            label(SERVICE_NAME) == service.metadata.name.as_deref() && label(MANAGED_BY) == Some(MANAGER)
        })
        .cloned()
        .collect();
    let mut missing = Vec::new();
    for (ports, endpoints) in groups {
        let ports = slice_ports(&ports);
        match held.iter().position(|slice| slice.ports.as_deref().unwrap_or_default() == ports) {
            Some(found) => {
                let slice = held.swap_remove(found);
                if slice.endpoints != endpoints {
                    decision.write(Change::merge(&*slice, Part::Object, json!({"endpoints": endpoints})));
                }
            }
            None => missing.push((ports, endpoints)),
        }
    }
    for (ports, endpoints) in missing {
        decision.write(Change::Create(Box::new(slice(service, ports, endpoints))));
    }
    for slice in held {
        decision.write(Change::delete(&*slice));
    }
}

fn slice_ports(ports: &[Port]) -> Vec<EndpointPort> {
    let port = |(name, protocol, port): &Port| EndpointPort {
        app_protocol: None,
        name: Some(name.clone()),
        port: Some(i32::from(*port)),
        protocol: Some(protocol.clone()),
    };
    ports.iter().map(port).collect()
}

fn slice(service: &Service, ports: Vec<EndpointPort>, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let name = service.metadata.name.clone().unwrap_or_default();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), name.clone());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    EndpointSlice {
        address_type: "IPv4".to_owned(),
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![owner::reference(service)]),
            ..ObjectMeta::default()
        },
        endpoints,
        ports: Some(ports),
    }
}

fn write_endpoints(decision: &mut Decision, view: &View, groups: &BTreeMap<Vec<Port>, Vec<Endpoint>>) {
    let subsets: Vec<EndpointSubset> = groups.iter().filter_map(|(ports, all)| subset(ports, all)).collect();
    match &view.endpoints {
        Some(held) if held.subsets.as_deref().unwrap_or_default() == subsets => {}
        Some(held) => {
            decision.write(Change::merge(&**held, Part::Object, json!({"subsets": subsets})));
        }
        None => decision.write(Change::Create(Box::new(Endpoints {
            metadata: ObjectMeta {
                name: view.service.metadata.name.clone(),
                namespace: view.service.metadata.namespace.clone(),
                labels: view.service.metadata.labels.clone(),
                ..ObjectMeta::default()
            },
            subsets: Some(subsets),
        }))),
    }
}

fn subset(ports: &[Port], endpoints: &[Endpoint]) -> Option<EndpointSubset> {
    let is = |state: fn(&EndpointConditions) -> Option<bool>, endpoint: &Endpoint| {
        endpoint.conditions.as_ref().and_then(state) == Some(true)
    };
    let address = |endpoint: &Endpoint| EndpointAddress {
        ip: endpoint.addresses.first().cloned().unwrap_or_default(),
        node_name: endpoint.node_name.clone(),
        target_ref: endpoint.target_ref.clone(),
        hostname: None,
    };
    let staying = || endpoints.iter().filter(|endpoint| !is(|state| state.terminating, endpoint));
    let ready: Vec<_> = staying().filter(|endpoint| is(|state| state.ready, endpoint)).map(address).collect();
    let waiting: Vec<_> =
        staying().filter(|endpoint| !is(|state| state.ready, endpoint)).map(address).collect();
    if ready.is_empty() && waiting.is_empty() {
        return None;
    }
    let port = |(name, protocol, port): &Port| CorePort {
        app_protocol: None,
        name: (!name.is_empty()).then(|| name.clone()),
        port: i32::from(*port),
        protocol: Some(protocol.clone()),
    };
    Some(EndpointSubset {
        addresses: (!ready.is_empty()).then_some(ready),
        not_ready_addresses: (!waiting.is_empty()).then_some(waiting),
        ports: Some(ports.iter().map(port).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, real: u16, ready: &str) -> Arc<Pod> {
        let value = json!({
            "metadata": {"name": name, "namespace": "shop", "labels": {"app": "web"},
                "annotations": {"branchline.dev/ports": format!("{{\"3000\": {real}}}")}},
            "spec": {"containers": [{"name": "web", "ports": [{"name": "http", "containerPort": 3000}]}]},
            "status": {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": ready}]},
        });
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn view(pods: Vec<Arc<Pod>>) -> View {
        let service = json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "s"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
        });
        let service = Arc::new(serde_json::from_value(service).unwrap());
        View { service, pods, slices: Vec::new(), endpoints: None }
    }

    fn created(decision: &Decision) -> Vec<(i32, bool)> {
        let slices = decision.writes.iter().filter_map(|write| match write {
            super::super::change::Write::EndpointSlice(Change::Create(slice)) => Some(slice),
            _ => None,
        });
        let summary = |slice: &EndpointSlice| {
            let port = slice.ports.as_ref().unwrap()[0].port.unwrap();
            (port, slice.endpoints[0].conditions.as_ref().unwrap().ready.unwrap())
        };
        slices.map(|slice| summary(slice)).collect()
    }

    #[test]
    fn each_pod_is_reached_on_the_port_it_really_has() {
        let decision = decide(&view(vec![pod("a", 20001, "True"), pod("b", 20002, "False")]));
        assert_eq!(created(&decision), [(20001, true), (20002, false)]);
    }

    #[test]
    fn a_pod_that_leaves_is_no_longer_ready() {
        let mut leaving = (*pod("a", 20001, "True")).clone();
        leaving.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(created(&decide(&view(vec![Arc::new(leaving)]))), [(20001, false)]);
    }

    #[test]
    fn what_stands_is_not_written_again() {
        let mut view = view(vec![pod("a", 20001, "True")]);
        for write in decide(&view).writes {
            match write {
                super::super::change::Write::EndpointSlice(Change::Create(slice)) => {
                    view.slices.push(Arc::new(*slice));
                }
                super::super::change::Write::Endpoints(Change::Create(held)) => {
                    view.endpoints = Some(Arc::new(*held));
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(decide(&view).writes.is_empty());
    }
}
