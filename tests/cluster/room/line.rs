//! A line between us and a cluster that counts requests, loses them, or lets somebody else in first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use branchline::clock::Clock;
use branchline::cluster::Cluster;
use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};

use super::ground::Ground;

/// What becomes of a request that was chosen.
#[derive(Clone)]
pub(crate) enum Fate {
    /// Another answer than the server's.
    Answer(u16),
    /// The server does it, and its answer is lost.
    Lost,
    /// Somebody else creates this object first.
    After(String, Value),
    /// It is only counted.
    Counted,
}

/// A cluster over such a line. `choose` says which requests meet their fate, `times` how often; what is left of that
/// is in the counter.
pub(crate) fn over(
    ground: &Ground,
    times: u32,
    fate: Fate,
    choose: fn(&Request<Body>) -> bool,
) -> (Cluster, Arc<AtomicU32>) {
    let left = Arc::new(AtomicU32::new(times));
    let (client, count) = (ground.cluster.client().clone(), Arc::clone(&left));
    let line = tower::service_fn(move |request: Request<Body>| {
        let (client, left, fate) = (client.clone(), Arc::clone(&left), fate.clone());
        async move {
            let hit = choose(&request)
                && left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok();
            match fate {
                Fate::Answer(code) if hit => {
                    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                        "message": "a fault", "reason": "", "code": code});
                    let body = Body::from(status.to_string().into_bytes());
                    return Ok(Response::builder().status(code).body(body).expect("an answer"));
                }
                Fate::Lost if hit => {
                    let _ = client.send(request).await;
                    return Err(std::io::Error::other("the line was cut"));
                }
                Fate::After(path, object) if hit => {
                    let theirs = Request::post(format!("{path}?fieldManager=intruder"))
                        .header("content-type", "application/json")
                        .body(Body::from(object.to_string().into_bytes()))
                        .expect("a request");
                    client.send(theirs).await.map_err(std::io::Error::other)?;
                }
                _ => {}
            }
            client.send(request).await.map_err(std::io::Error::other)
        }
    });
    (Cluster::new(kube::Client::new(line, "default"), Clock::system()), count)
}
