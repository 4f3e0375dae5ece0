//! Servers that the suite talks to: raw requests over a `kube::Client`, so that codes, reasons and causes are seen.

use anyhow::Context as _;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::Value;

/// An answer as a client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
}

/// The real server of `KUBECONFIG`, only where `BRANCHLINE_TEST_REQUIRE` names `kubernetes`: it may be somebody's
/// cluster otherwise.
pub(crate) async fn real() -> anyhow::Result<Option<Client>> {
    let required = std::env::var("BRANCHLINE_TEST_REQUIRE").unwrap_or_default();
    if !required.split(',').any(|name| name.trim() == "kubernetes") {
        return Ok(None);
    }
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let path = std::env::var("KUBECONFIG")
        .context("BRANCHLINE_TEST_REQUIRE names kubernetes, KUBECONFIG says no server")?;
    let file = kube::config::Kubeconfig::read_from(path)?;
    let config =
        kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await?;
    Ok(Some(Client::try_from(config)?))
}

/// Sends one request.
pub(crate) async fn send(
    client: &Client,
    method: Method,
    path: &str,
    content_type: &str,
    body: Option<&Value>,
) -> anyhow::Result<Answer> {
    let bytes = body.map(ToString::to_string).unwrap_or_default().into_bytes();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type)
        .header("accept", "application/json")
        .body(Body::from(bytes))?;
    let response = client.send(request).await?;
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await?.to_bytes();
    let body = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).into_owned()));
    Ok(Answer { code, body })
}
