//! From host and path to a Service, as the Ingresses say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend};

use super::super::backends::PortName;
use super::super::cache::{Cache, Key};

/// The routes of all Ingresses, made anew when one has changed.
#[derive(Default)]
pub(super) struct Routes {
    table: Mutex<Option<Arc<Table>>>,
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// To that Service.
    Service(Key, PortName),
    /// The host is known, the path is not.
    NoPath,
    /// The host is not known; these are.
    NoHost(Vec<String>),
}

impl Routes {
    /// Takes in that an Ingress has changed.
    pub(super) fn forget(&self) {
        *self.table.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn find(&self, cache: &Cache, host: &str, path: &str) -> Found {
        self.table(cache).find(host, path)
    }

    fn table(&self, cache: &Cache) -> Arc<Table> {
        let mut held = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        held.get_or_insert_with(|| Arc::new(Table::of(&cache.of::<Ingress>().all()))).clone()
    }
}

/// Hosts and their paths.
#[derive(Debug, Default)]
struct Table(BTreeMap<String, Vec<Rule>>);

#[derive(Debug)]
struct Rule {
    path: String,
    exact: bool,
    service: Key,
    port: PortName,
}

impl Table {
    fn of(ingresses: &[Arc<Ingress>]) -> Self {
        let mut table = Self::default();
        let mut oldest_first: Vec<_> = ingresses.iter().collect();
        oldest_first
            .sort_by_key(|ingress| (ingress.metadata.creation_timestamp.clone(), Key::of(&***ingress)));
        for ingress in oldest_first {
            let namespace = ingress.metadata.namespace.clone().unwrap_or_default();
            let Some(spec) = &ingress.spec else { continue };
            if let Some(backend) = &spec.default_backend {
                table.add("", Rule::of(&namespace, "/", false, backend));
            }
            for rule in spec.rules.iter().flatten() {
                let host = rule.host.clone().unwrap_or_default().to_ascii_lowercase();
                for path in rule.http.iter().flat_map(|http| &http.paths) {
                    table.add(&host, of_path(&namespace, path));
                }
            }
        }
        for rules in table.0.values_mut() {
            // exact before prefix, long before short; of equals the oldest, which sorting keeps in front
            rules.sort_by_key(|rule| (!rule.exact, std::cmp::Reverse(rule.path.len())));
        }
        table
    }

    fn add(&mut self, host: &str, rule: Option<Rule>) {
        if let Some(rule) = rule {
            self.0.entry(host.to_owned()).or_default().push(rule);
        }
    }

    fn find(&self, host: &str, path: &str) -> Found {
        let wildcard = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let named = [Some(host), wildcard.as_deref(), Some("")];
        let mut known = false;
        for rules in named.into_iter().flatten().filter_map(|name| self.0.get(name)) {
            known = true;
            if let Some(rule) = rules.iter().find(|rule| rule.matches(path)) {
                return Found::Service(rule.service.clone(), rule.port.clone());
            }
        }
        if known {
            Found::NoPath
        } else {
            Found::NoHost(self.0.keys().filter(|host| !host.is_empty()).cloned().collect())
        }
    }
}

fn of_path(namespace: &str, path: &HTTPIngressPath) -> Option<Rule> {
    let exact = path.path_type == "Exact";
    Rule::of(namespace, path.path.as_deref().unwrap_or("/"), exact, &path.backend)
}

impl Rule {
    fn of(namespace: &str, path: &str, exact: bool, backend: &IngressBackend) -> Option<Self> {
        let service = backend.service.as_ref()?;
        let port = service.port.as_ref()?;
        let port = match (&port.name, port.number) {
            (Some(name), _) => PortName::Name(name.clone()),
            (None, Some(number)) => PortName::Number(number),
            (None, None) => return None,
        };
        Some(Self { path: path.to_owned(), exact, service: Key::new(namespace, service.name.clone()), port })
    }

    /// Prefixes match whole elements: `/a` matches `/a/b` and not `/ab`.
    fn matches(&self, path: &str) -> bool {
        if self.exact {
            return path == self.path;
        }
        let prefix = self.path.trim_end_matches('/');
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table() -> Table {
        let path = |path: &str, kind: &str, service: &str| json!({"path": path, "pathType": kind, "backend": {"service": {"name": service, "port": {"number": 80}}}});
        let ingress = json!({
            "metadata": {"name": "all", "namespace": "shop"},
            "spec": {"rules": [
                {"host": "web.localhost", "http": {"paths": [
                    path("/", "Prefix", "web"), path("/api", "Prefix", "api"), path("/api", "Exact", "root"),
                ]}},
                {"host": "*.wild.localhost", "http": {"paths": [path("/only", "Prefix", "wild")]}},
            ]},
        });
        Table::of(&[Arc::new(serde_json::from_value(ingress).unwrap())])
    }

    #[test]
    fn the_longest_path_of_the_host_wins() {
        let found = |host: &str, path: &str| match table().find(host, path) {
            Found::Service(key, _) => key.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(found("web.localhost", "/"), "shop/web");
        assert_eq!(found("web.localhost", "/api"), "shop/root");
        assert_eq!(found("web.localhost", "/api/x"), "shop/api");
        assert_eq!(found("web.localhost", "/apix"), "shop/web");
        assert_eq!(found("a.wild.localhost", "/only/x"), "shop/wild");
        assert_eq!(found("a.wild.localhost", "/"), "NoPath");
        assert_eq!(found("other.localhost", "/"), r#"NoHost(["*.wild.localhost", "web.localhost"])"#);
    }
}
