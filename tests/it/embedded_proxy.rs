//! The way in: hosts and addresses lead to pods, and a rollout drops nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use branchline::embedded::cache::Key;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::networking::v1::Ingress;
use reqwest::header::HOST;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::embedded_cluster::{Cluster, PATIENCE, deployment, ingress, is_live, probe, server, service};

impl Cluster {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.proxy)
    }

    async fn get(&self, host: &str, path: &str) -> (u16, String) {
        let client = reqwest::Client::new();
        let answer = client.get(self.url(path)).header(HOST, host).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Asks until the answer is as expected: what was applied has to be seen first.
    async fn get_until(&self, path: &str, expected: (u16, &str)) {
        let asked = async {
            while self.get("web.localhost", path).await != (expected.0, expected.1.to_owned()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap();
    }

    async fn publish(&self) {
        self.apply::<Service>("web", &service()).await;
        self.apply::<Ingress>("web", &ingress()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_leads_to_its_pods_whole_streamed_and_upgraded() {
    let cluster = Cluster::start().await;
    cluster.publish().await;
    cluster.apply::<Deployment>("web", &deployment(1, &server("hello"), &probe())).await;
    cluster.wait("web", is_live(1)).await;

    assert_eq!(cluster.get("web.localhost:8080", "/").await, (200, "hello".to_owned()));
    let (status, text) = cluster.get("other.localhost", "/").await;
    assert_eq!(
        (status, text.as_str()),
        (404, "No service has the host other.localhost.\nKnown hosts:\n  web.localhost\n")
    );

    let client = reqwest::Client::new();
    let sent = vec![b'x'; 3 << 20];
    let answer =
        client.post(cluster.url("/")).header(HOST, "web.localhost").body(sent.clone()).send().await.unwrap();
    assert_eq!(answer.headers()["x-seen"], "web.localhost http");
    assert_eq!(answer.bytes().await.unwrap(), sent);

    let mut answer = client.get(cluster.url("/stream")).header(HOST, "web.localhost").send().await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "first", "it comes before the rest is there");
    std::fs::write(cluster.root.path().join("folders/app/go-on"), "").unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "second");

    let mut stream = TcpStream::connect(cluster.proxy).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: web.localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        .await
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream.write_all(b"knock").await.unwrap();
    let mut echo = [0; 5];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"KNOCK");
    drop(stream);

    let address = cluster.addresses.lock().unwrap()[&Key::new("shop", "web")];
    let answer = reqwest::get(format!("http://{address}/")).await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "hello", "its own address leads there too");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_drops_no_request() {
    let cluster = Cluster::start().await;
    cluster.publish().await;
    let mut more = probe();
    more["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 1}}});
    cluster.apply::<Deployment>("web", &deployment(2, &server("one"), &more)).await;
    cluster.wait("web", is_live(2)).await;
    let (done, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut askers = Vec::new();
    for asker in 0..4 {
        let (done, count, url) = (done.clone(), count.clone(), cluster.url("/"));
        askers.push(tokio::spawn(async move {
            let client = reqwest::Client::new();
            let mut seen = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let request = if asker % 2 == 0 { client.get(&url) } else { client.post(&url).body("one") };
                let answer = request.header(HOST, "web.localhost").send().await.unwrap();
                let status = answer.status();
                let text = answer.text().await.unwrap();
                assert!(status.is_success(), "{status}: {text}");
                count.fetch_add(1, Ordering::Relaxed);
                seen.push(text);
            }
            seen
        }));
    }
    for words in ["two", "three"] {
        cluster.apply::<Deployment>("web", &deployment(2, &server(words), &more)).await;
        cluster.wait("web", is_live(2)).await;
    }
    // until the last of the old pods has gone as well
    let two = |pods: &[Pod]| pods.len() == 2;
    let gone = async {
        while !two(&cluster.api::<Pod>().list(&kube::api::ListParams::default()).await.unwrap().items) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    done.store(true, Ordering::Relaxed);
    for asker in askers {
        let seen = asker.await.unwrap();
        assert!(seen.iter().all(|text| ["one", "two", "three"].contains(&text.as_str())));
    }
    assert!(count.load(Ordering::Relaxed) > 50, "enough was asked to mean something");
    assert_eq!(cluster.get("web.localhost", "/").await.1, "three");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_without_a_ready_pod_says_why() {
    let cluster = Cluster::start().await;
    cluster.publish().await;
    cluster.get_until("/", (503, "No pod of shop/web is ready.\nIt has no pods.\n")).await;
    cluster.apply::<Deployment>("web", &deployment(1, &json!(["sh", "-c", "exit 5"]), &probe())).await;
    let crashed = async {
        loop {
            let (status, text) = cluster.get("web.localhost", "/").await;
            assert_eq!(status, 503);
            if text.contains("CrashLoopBackOff: back-off 10s restarting failed container=web") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, crashed).await.unwrap();
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_site_is_a_pod_like_any_other() {
    let cluster = Cluster::start().await;
    cluster.publish().await;
    let site = cluster.root.path().join("folders/app/site");
    std::fs::create_dir_all(site.join("docs")).unwrap();
    std::fs::write(site.join("index.html"), "<h1>home</h1>").unwrap();
    std::fs::write(site.join("docs/index.html"), "docs").unwrap();
    std::fs::write(site.join("about.html"), "about").unwrap();
    std::fs::write(site.join(".secret"), "no").unwrap();
    std::fs::write(cluster.root.path().join("folders/app/outside"), "no").unwrap();
    std::os::unix::fs::symlink("../outside", site.join("link")).unwrap();
    let command =
        json!(["branchline", "serve-static", "--site", r#"{"root": "site", "notFound": "about.html"}"#]);
    cluster.apply::<Deployment>("web", &deployment(1, &command, &probe())).await;
    cluster.wait("web", is_live(1)).await;
    assert_eq!(cluster.get("web.localhost", "/").await, (200, "<h1>home</h1>".to_owned()));
    assert_eq!(cluster.get("web.localhost", "/docs/").await, (200, "docs".to_owned()));
    assert_eq!(cluster.get("web.localhost", "/docs").await, (200, "docs".to_owned()), "after a redirect");
    assert_eq!(cluster.get("web.localhost", "/about").await, (200, "about".to_owned()));
    for hidden in ["/.secret", "/link", "/%2e%2e/outside", "/nothing"] {
        assert_eq!(cluster.get("web.localhost", hidden).await, (404, "about".to_owned()), "{hidden}");
    }
    let client = reqwest::Client::new();
    let ask = || client.get(cluster.url("/")).header(HOST, "web.localhost");
    let first = ask().send().await.unwrap();
    assert_eq!(first.headers()["content-type"], "text/html; charset=utf-8");
    let tag = first.headers()["etag"].clone();
    assert_eq!(ask().header("if-none-match", tag).send().await.unwrap().status(), 304);
    let part = ask().header("range", "bytes=4-7").send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.text().await.unwrap().as_str()), (206, "home"));
    let head = client.head(cluster.url("/")).header(HOST, "web.localhost").send().await.unwrap();
    assert_eq!(head.headers()["content-length"], "13");
    assert_eq!(
        client.post(cluster.url("/")).header(HOST, "web.localhost").send().await.unwrap().status(),
        405
    );
    cluster.end().await;
}
