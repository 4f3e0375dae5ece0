//! The stories' own "CI": builds the service once and pushes images of it to the registry, as any CI would.

use std::path::Path;
use std::process::Command;

use aws_lc_rs::digest::{SHA256, digest};
use reqwest::{Client, Response};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry, and the one layer that all images share.
pub(super) struct Images {
    /// `127.0.0.1:15000/story-…`: where this run's repositories stand.
    pub(super) base: String,
    registry: String,
    layer: Vec<u8>,
    http: Client,
}

impl Images {
    /// Builds the service, without anything that its image would have to hold beside it.
    pub(super) fn new(registry: &str, run: &str, folder: &Path) -> Self {
        let root = folder.join("image");
        std::fs::create_dir(&root).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cluster_node/app.rs");
        let built = Command::new("rustc")
            .args([
                "--edition=2024",
                "-Copt-level=1",
                "-Ctarget-feature=+crt-static",
                "-Cstrip=symbols",
                "-o",
            ])
            .arg(root.join("shop"))
            .arg(source)
            .status();
        assert!(built.unwrap().success(), "the service of the stories is built");
        let tar = Command::new("tar")
            .args(["--create", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--directory"])
            .args([root.as_os_str(), "shop".as_ref()])
            .output()
            .unwrap();
        assert!(tar.status.success());
        let http = Client::builder().no_proxy().build().unwrap();
        Self { base: format!("{registry}/{run}"), registry: registry.to_owned(), layer: tar.stdout, http }
    }

    /// Pushes an image of the service with these variables, as `base/NAME:TAG`; gives its digest.
    pub(super) async fn push(&self, name: &str, tag: &str, env: &[(&str, &str)]) -> String {
        let repository = format!("{}/{name}", self.base.split_once('/').unwrap().1);
        let layer = self.blob(&repository, &self.layer).await;
        let env: Vec<String> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let config = json!({
            "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }, "os": "linux",
            "config": {"Entrypoint": ["/shop"], "Env": env},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        });
        let mut config = self.blob(&repository, config.to_string().as_bytes()).await;
        config["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        let manifest = manifest.to_string();
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", self.registry);
        let request = self.http.put(url).header("content-type", MANIFEST).body(manifest.clone());
        well(request.send().await.unwrap());
        hash(manifest.as_bytes())
    }

    /// Uploads a blob; gives its descriptor.
    async fn blob(&self, repository: &str, bytes: &[u8]) -> Value {
        let url = format!("http://{}/v2/{repository}/blobs/uploads/", self.registry);
        let begun = well(self.http.post(url).send().await.unwrap());
        let mut place = begun.url().join(begun.headers()["location"].to_str().unwrap()).unwrap();
        place.query_pairs_mut().append_pair("digest", &hash(bytes));
        let upload = self.http.put(place).header("content-type", "application/octet-stream");
        well(upload.body(bytes.to_vec()).send().await.unwrap());
        json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": hash(bytes), "size": bytes.len()})
    }
}

fn hash(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(digest(&SHA256, bytes)))
}

fn well(answer: Response) -> Response {
    assert!(answer.status().is_success(), "{} {}", answer.url(), answer.status());
    answer
}
