//! What registries answer for a tag, over a real socket: digests, tokens for anybody, and the troubles in between.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use branchline::build::Registry;
use branchline::name::ImageRef;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

const MANIFEST: &[u8] = br#"{"schemaVersion":2,"layers":[]}"#;
const TOKEN: &str = "a-token-for-anybody";

/// How the registry behaves, and what it was asked.
#[derive(Default)]
struct Behaviour {
    /// Manifests are shown to those with the token only.
    guarded: bool,
    /// The token is given to nobody.
    closed: bool,
    /// It does not state digests.
    silent: bool,
    /// It answers this to everything.
    status: Option<u16>,
    asked: Vec<String>,
}

struct World {
    port: u16,
    behaviour: Arc<Mutex<Behaviour>>,
    registry: Registry,
    _server: AbortOnDropHandle<()>,
}

impl World {
    async fn new(behaviour: Behaviour) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let behaviour = Arc::new(Mutex::new(behaviour));
        let shared = Arc::clone(&behaviour);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let behaviour = Arc::clone(&shared);
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = behaviour.lock().unwrap().answer(port, &request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        let registry = Registry::new().unwrap();
        Self { port, behaviour, registry, _server: AbortOnDropHandle::new(server) }
    }

    /// What an image of this registry is, in words.
    async fn digest(&self, image: &str) -> String {
        let image: ImageRef = format!("127.0.0.1:{}/{image}", self.port).parse().unwrap();
        let found = match self.registry.digest(&image, &[]).await {
            Ok(digest) => digest.to_string(),
            Err(error) => error.to_string(),
        };
        found.replace(&self.port.to_string(), "PORT")
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.behaviour.lock().unwrap().asked)
    }
}

impl Behaviour {
    fn answer(&mut self, port: u16, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let header = |name: &str| {
            request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let uri = request.uri().to_string();
        self.asked.push(format!("{} {uri}", request.method()));
        let answer = Response::builder();
        let empty = || Full::new(Bytes::new());
        if let Some(status) = self.status {
            return answer.status(status).body(empty()).unwrap();
        }
        if uri.starts_with("/token") {
            let body = format!(r#"{{"token":"{TOKEN}","access_token":"{TOKEN}"}}"#);
            let status = if self.closed { 401 } else { 200 };
            return answer.status(status).body(Full::new(body.into())).unwrap();
        }
        if self.guarded && header("authorization") != format!("Bearer {TOKEN}") {
            let challenge = format!(
                r#"Bearer realm="http://127.0.0.1:{port}/token",service="world",scope="repository:acme/web:pull""#
            );
            return answer.status(401).header("www-authenticate", challenge).body(empty()).unwrap();
        }
        assert!(header("accept").contains("application/vnd.oci.image.index.v1+json"), "{uri}");
        match uri.as_str() {
            "/v2/acme/moved/manifests/1" => {
                answer.status(307).header("location", "/v2/acme/web/manifests/1").body(empty()).unwrap()
            }
            "/v2/acme/web/manifests/1" => {
                let answer = if self.silent {
                    answer
                } else {
                    answer.header("docker-content-digest", hash_of_manifest())
                };
                answer.body(Full::new(MANIFEST.into())).unwrap()
            }
            _ => answer.status(404).body(empty()).unwrap(),
        }
    }
}

fn hash_of_manifest() -> String {
    format!("sha256:{}", hex::encode(digest(&SHA256, MANIFEST)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_looked_up_by_one_question_for_its_manifest() {
    let world = World::new(Behaviour::default()).await;
    assert_eq!(world.digest("acme/web:1").await, hash_of_manifest());
    assert_eq!(world.asked(), ["HEAD /v2/acme/web/manifests/1"]);
    let named = format!("acme/web:2@sha256:{}", "7d".repeat(32));
    assert_eq!(world.digest(&named).await, format!("sha256:{}", "7d".repeat(32)));
    assert_eq!(world.asked(), [""; 0], "a digest needs no look");
    assert_eq!(world.digest("acme/moved:1").await, hash_of_manifest());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_states_no_digest_is_asked_for_the_bytes() {
    let world = World::new(Behaviour { silent: true, ..Behaviour::default() }).await;
    assert_eq!(world.digest("acme/web:1").await, hash_of_manifest());
    assert_eq!(world.asked(), ["HEAD /v2/acme/web/manifests/1", "GET /v2/acme/web/manifests/1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_is_given_a_token_where_the_registry_wants_one() {
    let world = World::new(Behaviour { guarded: true, ..Behaviour::default() }).await;
    assert_eq!(world.digest("acme/web:1").await, hash_of_manifest());
    insta::assert_debug_snapshot!(world.asked(), @r#"
    [
        "HEAD /v2/acme/web/manifests/1",
        "GET /token?service=world&scope=repository%3Aacme%2Fweb%3Apull",
        "HEAD /v2/acme/web/manifests/1",
    ]
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_trouble_names_the_image_and_the_way_out() {
    let world = World::new(Behaviour { guarded: true, closed: true, ..Behaviour::default() }).await;
    let mut said = vec![world.digest("acme/web:1").await];
    *world.behaviour.lock().unwrap() = Behaviour::default();
    said.push(world.digest("acme/web:2").await);
    world.behaviour.lock().unwrap().status = Some(503);
    said.push(world.digest("acme/web:1").await);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let image: ImageRef = format!("127.0.0.1:{closed}/acme/web:1").parse().unwrap();
    let unreachable = world.registry.digest(&image, &[]).await.unwrap_err();
    said.push(unreachable.to_string().replace(&closed.to_string(), "PORT"));
    insta::assert_snapshot!(said.join("\n"), @r"
    the registry 127.0.0.1:PORT does not show 127.0.0.1:PORT/acme/web:1 to anybody (401); hint: push that image if it is not there yet, let it be pulled without a login, or name it by its digest
    the registry 127.0.0.1:PORT has no 127.0.0.1:PORT/acme/web:2; hint: push that image, and it is deployed by itself
    the registry 127.0.0.1:PORT answers 503 for 127.0.0.1:PORT/acme/web:1; hint: it is asked again by itself
    the registry 127.0.0.1:PORT does not answer for 127.0.0.1:PORT/acme/web:1; hint: it is asked again by itself; one that speaks plain http stands in registry.insecure of kind Config
    ");
}
