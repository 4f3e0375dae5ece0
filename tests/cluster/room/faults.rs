//! Bad answers: what is tried again, what is reported, and what is never concluded from them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use branchline::clock::Clock;
use branchline::cluster::{ApplySet, Cluster, ClusterError, Outcome};
use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::json;

use super::ground::{Ground, INSTANCE, errors, grounds};

/// What becomes of a request on its way: an answer instead of the server's, or its loss after it was served.
#[derive(Clone, Copy)]
enum Fault {
    Answer(u16),
    Lost,
}

/// The same cluster over a bad line: `choose` says which requests meet a fault, `times` how often.
fn over_a_bad_line(
    ground: &Ground,
    times: u32,
    fault: Fault,
    choose: fn(&Request<Body>) -> bool,
) -> (Cluster, Arc<AtomicU32>) {
    let left = Arc::new(AtomicU32::new(times));
    let (client, count) = (ground.cluster.client().clone(), Arc::clone(&left));
    let line = tower::service_fn(move |request: Request<Body>| {
        let (client, left) = (client.clone(), Arc::clone(&left));
        async move {
            let hit = choose(&request)
                && left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok();
            match fault {
                Fault::Answer(code) if hit => {
                    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                        "message": "a fault", "reason": "", "code": code});
                    let answer =
                        Response::builder().status(code).body(Body::from(status.to_string().into_bytes()));
                    Ok(answer.expect("an answer"))
                }
                Fault::Lost if hit => {
                    let _ = client.send(request).await;
                    Err(std::io::Error::other("the line was cut"))
                }
                _ => client.send(request).await.map_err(std::io::Error::other),
            }
        }
    });
    (Cluster::new(kube::Client::new(line, "default"), Clock::system()), count)
}

fn is_patch(request: &Request<Body>) -> bool {
    request.method() == Method::PATCH
}

fn is_list(request: &Request<Body>) -> bool {
    request.uri().query().is_some_and(|query| query.contains("labelSelector"))
}

fn is_discovery(request: &Request<Body>) -> bool {
    matches!(request.uri().path(), "/api/v1" | "/apis" | "/apis/apps/v1")
}

#[tokio::test]
async fn an_overloaded_server_is_asked_again_and_nothing_is_lost() {
    for ground in grounds().await {
        for fault in [Fault::Answer(429), Fault::Answer(503), Fault::Answer(504), Fault::Lost] {
            let (cluster, left) = over_a_bad_line(&ground, 3, fault, is_patch);
            let set = ApplySet::open(&cluster, &ground.namespace, INSTANCE).await.unwrap();
            let value = left.load(Ordering::Relaxed).to_string() + &uuid::Uuid::now_v7().to_string();
            let changes = ground.apply(&set, "api", vec![ground.config("api", "api", &value)]).await;
            assert!(!changes.failed(), "{:?}", errors(&changes));
            assert_eq!(left.load(Ordering::Relaxed), 0);
            assert_eq!(ground.live("v1", "ConfigMap", "api").await.unwrap()["data"]["key"], value);
        }
        ground.finish().await;
    }
}

#[tokio::test]
async fn a_server_that_stays_overloaded_ends_in_an_error_of_the_platform() {
    for ground in grounds().await {
        let (cluster, _) = over_a_bad_line(&ground, 1000, Fault::Answer(503), is_patch);
        let set = ApplySet::open(&cluster, &ground.namespace, INSTANCE).await.unwrap();
        let changes = ground.apply(&set, "api", vec![ground.config("api", "api", "1")]).await;
        let (_, error) = changes.errors().next().expect("an error");
        assert!(error.is_transient() && !error.is_authors(), "{error}");
        ground.finish().await;
    }
}

#[tokio::test]
async fn nothing_is_pruned_when_a_list_or_discovery_fails() {
    for ground in grounds().await {
        let set = ground.set().await;
        let both = || vec![ground.config("api", "old", "1"), ground.deployment("api", "app:1", 0)];
        ground.sync(&set, "api", both()).await.unwrap();
        for choose in [is_list, is_discovery] {
            let (cluster, _) = over_a_bad_line(&ground, 1000, Fault::Answer(500), choose);
            let set = ApplySet::open(&cluster, &ground.namespace, INSTANCE).await.unwrap();
            let failed = ground.sync(&set, "api", vec![]).await.unwrap_err();
            assert!(matches!(failed, ClusterError::Incomplete { .. }), "{failed}");
            assert!(ground.live("v1", "ConfigMap", "old").await.is_some());
            assert_eq!(ground.set().await.held("api").len(), 2);
        }
        let pruned = ground.sync(&set, "api", vec![]).await.unwrap();
        assert_eq!(pruned.count(Outcome::Pruned), 2, "{:?}", errors(&pruned));
        ground.finish().await;
    }
}
