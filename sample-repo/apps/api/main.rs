//! A small JSON service, with nothing but the standard library.
//!
//! Built by `rustc -O -o api main.rs`. It listens on `PORT`, answers `/` and `/health`, and on SIGTERM finishes what it
//! is answering before it ends.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// The most that a request's line and headers may take.
const LARGEST_HEAD: u64 = 16 << 10;
/// How long a client may take to say what it wants, and to read the answer.
const PATIENCE: Duration = Duration::from_secs(5);
const SIGTERM: i32 = 15;

static STOPPING: AtomicBool = AtomicBool::new(false);
static ANSWERING: AtomicUsize = AtomicUsize::new(0);

extern "C" {
    // the C library is there anyway; the standard library has no signals
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
}

extern "C" fn stop(_: i32) {
    STOPPING.store(true, Ordering::SeqCst);
}

struct App {
    started: Instant,
    greeting: String,
    environment: String,
    revision: String,
}

fn main() -> io::Result<()> {
    let port: u16 = env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let app = Arc::new(App {
        started: Instant::now(),
        greeting: setting("GREETING", "Hello"),
        environment: setting("ENVIRONMENT", "nowhere"),
        revision: setting("REVISION", "unknown"),
    });
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    println!("api {} listens on port {port} in {}", app.revision, app.environment);
    unsafe { signal(SIGTERM, stop) };
    thread::spawn(end_when_told);
    for connection in listener.incoming() {
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => {
                eprintln!("a connection was lost: {error}");
                continue;
            }
        };
        ANSWERING.fetch_add(1, Ordering::SeqCst);
        let app = Arc::clone(&app);
        thread::spawn(move || {
            if let Err(error) = answer(&app, connection) {
                eprintln!("a request went unanswered: {error}");
            }
            ANSWERING.fetch_sub(1, Ordering::SeqCst);
        });
    }
    Ok(())
}

fn setting(name: &str, or: &str) -> String {
    env::var(name).unwrap_or_else(|_| or.to_owned())
}

/// Waits for SIGTERM, then for the last answer, then ends the process.
fn end_when_told() {
    loop {
        thread::sleep(Duration::from_millis(50));
        if STOPPING.load(Ordering::SeqCst) && ANSWERING.load(Ordering::SeqCst) == 0 {
            println!("api has answered everything and ends");
            process::exit(0);
        }
    }
}

fn answer(app: &App, mut connection: TcpStream) -> io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let Some((method, path)) = request(&connection)? else { return Ok(()) };
    let (status, body) = match (method.as_str(), path.split('?').next().unwrap_or("/")) {
        ("GET" | "HEAD", "/") => ("200 OK", app.about()),
        ("GET" | "HEAD", "/health") => ("200 OK", r#"{"status":"ok"}"#.to_owned()),
        ("GET" | "HEAD", _) => ("404 Not Found", r#"{"error":"there is nothing here"}"#.to_owned()),
        _ => ("405 Method Not Allowed", r#"{"error":"only GET is answered"}"#.to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes())?;
    if method != "HEAD" {
        connection.write_all(body.as_bytes())?;
    }
    connection.flush()
}

/// Reads a request's line and headers. `None` where the client only looked whether the port is open.
fn request(connection: &TcpStream) -> io::Result<Option<(String, String)>> {
    let mut head = BufReader::new(connection.take(LARGEST_HEAD));
    let mut first = String::new();
    if head.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut header = String::new();
    while head.read_line(&mut header)? > 0 && header != "\r\n" && header != "\n" {
        header.clear();
    }
    let mut words = first.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    Ok(Some((method, words.next().unwrap_or("/").to_owned())))
}

impl App {
    fn about(&self) -> String {
        format!(
            r#"{{"service":"api","greeting":{},"environment":{},"revision":{},"upSeconds":{}}}"#,
            json(&self.greeting),
            json(&self.environment),
            json(&self.revision),
            self.started.elapsed().as_secs()
        )
    }
}

/// A text as JSON.
fn json(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted() {
        assert_eq!(json("a\"b\\c\n"), r#""a\"b\\c\u000a""#);
    }
}
