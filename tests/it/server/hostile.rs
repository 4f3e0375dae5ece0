//! Peers that mean harm: too large, too slow, too many. The good ones are served all the while.

use std::time::{Duration, Instant};

use branchline::server::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{PATIENCE, SECRET, Setup, World, problem, push, sign};

const MIB: usize = 1024 * 1024;
/// What a good delivery may take beside bad ones, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);

/// W3.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_27_mb_is_refused_with_and_without_its_length() {
    let world = World::new().await;
    let body = vec![b'x'; 27_000_000];
    let signature = sign(SECRET, &body);
    let send = || {
        world
            .post("/webhooks/github")
            .header("content-type", "application/json")
            .header("x-github-event", "push")
            .header("x-github-delivery", "d-1")
            .header("x-hub-signature-256", &signature)
    };
    let with_length = problem(send().body(body.clone()).send().await.unwrap()).await;
    assert_eq!((&with_length["status"], &with_length["code"]), (&413.into(), &"bodyTooLarge".into()));
    let without_length = problem(send().body(chunks(&body)).send().await.unwrap()).await;
    assert_eq!((&without_length["status"], &without_length["code"]), (&413.into(), &"bodyTooLarge".into()));
    assert_eq!(world.stored().await, Vec::<String>::new());
    assert_eq!(world.delivery("d-2", "push", &push(10)).send().await.unwrap().status(), 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_body_that_github_sends_is_taken_with_and_without_its_length() {
    let world = World::new().await;
    let body = push(25 * MIB - 1000);
    assert_eq!(world.delivery("d-1", "push", &body).send().await.unwrap().status(), 202);
    let chunked = world.delivery("d-2", "push", &body).body(chunks(body.as_bytes()));
    assert_eq!(chunked.send().await.unwrap().status(), 202);
    assert_eq!(world.store.count_inbox().await.unwrap().waiting, 2);
}

/// Whoever asks first whether to send is told no, and sends nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_10_gb_that_is_announced_is_refused_before_it_comes() {
    let world = World::new().await;
    let begun = Instant::now();
    let answer = world
        .raw("POST /webhooks/github HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10737418240\r\nexpect: 100-continue\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(begun.elapsed() < AT_ONCE);
    for headers in ["content-length: 5\r\ncontent-length: 6", "content-length: -1", "content-length: x"] {
        let answer = world
            .raw(format!("POST /webhooks/github HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n\r\nhello"))
            .await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{headers}: {answer}");
    }
}

/// W3: the memory is shared out as bytes arrive, and small deliveries have a share of their own.
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_that_hang_leave_room_for_small_deliveries() {
    let limits = Limits { body_bytes: 8 * MIB, ..Limits::default() };
    let world = World::with(Setup { limits, ..Setup::default() }).await;
    let mut hanging = Vec::new();
    for _ in 0..6 {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let head = format!(
            "POST /webhooks/github HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
            20 * MIB
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; MIB]).await.unwrap();
        hanging.push(stream);
    }
    // Large ones find no room any more; how soon depends on when the bytes above were read.
    let deadline = Instant::now() + PATIENCE;
    let refused = loop {
        let sent = world.delivery("d-large", "push", &push(7 * MIB)).send().await.unwrap();
        if sent.status() != 202 {
            break sent;
        }
        assert!(Instant::now() < deadline, "there is always room");
    };
    assert!(refused.headers().contains_key("retry-after"));
    let refused = problem(refused).await;
    assert_eq!((&refused["status"], &refused["code"]), (&503.into(), &"busy".into()));

    let begun = Instant::now();
    assert_eq!(world.delivery("d-small", "push", &push(10_000)).send().await.unwrap().status(), 202);
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    drop(hanging);
    let deadline = Instant::now() + PATIENCE;
    while world.delivery("d-later", "push", &push(5 * MIB)).send().await.unwrap().status() != 202 {
        assert!(Instant::now() < deadline, "the room is given back");
    }
}

/// W4.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_are_closed_and_keep_nobody_waiting() {
    let limits = Limits { head_time: Duration::from_millis(500), ..Limits::default() };
    let world = World::with(Setup { limits, ..Setup::default() }).await;
    let mut silent = Vec::new();
    for n in 0..300 {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(b"POST /webhooks/github HTTP/1.1\r\nhost: local").await.unwrap();
        }
        silent.push(stream);
    }
    let begun = Instant::now();
    assert_eq!(world.delivery("d-1", "push", &push(10)).send().await.unwrap().status(), 202);
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    for mut stream in silent {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "a silent connection stays open");
    }
}

/// W4.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_stall_or_drip_are_given_up_while_others_are_served() {
    let limits = Limits {
        body_time: Duration::from_secs(2),
        body_pause: Duration::from_millis(700),
        ..Limits::default()
    };
    let world = World::with(Setup { limits, ..Setup::default() }).await;
    let head = "POST /webhooks/github HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n{";
    let address = world.address;
    let slow = (0..100).map(|n| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        let drip = async {
            // Every second one goes on, one byte at a time, until it is hung up on.
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            while n % 2 == 0 && writing.write_all(b"x").await.is_ok() {
                ticks.tick().await;
            }
            std::future::pending::<()>().await;
        };
        let mut answer = String::new();
        tokio::select! {
            () = drip => {}
            // A byte that comes too late for the server may reset the connection behind its answer.
            _ = reading.read_to_string(&mut answer) => {}
        }
        answer
    });
    let good = async {
        let begun = Instant::now();
        let sent = world.delivery("d-1", "push", &push(10)).send().await.unwrap();
        (sent.status(), begun.elapsed())
    };
    let both = futures::future::join(futures::future::join_all(slow), good);
    let (answers, (status, took)) =
        tokio::time::timeout(PATIENCE, both).await.expect("slow bodies are given up");
    assert_eq!(status, 202);
    assert!(took < AT_ONCE, "{took:?}");
    for answer in answers {
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    assert_eq!(world.stored().await, ["d-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let limits = Limits { connections: 2, head_time: Duration::from_millis(500), ..Limits::default() };
    let world = World::with(Setup { limits, ..Setup::default() }).await;
    let _silent =
        [TcpStream::connect(world.address).await.unwrap(), TcpStream::connect(world.address).await.unwrap()];
    assert_eq!(world.get("/livez").await.status(), 200);
}

/// A9.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_none_end_in_an_answer_or_a_closed_connection() {
    let world = World::new().await;
    let many = (0..200).map(|n| format!("x-{n}: y\r\n")).collect::<Vec<_>>().concat();
    let long = format!("x: {}\r\n", "y".repeat(200_000));
    let path = "a".repeat(100_000);
    let close = "connection: close\r\n";
    for (request, status) in [
        (format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{close}{many}\r\n"), Some("431")),
        (format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{close}{long}\r\n"), Some("431")),
        (format!("GET /{path} HTTP/1.1\r\nhost: localhost\r\n{close}\r\n"), None),
        ("\u{16}\u{3}\u{1} this is TLS".repeat(100), Some("400")),
        (
            format!(
                "POST /webhooks/github HTTP/1.1\r\nhost: localhost\r\n{close}transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n"
            ),
            None,
        ),
        (format!("GET //livez HTTP/1.1\r\nhost: localhost\r\n{close}\r\n"), Some("404")),
        (format!("GET /x/../livez HTTP/1.1\r\nhost: localhost\r\n{close}\r\n"), Some("404")),
        (format!("GET /%6civez HTTP/1.1\r\nhost: localhost\r\n{close}\r\n"), Some("404")),
    ] {
        let answer = world.raw(&request).await;
        if let Some(status) = status {
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{}: {answer}", &request[..60]);
        }
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    }
    assert_eq!(world.get("/livez").await.status(), 200);
}

/// A body that comes without saying how long it is.
fn chunks(body: &[u8]) -> reqwest::Body {
    let parts: Vec<Result<Vec<u8>, std::io::Error>> =
        body.chunks(100_000).map(|part| Ok(part.to_vec())).collect();
    reqwest::Body::wrap_stream(futures::stream::iter(parts))
}
