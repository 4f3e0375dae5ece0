//! From a kubeconfig file to a [`Cluster`].

use std::path::Path;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::Value;

use super::{Cluster, ClusterError};
use crate::clock::Clock;
use crate::yaml;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// The largest kubeconfig that is read.
const LARGEST: u64 = 1 << 20;

/// Connects to the cluster of a kubeconfig file's current context.
///
/// A kubeconfig can start programs (`exec`), load plugins (`auth-provider`) and switch TLS off; whoever may name
/// the file could then do these things here, so all three are refused (CVE-2022-24817 was such a case).
///
/// # Errors
/// When the file cannot be read, asks for one of those, or is not complete.
pub async fn kubeconfig(path: &Path, clock: Clock) -> Result<Cluster, ClusterError> {
    let file = path.display().to_string();
    let bad = |why: String| ClusterError::Kubeconfig { file: file.clone(), why };
    let size = tokio::fs::metadata(path).await.map_err(|failed| bad(failed.to_string()))?.len();
    if size > LARGEST {
        return Err(bad("larger than 1 MiB\nhint: this is no kubeconfig".to_owned()));
    }
    let text = tokio::fs::read_to_string(path).await.map_err(|failed| bad(failed.to_string()))?;
    let read = yaml::foreign(&text).map_err(|failed| bad(failed.to_string()))?;
    if let Some(why) = refused(&read) {
        return Err(bad(why));
    }
    let read: Kubeconfig = serde_json::from_value(read).map_err(|failed| bad(failed.to_string()))?;
    let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .map_err(|failed| bad(failed.to_string()))?;
    config.connect_timeout = Some(CONNECT);
    config.default_retry = false;
    let client = ClientBuilder::try_from(config).map_err(|failed| bad(failed.to_string()))?.build();
    Ok(Cluster::new(client, clock))
}

/// What in a kubeconfig is refused, in words.
fn refused(kubeconfig: &Value) -> Option<String> {
    let each = |list: &str| kubeconfig[list].as_array().cloned().unwrap_or_default();
    for user in each("users") {
        for field in ["exec", "auth-provider"] {
            if !user["user"][field].is_null() {
                return Some(format!(
                    "user {} uses `{field}`, which starts a program\nhint: use a token, a tokenFile or a client certificate",
                    user["name"]
                ));
            }
        }
    }
    for cluster in each("clusters") {
        if cluster["cluster"]["insecure-skip-tls-verify"] == true {
            return Some(format!(
                "cluster {} sets `insecure-skip-tls-verify`\nhint: give its certificate-authority instead",
                cluster["name"]
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn connect(text: &str) -> String {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("kubeconfig");
        tokio::fs::write(&file, text).await.expect("written");
        let failed = kubeconfig(&file, Clock::system()).await.expect_err("refused");
        failed.to_string().replace(&folder.path().display().to_string(), "")
    }

    #[tokio::test]
    async fn a_kubeconfig_that_starts_programs_or_skips_tls_is_refused() {
        insta::assert_snapshot!(
            connect("users: [{name: dev, user: {exec: {command: aws}}}]").await,
            @r#"
        /kubeconfig: user "dev" uses `exec`, which starts a program
        hint: use a token, a tokenFile or a client certificate
        "#
        );
        assert!(
            connect("users: [{name: dev, user: {auth-provider: {name: gcp}}}]")
                .await
                .contains("auth-provider")
        );
        insta::assert_snapshot!(
            connect("clusters: [{name: c, cluster: {server: 'https://x', insecure-skip-tls-verify: true}}]").await,
            @r#"
        /kubeconfig: cluster "c" sets `insecure-skip-tls-verify`
        hint: give its certificate-authority instead
        "#
        );
    }
}
