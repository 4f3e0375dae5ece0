//! `git http-backend` behind a small HTTP server: the wire as GitHub and every other host speak it.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// What the server does besides serving.
#[derive(Default)]
pub(crate) struct Behaviour {
    /// The token that it asks for, as the password of HTTP Basic.
    pub(crate) token: Option<String>,
    /// A status that it answers to everything.
    pub(crate) status: Option<u16>,
    /// Paths that begin so have their listings redirected to another address.
    pub(crate) redirect: Option<(String, String)>,
    /// Cuts every pack after so many bytes.
    pub(crate) truncate: Option<usize>,
    /// Never answers.
    pub(crate) hang: bool,
}

/// A request that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
}

/// The server; dropping it ends it.
pub(crate) struct HttpBackend {
    pub(crate) port: u16,
    pub(crate) behaviour: Arc<Mutex<Behaviour>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    _server: AbortOnDropHandle<()>,
}

impl HttpBackend {
    /// Serves the bare repositories of a folder. `None`, with a line that says so, where this Git has no
    /// `http-backend`; a failure where `BRANCHLINE_TEST_REQUIRE` names it.
    pub(crate) async fn serve(folder: &Path) -> Option<Self> {
        let exec = crate::git::git(folder, &["--exec-path"]);
        let program = Path::new(&exec).join("git-http-backend");
        if !program.exists() {
            let required = std::env::var("BRANCHLINE_TEST_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|name| name == "http-backend"), "git http-backend is required");
            eprintln!("skipped: this git has no http-backend");
            return None;
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let behaviour = Arc::new(Mutex::new(Behaviour::default()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let backend = Backend {
            program,
            folder: folder.to_owned(),
            behaviour: Arc::clone(&behaviour),
            asked: Arc::clone(&asked),
        };
        let server = tokio::spawn(accept(listener, Arc::new(backend)));
        Some(Self { port, behaviour, asked, _server: AbortOnDropHandle::new(server) })
    }

    /// The requests so far; the count begins anew.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }

    /// The address of a repository of the folder.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port)
    }
}

struct Backend {
    program: PathBuf,
    folder: PathBuf,
    behaviour: Arc<Mutex<Behaviour>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

async fn accept(listener: TcpListener, backend: Arc<Backend>) {
    while let Ok((stream, _)) = listener.accept().await {
        let backend = Arc::clone(&backend);
        let service = service_fn(move |request| {
            let backend = Arc::clone(&backend);
            async move { Ok::<_, Infallible>(backend.answer(request).await) }
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
        );
    }
}

impl Backend {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let header =
            |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let path = request.uri().path().to_owned();
        let authorization = header("authorization");
        let asked = Asked {
            method: request.method().to_string(),
            path: path.clone(),
            authorization: authorization.clone(),
        };
        self.asked.lock().expect("no panic").push(asked);
        let truncate = {
            let behaviour = self.behaviour.lock().expect("no panic");
            let wanted = behaviour.token.as_ref().map(|token| basic(token));
            if let Some(status) = behaviour.status {
                return status_only(status);
            }
            if wanted.is_some() && authorization != wanted {
                return status_only(401);
            }
            let redirect = behaviour.redirect.as_ref().filter(|(from, _)| path.starts_with(from.as_str()));
            if let (Some((_, to)), true) = (redirect, request.method() == "GET") {
                let mut response = status_only(302);
                response.headers_mut().insert("location", to.parse().expect("an address"));
                return response;
            }
            behaviour.truncate.filter(|_| request.method() == "POST")
        };
        if self.behaviour.lock().expect("no panic").hang {
            std::future::pending::<()>().await;
        }
        let mut command = tokio::process::Command::new(&self.program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("GIT_PROJECT_ROOT", &self.folder).env("GIT_HTTP_EXPORT_ALL", "1");
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("REMOTE_USER", "tester");
        command.env("PATH_INFO", &path).env("REQUEST_METHOD", request.method().as_str());
        command.env("QUERY_STRING", request.uri().query().unwrap_or_default());
        command.env("CONTENT_TYPE", header("content-type").unwrap_or_default());
        let body = request.into_body().collect().await.expect("a body").to_bytes();
        let mut child = command
            .env("CONTENT_LENGTH", body.len().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("http-backend starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let write = tokio::spawn(async move { stdin.write_all(&body).await });
        let output = child.wait_with_output().await.expect("http-backend ends");
        // it may end before it has read everything
        let _ = write.await;
        cgi(&output.stdout, truncate)
    }
}

/// What a client sends for a token.
pub(crate) fn basic(token: &str) -> String {
    use base64::Engine as _;
    let pair = format!("x-access-token:{token}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

fn status_only(status: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}

/// Reads a CGI response (RFC 3875, section 6).
fn cgi(output: &[u8], truncate: Option<usize>) -> Response<Full<Bytes>> {
    let end = output.windows(4).position(|w| w == b"\r\n\r\n").expect("the headers end");
    let body = &output[end + 4..];
    let body = &body[..body.len().min(truncate.unwrap_or(usize::MAX))];
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body)));
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(':').expect("a header");
        if name == "Status" {
            let status = value.trim().split(' ').next().and_then(|code| code.parse().ok());
            *response.status_mut() = StatusCode::from_u16(status.expect("a status")).expect("a status");
        } else {
            let name: hyper::header::HeaderName = name.parse().expect("a name");
            response.headers_mut().insert(name, value.trim().parse().expect("a value"));
        }
    }
    response
}
