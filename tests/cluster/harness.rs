//! The servers that a story runs against, and raw requests to them.
//!
//! [`servers`] gives the embedded API always, and the server of `KUBECONFIG` when `BRANCHLINE_TEST_REQUIRE` names
//! `kubernetes`. Each gives a namespace of the story's own, which is deleted afterwards.

use branchline::clock::Clock;
use branchline::embedded::{Embedded, EmbeddedOptions, KeepNothing};
use http::{Method, Request};
use kube::client::Body;
use serde_json::{Value, json};
use std::future::Future;
use std::sync::Arc;

/// A server and the story's namespace on it.
pub(crate) struct World {
    /// `embedded` or `real`.
    pub(crate) server: &'static str,
    /// A client of it.
    pub(crate) client: kube::Client,
    /// The story's namespace.
    pub(crate) namespace: String,
}

/// An answer: its code and its body.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
    pub(crate) warnings: Vec<String>,
}

impl Answer {
    /// The Status' reason, message and causes, for comparing.
    pub(crate) fn refusal(&self) -> Value {
        let causes = self.body["details"]["causes"].clone();
        json!({"code": self.code, "reason": self.body["reason"], "message": self.body["message"], "causes": causes})
    }

    /// The body, where the request succeeded.
    #[track_caller]
    pub(crate) fn ok(&self) -> &Value {
        assert!((200..300).contains(&self.code), "{} {}", self.code, self.body);
        &self.body
    }

    /// Asserts the code and the reason of a refusal.
    #[track_caller]
    pub(crate) fn refused(&self, code: u16, reason: &str) -> &Value {
        assert_eq!((self.code, self.body["reason"].as_str()), (code, Some(reason)), "{}", self.body);
        &self.body
    }
}

/// Media types of patches.
pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

impl World {
    /// The path of a collection in the story's namespace: `configmaps`, `apps/v1/deployments`.
    pub(crate) fn path(&self, resource: &str) -> String {
        let namespace = &self.namespace;
        match resource.rsplit_once('/') {
            Some((group, resource)) if group != "v1" => {
                format!("/apis/{group}/namespaces/{namespace}/{resource}")
            }
            Some((_, resource)) => format!("/api/v1/namespaces/{namespace}/{resource}"),
            None => format!("/api/v1/namespaces/{namespace}/{resource}"),
        }
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn send(&self, method: Method, path: &str, media_type: &str, body: Vec<u8>) -> Answer {
        self.send_as(method, path, media_type, "application/json", body).await
    }

    /// Sends a request that accepts `accept`.
    pub(crate) async fn send_as(
        &self,
        method: Method,
        path: &str,
        media_type: &str,
        accept: &str,
        body: Vec<u8>,
    ) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", media_type)
            .header("accept", accept)
            .header("user-agent", "story/1.0")
            .body(Body::from(body))
            .unwrap();
        let response = self.client.send(request).await.unwrap();
        let code = response.status().as_u16();
        let warnings = response.headers().get_all("warning").iter();
        let warnings = warnings.map(|value| value.to_str().unwrap().to_owned()).collect();
        let bytes = response.into_body().collect_bytes().await.unwrap();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { code, body, warnings }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "application/json", Vec::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, "application/json", body.to_string().into_bytes()).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, "application/json", body.to_string().into_bytes()).await
    }

    pub(crate) async fn patch(&self, path: &str, media_type: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, media_type, body.to_string().into_bytes()).await
    }

    pub(crate) async fn delete(&self, path: &str, options: &Value) -> Answer {
        let body = if options.is_null() { Vec::new() } else { options.to_string().into_bytes() };
        self.send(Method::DELETE, path, "application/json", body).await
    }

    /// Server-side apply as that manager; `options` are more query parameters: `&force=true`.
    pub(crate) async fn apply(&self, resource: &str, manager: &str, options: &str, object: &Value) -> Answer {
        let name = object["metadata"]["name"].as_str().unwrap();
        let path = format!("{}/{name}?fieldManager={manager}{options}", self.path(resource));
        self.patch(&path, APPLY, object).await
    }
}

/// Runs a story on every server there is, one after the other.
pub(crate) fn on_every_server<F, S>(name: &str, story: S)
where
    F: Future<Output = ()>,
    S: Fn(Arc<World>) -> F,
{
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for (server, client) in servers().await {
            let namespace = format!("story-{name}-{}", suffix());
            let world = Arc::new(World { server, client, namespace });
            let body =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": world.namespace}});
            world.post("/api/v1/namespaces", &body).await.ok();
            story(Arc::clone(&world)).await;
            world.delete(&format!("/api/v1/namespaces/{}", world.namespace), &Value::Null).await.ok();
        }
    });
}

/// A new embedded cluster.
pub(crate) async fn embedded() -> Embedded {
    let options = EmbeddedOptions { clock: Clock::system(), state: Arc::new(KeepNothing) };
    Embedded::new(options).await.unwrap()
}

/// Whether the environment demands the real server.
pub(crate) fn real_server_required() -> bool {
    std::env::var("BRANCHLINE_TEST_REQUIRE").unwrap_or_default().split(',').any(|name| name == "kubernetes")
}

/// The embedded API, and the real one where it is demanded.
pub(crate) async fn servers() -> Vec<(&'static str, kube::Client)> {
    let mut servers = vec![("embedded", embedded().await.client())];
    if real_server_required() {
        let client = kube::Client::try_default().await.expect("KUBECONFIG names the server to compare with");
        servers.push(("real", client));
    }
    servers
}

/// What no other run is named by.
pub(crate) fn suffix() -> String {
    uuid::Uuid::now_v7().simple().to_string()[20..].to_owned()
}

/// What differs between two runs, or two servers, taken out of an object: times, identities, versions, and
/// the order of keys.
pub(crate) fn comparable(object: &Value) -> Value {
    let mut object = object.clone();
    scrub(&mut object);
    object
}

fn scrub(value: &mut Value) {
    const VOLATILE: [&str; 8] = [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "time",
        "namespace",
        "deletionTimestamp",
        "clusterIP",
        "clusterIPs",
    ];
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !VOLATILE.contains(&key.as_str()));
            map.sort_keys();
            map.values_mut().for_each(scrub);
        }
        Value::Array(list) => list.iter_mut().for_each(scrub),
        _ => {}
    }
}
