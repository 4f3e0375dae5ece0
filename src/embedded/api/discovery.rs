//! What is served: versions, groups, resources, and the server's own health.

use super::answer::{self, Body, Form};
use super::route::Route;
use crate::embedded::kinds::{KINDS, Kind};
use crate::embedded::status::Refusal;
use http::{HeaderValue, Response, header};
use serde_json::{Value, json};

/// Answers a route that names no resource.
pub(super) fn answer(route: &Route, form: Form) -> Result<Response<Body>, Refusal> {
    Ok(match route {
        Route::Version => answer::json(200, &version()),
        Route::Healthy => answer::text(200, "ok"),
        Route::CoreVersions if form == Form::Discovery => aggregated(&[""]),
        Route::CoreVersions => answer::json(
            200,
            &json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        ),
        Route::Groups if form == Form::Discovery => aggregated(&groups()),
        Route::Groups => {
            let all: Vec<Value> = groups().into_iter().map(group).collect();
            answer::json(200, &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all}))
        }
        Route::Group(name) if groups().contains(&name.as_str()) => {
            let mut found = group(name);
            let mut typed = json!({"kind": "APIGroup", "apiVersion": "v1"});
            if let (Some(typed), Some(found)) = (typed.as_object_mut(), found.as_object_mut()) {
                typed.append(found);
            }
            answer::json(200, &typed)
        }
        Route::Resources(api_version) if served(api_version) => answer::json(200, &resources(api_version)),
        Route::Resources(api_version) => {
            let group = api_version.split_once('/').map_or("", |(group, _)| group);
            if group.is_empty() || groups().contains(&group) {
                return Err(Refusal::no_such_resource());
            }
            nothing()
        }
        Route::UnknownResource => return Err(Refusal::no_such_resource()),
        _ => nothing(),
    })
}

fn nothing() -> Response<Body> {
    answer::text(404, "404 page not found\n")
}

/// The version whose rules are followed. `gitVersion` says whose server this is.
fn version() -> Value {
    json!({
        "major": "1", "minor": "34",
        "emulationMajor": "1", "emulationMinor": "34",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "33",
        "gitVersion": concat!("v1.34.4+branchline.", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc",
        "platform": concat!("linux", "/amd64"),
    })
}

fn served(api_version: &str) -> bool {
    KINDS.iter().any(|kind| kind.api_version == api_version)
}

/// Named groups, in the order of the kinds' table.
fn groups() -> Vec<&'static str> {
    let mut groups: Vec<&str> = Vec::new();
    for kind in KINDS.iter().filter(|kind| !kind.group.is_empty()) {
        if !groups.contains(&kind.group) {
            groups.push(kind.group);
        }
    }
    groups
}

fn of_group(group: &str) -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(move |kind| kind.group == group)
}

fn group(name: &str) -> Value {
    let mut versions: Vec<Value> = of_group(name)
        .map(|kind| json!({"groupVersion": kind.api_version, "version": kind.version}))
        .collect();
    versions.dedup();
    json!({"name": name, "versions": versions, "preferredVersion": versions[0]})
}

const PART_VERBS: [&str; 3] = ["get", "patch", "update"];

/// A kind's subresources: name, group and version and kind of what is exchanged, verbs.
fn parts(kind: &Kind) -> Vec<(&'static str, &'static str, &'static str, &'static str, Vec<&'static str>)> {
    let mut parts = Vec::new();
    if kind.kind == "Pod" {
        parts.push(("log", "", "", "Pod", vec!["get"]));
    }
    if kind.kind == "Namespace" {
        parts.push(("finalize", "", "", "Namespace", vec!["update"]));
    }
    if kind.scale {
        parts.push(("scale", "autoscaling", "v1", "Scale", PART_VERBS.to_vec()));
    }
    if kind.status {
        parts.push(("status", "", "", kind.kind, PART_VERBS.to_vec()));
    }
    parts
}

fn resources(api_version: &str) -> Value {
    let mut list = Vec::new();
    for kind in KINDS.iter().filter(|kind| kind.api_version == api_version) {
        let mut main = json!({
            "name": kind.resource, "singularName": kind.singular, "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": kind.verbs(),
        });
        if !kind.short.is_empty() {
            main["shortNames"] = json!(kind.short);
        }
        if !kind.categories.is_empty() {
            main["categories"] = json!(kind.categories);
        }
        main["storageVersionHash"] = Value::from(kind.storage_hash);
        list.push(main);
        for (name, group, version, part_kind, verbs) in parts(kind) {
            let mut part = json!({
                "name": format!("{}/{name}", kind.resource), "singularName": "", "namespaced": kind.namespaced,
            });
            if !group.is_empty() {
                part["group"] = Value::from(group);
                part["version"] = Value::from(version);
            }
            part["kind"] = Value::from(part_kind);
            part["verbs"] = json!(verbs);
            list.push(part);
        }
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": list})
}

/// Everything in one document, as `kubectl` asks for it first.
fn aggregated(groups: &[&str]) -> Response<Body> {
    let items: Vec<Value> = groups
        .iter()
        .map(|group| {
            let resources: Vec<Value> = of_group(group).map(aggregated_resource).collect();
            let version = of_group(group).next().map_or("v1", |kind| kind.version);
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({
                "metadata": metadata,
                "versions": [{"version": version, "resources": resources, "freshness": "Current"}],
            })
        })
        .collect();
    let document = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    });
    let mut response = answer::json(200, &document);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
    );
    response
}

fn aggregated_resource(kind: &'static Kind) -> Value {
    let none = json!({"group": "", "version": "", "kind": kind.kind});
    let mut resource = json!({
        "resource": kind.resource, "responseKind": none,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "verbs": kind.verbs(),
    });
    if !kind.short.is_empty() {
        resource["shortNames"] = json!(kind.short);
    }
    if !kind.categories.is_empty() {
        resource["categories"] = json!(kind.categories);
    }
    let parts: Vec<Value> = parts(kind)
        .into_iter()
        .map(|(name, group, version, part_kind, verbs)| {
            json!({
                "subresource": name, "verbs": verbs,
                "responseKind": {"group": group, "version": version, "kind": part_kind},
            })
        })
        .collect();
    if !parts.is_empty() {
        resource["subresources"] = Value::Array(parts);
    }
    resource
}
