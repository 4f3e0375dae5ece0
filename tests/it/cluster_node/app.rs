//! The service of the stories, built into an image by their "CI": it answers with the page that its image was given,
//! crashes where its image says so, and without a port only runs.
use std::env::var;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

fn main() {
    if let Ok(last_words) = var("LAST_WORDS") {
        println!("opening the shop");
        eprintln!("{last_words}");
        std::process::exit(3);
    }
    let Ok(port) = var("PORT") else {
        loop {
            std::thread::park();
        }
    };
    let page = var("PAGE").unwrap_or_default();
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).expect("the port is free");
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut request = [0; 4096];
        if stream.read(&mut request).is_ok() {
            let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{page}", page.len());
            // whoever asked may be gone
            let _ = stream.write_all(answer.as_bytes());
        }
    }
}
