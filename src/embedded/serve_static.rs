//! `branchline serve-static`: the server of a static site, run as any other process of a pod.
//!
//! It serves the files of one folder on `PORT`: content types, `ETag` and 304, ranges, `HEAD`, `index.html`, and what
//! the site says about redirects, headers and unknown paths. Nothing outside the folder and nothing that begins
//! with a dot is served. On SIGTERM it answers what is under way and ends.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::TaskTracker;

use self::answer::{Body, empty, file, found, words};
use self::site::{Site, Target};

mod answer;
mod site;

/// How long a client may take to send the head of a request.
const HEAD: Duration = Duration::from_secs(30);
/// How long answers under way may take once the server is told to end.
const FAREWELL: Duration = Duration::from_secs(10);

/// Why a site cannot be served.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(
        "{argument:?} is not understood; hint: serve-static [FOLDER] [--spa-fallback] [--not-found=PAGE] [--site=JSON]"
    )]
    Argument { argument: String },
    #[error("--site is not understood")]
    Site {
        #[source]
        source: serde_json::Error,
    },
    #[error("PORT is not set to a port; hint: PORT=8000 branchline serve-static FOLDER")]
    Port,
    #[error("{folder} is not a folder")]
    Folder { folder: PathBuf },
    #[error("cannot listen on port {port}")]
    Listen {
        port: u16,
        #[source]
        source: std::io::Error,
    },
    #[error("the server cannot be set up")]
    System {
        #[source]
        source: std::io::Error,
    },
}

/// Runs the verb `serve-static`; `arguments` are those after the verb, `port` is the value of `PORT`.
pub fn main(arguments: impl IntoIterator<Item = OsString>, port: Option<OsString>) -> ExitCode {
    use std::io::Write;
    let outcome = run(arguments.into_iter().collect(), port);
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    let cause = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
    // nobody is left to tell when this fails
    let _ = writeln!(std::io::stderr(), "error: {error}{cause}");
    ExitCode::FAILURE
}

fn run(arguments: Vec<OsString>, port: Option<OsString>) -> Result<(), ServeError> {
    let site = Site::of(arguments)?;
    let port = port.and_then(|port| port.to_str()?.parse().ok()).ok_or(ServeError::Port)?;
    let root = std::fs::canonicalize(&site.root).ok().filter(|root| root.is_dir());
    let root = root.ok_or_else(|| ServeError::Folder { folder: site.root.clone() })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| ServeError::System { source })?;
    runtime.block_on(serve(Arc::new(Server { root, site }), port))
}

async fn serve(server: Arc<Server>, port: u16) -> Result<(), ServeError> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let listener = TcpListener::bind(address).await.map_err(|source| ServeError::Listen { port, source })?;
    let mut terminated = signal(SignalKind::terminate()).map_err(|source| ServeError::System { source })?;
    let (graceful, tasks) = (GracefulShutdown::new(), TaskTracker::new());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = terminated.recv() => break,
        };
        let Ok((stream, _)) = accepted else {
            // too many open files: those that close make room
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let server = server.clone();
        let answer = service_fn(move |request| {
            let server = server.clone();
            async move { Ok::<_, std::convert::Infallible>(server.answer(&request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(stream), answer);
        let connection = graceful.watch(connection);
        tasks.spawn(async move {
            // a client may break off at any time
            let _ = connection.await;
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(FAREWELL, graceful.shutdown()).await;
    Ok(())
}

/// A site and the folder it lies in.
struct Server {
    root: PathBuf,
    site: Site,
}

impl Server {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refusal = words(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD are answered.\n");
            refusal.headers_mut().insert(http::header::ALLOW, http::HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        let mut response = self.find(request).await;
        self.site.add_headers(request.uri().path(), response.headers_mut());
        if request.method() == Method::HEAD { response.map(|_| empty()) } else { response }
    }

    async fn find(&self, request: &Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        if let Some((place, status)) = self.site.redirect(path) {
            return found(status, place);
        }
        let Some(target) = Target::of(path) else {
            return self.not_found(request).await;
        };
        let full = self.root.join(&target.path);
        match self.kind(&full).await {
            Some(true) if target.is_folder => match self.kind(&full.join("index.html")).await {
                Some(false) => file(request, &full.join("index.html"), StatusCode::OK).await,
                _ => self.not_found(request).await,
            },
            Some(true) => {
                let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
                // relative links in the page need the slash
                found(StatusCode::PERMANENT_REDIRECT, &format!("{path}/{query}"))
            }
            Some(false) if !target.is_folder => file(request, &full, StatusCode::OK).await,
            _ => match self.kind(&full.with_extension("html")).await {
                // `/about` is `about.html` where there is no such file or folder
                Some(false) if !target.is_folder && full.extension().is_none() => {
                    file(request, &full.with_extension("html"), StatusCode::OK).await
                }
                _ => self.not_found(request).await,
            },
        }
    }

    /// Whether the path is a folder, a file (false), or nothing that may be served.
    async fn kind(&self, path: &Path) -> Option<bool> {
        // links are followed, but not out of the folder
        let real = tokio::fs::canonicalize(path).await.ok()?;
        if !real.starts_with(&self.root) {
            return None;
        }
        let meta = tokio::fs::metadata(&real).await.ok()?;
        if meta.is_dir() { Some(true) } else { meta.is_file().then_some(false) }
    }

    async fn not_found(&self, request: &Request<Incoming>) -> Response<Body> {
        if self.site.spa_fallback {
            let page = self.root.join("index.html");
            if self.kind(&page).await == Some(false) {
                return file(request, &page, StatusCode::OK).await;
            }
        }
        let page = self.root.join(self.site.not_found.as_deref().unwrap_or("404.html"));
        if self.kind(&page).await == Some(false) {
            return file(request, &page, StatusCode::NOT_FOUND).await;
        }
        words(StatusCode::NOT_FOUND, "There is no such page.\n")
    }
}
