//! The environment of a container, as its manifest describes it.
//!
//! The rules are those of Kubernetes: `envFrom` first, `env` over it, `$(NAME)` stands for what was defined
//! before (<https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/>).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};
use kube::{Api, Client};

/// Names and values of an environment; they may be secret and are never printed.
pub(crate) type Environment = BTreeMap<String, String>;

/// Why an environment cannot be put together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvironmentError {
    #[error("{kind} {name:?} not found")]
    Missing { kind: &'static str, name: String },
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    MissingKey { kind: &'static str, namespace: String, name: String, key: String },
    #[error("key {key} in {kind} {name:?} is no text, so it cannot be a variable")]
    NotText { kind: &'static str, name: String, key: String },
    #[error("variable {variable:?} refers to the field {path:?}, which the embedded cluster does not offer")]
    Field { variable: String, path: String },
    #[error("variable {variable:?} refers to a resource, and processes have no limits to refer to")]
    Resource { variable: String },
    #[error("the API did not answer")]
    Api {
        #[source]
        source: kube::Error,
    },
}

/// Every Secret and ConfigMap that a container refers to, where it exists.
#[derive(Default)]
pub(crate) struct Sources {
    secrets: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    config_maps: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
}

impl Sources {
    /// Reads what the container refers to.
    pub(crate) async fn read(
        client: &Client,
        namespace: &str,
        container: &Container,
    ) -> Result<Self, EnvironmentError> {
        let api = |source| EnvironmentError::Api { source };
        let (mut secret_names, mut config_names) = (BTreeSet::new(), BTreeSet::new());
        for source in container.env_from.iter().flatten() {
            secret_names.extend(source.secret_ref.as_ref().map(|held| held.name.clone()));
            config_names.extend(source.config_map_ref.as_ref().map(|held| held.name.clone()));
        }
        for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            secret_names.extend(source.secret_key_ref.as_ref().map(|held| held.name.clone()));
            config_names.extend(source.config_map_key_ref.as_ref().map(|held| held.name.clone()));
        }
        let mut sources = Self::default();
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        for name in secret_names {
            if let Some(secret) = secrets.get_opt(&name).await.map_err(api)? {
                let data = secret.data.unwrap_or_default();
                sources.secrets.insert(name, data.into_iter().map(|(key, value)| (key, value.0)).collect());
            }
        }
        let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        for name in config_names {
            if let Some(map) = config_maps.get_opt(&name).await.map_err(api)? {
                let text =
                    map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
                let binary =
                    map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
                sources.config_maps.insert(name, text.chain(binary).collect());
            }
        }
        Ok(sources)
    }
}

/// Puts the environment of a container together. `port` is the `PORT` that the runtime gives it; it stands
/// whatever the manifest says, since nothing else is free.
pub(crate) fn environment(
    container: &Container,
    pod: &Pod,
    sources: &Sources,
    port: Option<u16>,
) -> Result<Environment, EnvironmentError> {
    let mut env = Environment::new();
    let port = port.map(|port| port.to_string());
    let put = |env: &mut Environment, name: &str, value: String| {
        let value = if name == "PORT" { port.clone().unwrap_or(value) } else { value };
        env.insert(name.to_owned(), value);
    };
    if port.is_some() {
        put(&mut env, "PORT", String::new());
    }
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let secret =
            source.secret_ref.as_ref().map(|held| ("secret", &held.name, held.optional, &sources.secrets));
        let map = source
            .config_map_ref
            .as_ref()
            .map(|held| ("configmap", &held.name, held.optional, &sources.config_maps));
        let Some((kind, name, optional, held)) = secret.or(map) else { continue };
        match held.get(name) {
            Some(data) => {
                for (key, value) in data.iter().filter(|(key, _)| is_name(key)) {
                    put(&mut env, &format!("{prefix}{key}"), text(kind, name, key, value)?);
                }
            }
            None if optional == Some(true) => {}
            None => return Err(EnvironmentError::Missing { kind, name: name.clone() }),
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => Some(expand(variable.value.as_deref().unwrap_or_default(), &env)),
            Some(source) => referred(&variable.name, source, pod, sources)?,
        };
        if let Some(value) = value {
            put(&mut env, &variable.name, value);
        }
    }
    Ok(env)
}

/// Replaces `$(NAME)` by the value of NAME where that is defined; `$$` is an escaped `$`.
pub(crate) fn expand(text: &str, env: &Environment) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            match env.get(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    expanded
}

fn referred(
    variable: &str,
    source: &EnvVarSource,
    pod: &Pod,
    sources: &Sources,
) -> Result<Option<String>, EnvironmentError> {
    if let Some(field) = &source.field_ref {
        return field_value(variable, &field.field_path, pod).map(Some);
    }
    let secret = source
        .secret_key_ref
        .as_ref()
        .map(|held| ("secret", &held.name, &held.key, held.optional, &sources.secrets));
    let map = source
        .config_map_key_ref
        .as_ref()
        .map(|held| ("configmap", &held.name, &held.key, held.optional, &sources.config_maps));
    let Some((kind, name, key, optional, held)) = secret.or(map) else {
        return Err(EnvironmentError::Resource { variable: variable.to_owned() });
    };
    let found = held.get(name);
    match found.and_then(|data| data.get(key)) {
        Some(value) => text(kind, name, key, value).map(Some),
        None if optional == Some(true) => Ok(None),
        None if found.is_none() => Err(EnvironmentError::Missing { kind, name: name.clone() }),
        None => Err(EnvironmentError::MissingKey {
            kind,
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: name.clone(),
            key: key.clone(),
        }),
    }
}

fn field_value(variable: &str, path: &str, pod: &Pod) -> Result<String, EnvironmentError> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let address = || pod.status.as_ref().and_then(|status| status.pod_ip.clone());
    let keyed = |field: &str, map: &Option<BTreeMap<String, String>>| {
        let key = path.strip_prefix(field)?.strip_prefix("['")?.strip_suffix("']")?;
        Some(map.as_ref().and_then(|map| map.get(key).cloned()).unwrap_or_default())
    };
    let value = match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
        "spec.serviceAccountName" => {
            Some(spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default())
        }
        "status.podIP" | "status.podIPs" | "status.hostIP" | "status.hostIPs" => {
            Some(address().unwrap_or("127.0.0.1".to_owned()))
        }
        _ => keyed("metadata.labels", &meta.labels)
            .or_else(|| keyed("metadata.annotations", &meta.annotations)),
    };
    value.ok_or_else(|| EnvironmentError::Field { variable: variable.to_owned(), path: path.to_owned() })
}

fn text(kind: &'static str, name: &str, key: &str, value: &[u8]) -> Result<String, EnvironmentError> {
    let text = std::str::from_utf8(value).ok().filter(|text| !text.contains('\0'));
    let not_text = || EnvironmentError::NotText { kind, name: name.to_owned(), key: key.to_owned() };
    text.map(ToOwned::to_owned).ok_or_else(not_text)
}

/// Whether a key of a Secret or ConfigMap can be the name of a variable; others are left out, as in Kubernetes.
fn is_name(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'=')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn build(container: &Value) -> Result<Environment, EnvironmentError> {
        let container: Container = serde_json::from_value(container.clone()).unwrap();
        let pod = json!({"metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let mut sources = Sources::default();
        let entry = |key: &str, value: &str| (key.to_owned(), value.as_bytes().to_vec());
        sources.secrets.insert("keys".to_owned(), [entry("token", "s3cret"), entry("other", "x")].into());
        sources.config_maps.insert("settings".to_owned(), [entry("MODE", "fast")].into());
        environment(&container, &pod, &sources, Some(20001))
    }

    #[test]
    fn variables_come_from_values_secrets_maps_and_the_pod() {
        let env = build(&json!({"name": "web",
        "envFrom": [{"prefix": "K_", "secretRef": {"name": "keys"}}, {"configMapRef": {"name": "settings"}},
            {"secretRef": {"name": "absent", "optional": true}}],
        "env": [
            {"name": "PORT", "value": "3000"},
            {"name": "URL", "value": "http://localhost:$(PORT)/$(MODE)/$(ABSENT)/$$(PORT)/$5"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "absent", "optional": true}}},
        ]}));
        let lines: Vec<_> = env.unwrap().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        APP=web
        K_other=x
        K_token=s3cret
        MODE=fast
        POD=web-1
        PORT=20001
        TOKEN=s3cret
        URL=http://localhost:20001/fast/$(ABSENT)/$(PORT)/$5
        ");
    }

    #[test]
    fn what_is_missing_is_named() {
        let refer = |source: &Value| {
            build(&json!({"name": "web", "env": [{"name": "A", "valueFrom": source}]}))
                .unwrap_err()
                .to_string()
        };
        insta::assert_snapshot!(refer(&json!({"secretKeyRef": {"name": "absent", "key": "a"}})), @r#"secret "absent" not found"#);
        insta::assert_snapshot!(
            refer(&json!({"secretKeyRef": {"name": "keys", "key": "a"}})), @"couldn't find key a in secret shop/keys");
        insta::assert_snapshot!(
            refer(&json!({"fieldRef": {"fieldPath": "spec.magic"}})),
            @r#"variable "A" refers to the field "spec.magic", which the embedded cluster does not offer"#);
    }
}
