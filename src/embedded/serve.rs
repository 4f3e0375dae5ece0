//! The API on a port: TLS with a certificate made for it, a bearer token, and nobody but this machine.

use super::Embedded;
use super::api::answer::{self, Body};
use super::status::Refusal;
use crate::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Request, Response, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a client may take for its handshake and its headers.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections served at once; more wait in the listener's queue.
const CONNECTIONS: usize = 512;

/// Why the API could not be put on a port.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The certificate could not be made.
    #[error("the certificate of the embedded cluster could not be made")]
    Certificate(#[source] rcgen::Error),
    /// TLS did not take the certificate.
    #[error("TLS for the embedded cluster could not be set up")]
    Tls(#[source] rustls::Error),
}

/// A certificate authority made for one start, and the server certificate that it signed.
pub struct Tls {
    ca_pem: String,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Makes both, for `localhost`, `127.0.0.1` and `::1`.
    ///
    /// # Errors
    /// [`ServeError`]: without a crypto provider there are no keys.
    pub fn generate() -> Result<Self, ServeError> {
        let made = || -> Result<_, rcgen::Error> {
            let ca_key = rcgen::KeyPair::generate()?;
            let mut ca = rcgen::CertificateParams::new(Vec::<String>::new())?;
            ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            ca.distinguished_name.push(rcgen::DnType::CommonName, "branchline embedded cluster");
            ca.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
            let ca_pem = ca.self_signed(&ca_key)?.pem();
            let issuer = rcgen::Issuer::new(ca, ca_key);
            let key = rcgen::KeyPair::generate()?;
            let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
            let mut leaf = rcgen::CertificateParams::new(names.to_vec())?;
            leaf.distinguished_name.push(rcgen::DnType::CommonName, "kube-apiserver");
            leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
            Ok((ca_pem, leaf.signed_by(&key, &issuer)?, key))
        };
        let (ca_pem, leaf, key) = made().map_err(ServeError::Certificate)?;
        let chain: Vec<CertificateDer<'static>> = vec![leaf.der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(ServeError::Tls)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { ca_pem, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

/// The text of a kubeconfig for the API at that address. It holds the token: keep the file at mode 0600.
#[must_use]
pub fn kubeconfig(address: SocketAddr, tls: &Tls, token: &Secret<String>) -> String {
    crate::yaml::write(&json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "branchline",
        "clusters": [{"name": "branchline", "cluster": {
            "server": format!("https://{address}"),
            "certificate-authority-data": STANDARD.encode(&tls.ca_pem),
        }}],
        "users": [{"name": "branchline", "user": {"token": token.expose()}}],
        "contexts": [{"name": "branchline", "context": {"cluster": "branchline", "user": "branchline"}}],
    }))
}

impl Embedded {
    /// Serves the API on a listener until `stop`. Connections run on `tasks`.
    pub async fn serve(
        &self,
        listener: TcpListener,
        tls: &Tls,
        token: Secret<String>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) {
        let room = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
        let token = Arc::new(token);
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(error = %error, "The embedded cluster's listener could not accept a connection.");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (cluster, acceptor) = (self.clone(), tls.acceptor.clone());
            let (token, stop) = (Arc::clone(&token), stop.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = cluster.connection(stream, acceptor, token) => {}
                }
                drop(place);
            });
        }
    }

    async fn connection(&self, stream: TcpStream, acceptor: TlsAcceptor, token: Arc<Secret<String>>) {
        // watchers want their lines now; a stream that is gone shows itself when it is used
        let _ = stream.set_nodelay(true);
        let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await else { return };
        let cluster = self.clone();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let (cluster, token) = (cluster.clone(), Arc::clone(&token));
            async move { Ok::<_, Infallible>(cluster.guarded(request, &token).await) }
        });
        let mut server = auto::Builder::new(TokioExecutor::new());
        server.http1().timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(PATIENCE);
        server.http2().timer(hyper_util::rt::TokioTimer::new()).max_concurrent_streams(256);
        // a client that hangs up in the middle is its own business
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    }

    async fn guarded(&self, request: Request<Incoming>, token: &Secret<String>) -> Response<Body> {
        let host = request.uri().host().map(str::to_owned).or_else(|| host_header(request.headers()));
        if !host.is_some_and(|host| is_loopback(&host)) {
            return answer::refusal(&Refusal::foreign_host());
        }
        // kubectl and controllers send none; a page in a browser always does
        if request.headers().contains_key(header::ORIGIN) {
            return answer::refusal(&Refusal::foreign_origin());
        }
        if !authorized(request.headers(), token.expose()) {
            return answer::refusal(&Refusal::unauthorized());
        }
        self.0.handle(request).await
    }
}

fn host_header(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let authority: http::uri::Authority = host.parse().ok()?;
    Some(authority.host().to_owned())
}

/// A page in a browser reaches this port under a name of its own; only names of this machine are answered.
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn authorized(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    aws_lc_rs::constant_time::verify_slices_are_equal(given.as_bytes(), token.as_bytes()).is_ok()
}
