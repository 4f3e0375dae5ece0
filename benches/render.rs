//! Rendering and policy, in objects a second of one core.
//!
//! Goals: 6,000 from changed values, 100,000 where the output is remembered. One service of type `web` with
//! everything in it makes six objects.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::cell::Cell;
use std::collections::BTreeSet;

use branchline::render::policy::{Rules, check};
use branchline::render::{Manifest, RenderCache, TemplateSet, render};
use serde_json::{Value, json};

use crate::common::rate;

const OBJECTS: u32 = 6;

fn main() -> anyhow::Result<()> {
    println!("render and policy, no server: one service of type `web` makes {OBJECTS} objects");
    measure()
}

fn values(replicas: u32) -> Value {
    json!({
        "project": {"name": "shop"},
        "environment": {"name": "production"},
        "namespace": "shop-production",
        "name": "api",
        "image": format!("registry.example.com/shop@sha256:{replicas:064x}"),
        "labels": {"team": "checkout"},
        "env": [
            {"name": "LOG_LEVEL", "value": "info"},
            {"name": "DATABASE_URL", "secret": {"name": "db", "key": "url"}},
        ],
        "ingresses": [{"host": "api.shop.example.com", "path": "/"}],
        "service": {
            "name": "api", "type": "web", "replicas": replicas, "command": ["npm", "start"],
            "ports": [{"name": "http", "port": 3000}],
            "resources": {"requests": {"cpu": "200m", "memory": "256Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}},
            "autoscaling": {"minReplicas": 3, "maxReplicas": 10, "targetCPUUtilizationPercentage": 70},
            "disruption": {"minAvailable": 2},
            "healthCheck": {"path": "/health"},
        },
    })
}

fn rules() -> Rules {
    let mut rules = Rules::new("shop-production");
    rules.hosts = BTreeSet::from(["api.shop.example.com".to_owned()]);
    rules
}

fn checked(manifests: &[Manifest], rules: &Rules) {
    assert_eq!(manifests.len(), OBJECTS as usize);
    assert!(check(manifests, rules).is_empty());
}

fn measure() -> anyhow::Result<()> {
    let (set, rules, next) = (TemplateSet::builtin(), rules(), Cell::new(1));
    let another = || {
        next.set(next.get() + 1);
        values(next.get())
    };
    let render_anew = |values: Value| checked(&render(set, "web", &values).expect("renders"), &rules);
    rate("objects from changed values", (OBJECTS, 2000), "goal: 6,000", another, render_anew)?;
    let cache = RenderCache::new(16);
    let known = values(3);
    cache.render(set, "web", &known).expect("renders");
    let remembered = |()| checked(&cache.render(set, "web", &known).expect("remembered"), &rules);
    rate("objects whose output is remembered", (OBJECTS, 10_000), "goal: 100,000", || (), remembered)?;
    let manifests = render(set, "web", &known).expect("renders");
    rate(
        "objects for the policy alone",
        (OBJECTS, 10_000),
        "part of both",
        || (),
        |()| checked(&manifests, &rules),
    )
}
