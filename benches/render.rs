//! Rendering and policy, in objects a second of one core.
//!
//! Goals: 6,000 from changed values, 100,000 where the output is remembered. One service of type `web` with
//! everything in it makes six objects.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use branchline::render::policy::{Rules, check};
use branchline::render::{Manifest, RenderCache, TemplateSet, render};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use serde_json::{Value, json};

const OBJECTS: usize = 6;

fn main() {
    divan::main();
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
    assert_eq!(manifests.len(), OBJECTS);
    assert!(check(manifests, rules).is_empty());
}

/// Every rendering has values that were never seen before.
#[divan::bench]
fn changed_values(bencher: Bencher) {
    let (set, rules, next) = (TemplateSet::builtin(), rules(), AtomicU32::new(1));
    let values = || values(next.fetch_add(1, Ordering::Relaxed));
    bencher.counter(ItemsCount::new(OBJECTS)).with_inputs(values).bench_values(|values| {
        let manifests = render(set, "web", black_box(&values)).expect("renders");
        checked(&manifests, &rules);
    });
}

/// The values were seen before; the policy looks at the objects again.
#[divan::bench]
fn remembered(bencher: Bencher) {
    let (set, rules, cache) = (TemplateSet::builtin(), rules(), RenderCache::new(16));
    let values = values(3);
    cache.render(set, "web", &values).expect("renders");
    bencher.counter(ItemsCount::new(OBJECTS)).bench(|| {
        let manifests = cache.render(set, "web", black_box(&values)).expect("remembered");
        checked(&manifests, &rules);
    });
}

/// The policy alone.
#[divan::bench]
fn policy(bencher: Bencher) {
    let rules = rules();
    let manifests = render(TemplateSet::builtin(), "web", &values(3)).expect("renders");
    bencher.counter(ItemsCount::new(OBJECTS)).bench(|| checked(black_box(&manifests), &rules));
}
