//! Who gets in: host names, listeners, tokens, origins; and what every answer has.

use std::convert::Infallible;

use reqwest::RequestBuilder;
use serde_json::json;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::{Reply, Response};

use super::{Setup, TOKEN, World, problem, push};

/// A group of routes as another module would add it.
pub(super) fn routes() -> BoxedFilter<(Response,)> {
    let page = warp::path!("api" / "v1" / "page").and(warp::get()).map(|| "x".repeat(5000).into_response());
    let change = warp::path!("api" / "v1" / "change").and(warp::post().or(warp::delete()).unify());
    let change = change.map(|| warp::reply::json(&json!({ "changed": true })).into_response());
    let panic = warp::path!("api" / "v1" / "panic").and(warp::get());
    let panic = panic.and_then(|| async { Ok::<Response, Infallible>(broken()) });
    page.or(change).unify().or(panic).unify().boxed()
}

fn broken() -> Response {
    panic!("this route is broken")
}

fn change(world: &World) -> RequestBuilder {
    world.post("/api/v1/change").bearer_auth(TOKEN).header("content-type", "application/json").body("{}")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_its_id_and_the_headers_of_safety() {
    let world = World::new().await;
    for path in ["/api/v1/page", "/livez", "/nothing", "/api/v1/panic"] {
        let answer = world.get(path).await;
        let headers = answer.headers();
        assert!(headers.contains_key("x-request-id"), "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["x-frame-options"], "DENY");
        assert_eq!(headers["cache-control"], "no-store");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert!(!policy.contains("unsafe-inline"));
    }
    let page =
        world.client.get(world.url("/api/v1/page")).header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(page.headers()["content-encoding"], "gzip");
    let head = world.client.head(world.url("/livez")).send().await.unwrap();
    assert_eq!(head.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_breaks_is_a_problem_with_a_code() {
    let world = World::new().await;
    assert_eq!(problem(world.get("/nothing").await).await["code"], "notFound");
    assert_eq!(problem(world.get("/webhooks/github").await).await["code"], "methodNotAllowed");
    let broken = problem(world.get("/api/v1/panic").await).await;
    assert_eq!((&broken["status"], &broken["code"]), (&500.into(), &"internal".into()));
    assert!(!broken.to_string().contains("this route is broken"), "what broke is in the log alone");
    assert_eq!(world.get("/livez").await.status(), 200, "and the server lives on");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_changes_something_shows_the_token_json_and_the_same_origin() {
    let world = World::new().await;
    assert_eq!(change(&world).send().await.unwrap().status(), 200);
    let own = format!("http://127.0.0.1:{}", world.address.port());
    assert_eq!(change(&world).header("origin", &own).send().await.unwrap().status(), 200);
    assert_eq!(change(&world).header("sec-fetch-site", "same-origin").send().await.unwrap().status(), 200);
    let removed = world.client.delete(world.url("/api/v1/change")).bearer_auth(TOKEN);
    assert_eq!(removed.send().await.unwrap().status(), 200);

    let json = |request: RequestBuilder| request.header("content-type", "application/json").body("{}");
    let post = || world.post("/api/v1/change");
    for (request, status) in [
        (json(post()), 401),
        (json(post().bearer_auth("nothing")), 401),
        (json(post().bearer_auth("")), 401),
        (json(post().bearer_auth(&TOKEN[1..])), 401),
        (json(post().basic_auth("x", Some(TOKEN))), 401),
        (post().bearer_auth(TOKEN).body("{}"), 415),
        (post().bearer_auth(TOKEN).header("content-type", "text/plain").body("{}"), 415),
        (
            post().bearer_auth(TOKEN).header("content-type", "application/x-www-form-urlencoded").body("a=b"),
            415,
        ),
        (change(&world).header("origin", "https://evil.example"), 403),
        (change(&world).header("origin", "null"), 403),
        (change(&world).header("origin", "http://127.0.0.1:1"), 403),
        (change(&world).header("origin", "http://web-shop-staging.localhost:8080"), 403),
        (change(&world).header("origin", &own).header("origin", "https://evil.example"), 403),
        (change(&world).header("sec-fetch-site", "cross-site"), 403),
        (change(&world).header("sec-fetch-site", "same-site"), 403),
    ] {
        let described = format!("{request:?}");
        assert_eq!(problem(request.send().await.unwrap()).await["status"], status, "{described}");
    }
    // A socket is opened by a GET, and read by whoever opened it.
    let socket = world
        .client
        .get(world.url("/api/v1/page"))
        .header("upgrade", "websocket")
        .header("connection", "upgrade");
    assert_eq!(
        problem(socket.header("origin", "https://evil.example").send().await.unwrap()).await["code"],
        "foreignOrigin"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_name_that_points_here_gets_nothing_but_health_and_webhooks() {
    let world =
        World::with(Setup { public_url: Some("https://deploy.example.com"), ..Setup::default() }).await;
    let get =
        |path: &str, host: &str| world.client.get(world.url(path)).header("host", host.to_owned()).send();
    for ours in [
        "localhost",
        "LOCALHOST:9",
        "localhost.",
        "127.0.0.1",
        "127.9.9.9:80",
        "[::1]:7070",
        "deploy.example.com",
    ] {
        assert_eq!(get("/api/v1/page", ours).await.unwrap().status(), 200, "{ours}");
    }
    for foreign in [
        "evil.example",
        "localhost.evil.example",
        "web-shop-staging.localhost:8080",
        "10.0.0.1",
        "127.0.0.1.evil.example",
    ] {
        let refused = problem(get("/api/v1/page", foreign).await.unwrap()).await;
        assert_eq!(refused["code"], "foreignHost", "{foreign}");
        assert_eq!(get("/health", foreign).await.unwrap().status(), 200);
    }
    let sent =
        world.delivery("d-1", "push", &push(10)).header("host", "hooks.example.com").send().await.unwrap();
    assert_eq!(sent.status(), 202, "a tunnel passes webhooks on under its own name");
    let from_public =
        change(&world).header("host", "deploy.example.com").header("origin", "https://deploy.example.com");
    assert_eq!(from_public.send().await.unwrap().status(), 200);

    let answer = world
        .raw(
            "GET /api/v1/page HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\nconnection: close\r\n\r\n",
        )
        .await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let answer = world
        .raw("GET http://evil.example/api/v1/page HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_is_not_on_loopback_serves_webhooks_and_health_only() {
    let world = World::with(Setup { listen: "0.0.0.0:0", ..Setup::default() }).await;
    assert_eq!(world.get("/health").await.status(), 200);
    assert_eq!(world.get("/readyz").await.status(), 200);
    assert_eq!(world.delivery("d-1", "push", &push(10)).send().await.unwrap().status(), 202);
    for path in ["/", "/api/v1/page", "/metrics", "/nothing"] {
        let refused = problem(world.get(path).await).await;
        assert_eq!((&refused["status"], &refused["code"]), (&404.into(), &"notServedHere".into()), "{path}");
    }
    assert_eq!(change(&world).send().await.unwrap().status(), 404);
}
