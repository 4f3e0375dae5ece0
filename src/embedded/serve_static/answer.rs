//! Answers: a file or a part of it, a redirect, a few words.

use std::io::SeekFrom;
use std::path::Path;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use futures::TryStreamExt;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// How much of a file is read at once.
const CHUNK: usize = 64 << 10;

pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A few words in plain text.
pub(super) fn words(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(
        Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync(),
    );
    *response.status_mut() = status;
    set(response.headers_mut(), header::CONTENT_TYPE, "text/plain; charset=utf-8");
    response
}

/// The place where the asked for is found.
pub(super) fn found(status: StatusCode, place: &str) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    set(response.headers_mut(), header::LOCATION, place);
    response
}

/// A file, the asked part of it, or that the client has it already.
pub(super) async fn file<B>(request: &Request<B>, path: &Path, status: StatusCode) -> Response<Body> {
    match open(request, path, status).await {
        Ok(response) => response,
        Err(_) => words(StatusCode::NOT_FOUND, "There is no such page.\n"),
    }
}

async fn open<B>(request: &Request<B>, path: &Path, status: StatusCode) -> std::io::Result<Response<Body>> {
    let mut file = tokio::fs::File::open(path).await?;
    let meta = file.metadata().await?;
    let length = meta.len();
    let changed = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let tag = format!("\"{:x}-{:x}\"", changed.as_nanos(), length);
    let mut headers = HeaderMap::new();
    set(&mut headers, header::CONTENT_TYPE, content_type(path));
    set(&mut headers, header::ETAG, &tag);
    set(&mut headers, header::ACCEPT_RANGES, "bytes");
    // asked again each time, answered by 304: a new deployment shows at once
    set(&mut headers, header::CACHE_CONTROL, "no-cache");
    set(&mut headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if status == StatusCode::OK && knows(request.headers(), &tag) {
        return Ok(answer(StatusCode::NOT_MODIFIED, headers, empty()));
    }
    let asked = request.headers().get(header::RANGE).and_then(|range| range.to_str().ok());
    let same = request.headers().get(header::IF_RANGE).is_none_or(|held| held == tag.as_str());
    let range = asked.filter(|_| status == StatusCode::OK && same).map(|range| part(range, length));
    let (status, first, count) = match range {
        Some(Part::Of(first, last)) => {
            set(&mut headers, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{length}"));
            (StatusCode::PARTIAL_CONTENT, first, last - first + 1)
        }
        Some(Part::Outside) => {
            set(&mut headers, header::CONTENT_RANGE, &format!("bytes */{length}"));
            return Ok(answer(StatusCode::RANGE_NOT_SATISFIABLE, headers, empty()));
        }
        Some(Part::Whole) | None => (status, 0, length),
    };
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(count));
    file.seek(SeekFrom::Start(first)).await?;
    let stream = ReaderStream::with_capacity(file.take(count), CHUNK);
    Ok(answer(status, headers, StreamBody::new(stream.map_ok(Frame::data)).boxed_unsync()))
}

fn answer(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn set(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Whether the client names that tag as one it has (RFC 9110, 13.1.2).
fn knows(headers: &HeaderMap, tag: &str) -> bool {
    let held = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    held.flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|held| held == "*" || held.trim_start_matches("W/") == tag)
}

/// The part of a file that a `Range` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// From the first to the last byte, both included.
    Of(u64, u64),
    /// There is no such part.
    Outside,
    /// It asks for something that is answered with the whole: several parts, another unit.
    Whole,
}

fn part(range: &str, length: u64) -> Part {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Part::Whole;
    };
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), _) if first >= length => Part::Outside,
        (Ok(first), Ok(last)) if first <= last => Part::Of(first, last.min(length - 1)),
        (Ok(first), Err(_)) if last.is_empty() => Part::Of(first, length - 1),
        (Err(_), Ok(0)) if first.is_empty() => Part::Outside,
        (Err(_), Ok(_)) if first.is_empty() && length == 0 => Part::Outside,
        (Err(_), Ok(tail)) if first.is_empty() => Part::Of(length.saturating_sub(tail), length - 1),
        _ => Part::Whole,
    }
}

/// The media type by the ending of the name (IANA's names; what browsers load).
fn content_type(path: &Path) -> &'static str {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    match ending.as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" => "text/plain; charset=utf-8",
        "md" => "text/markdown; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "xml" => "application/xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/vnd.microsoft.icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "otf" => "font/otf",
        "wasm" => "application/wasm",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "mp3" => "audio/mpeg",
        "ogg" => "audio/ogg",
        "wav" => "audio/wav",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_part_of_the_file() {
        assert_eq!(part("bytes=0-3", 10), Part::Of(0, 3));
        assert_eq!(part("bytes=8-99", 10), Part::Of(8, 9));
        assert_eq!(part("bytes=4-", 10), Part::Of(4, 9));
        assert_eq!(part("bytes=-3", 10), Part::Of(7, 9));
        assert_eq!(part("bytes=10-", 10), Part::Outside);
        assert_eq!(part("bytes=-0", 10), Part::Outside);
        assert_eq!(part("bytes=-1", 0), Part::Outside);
        assert_eq!(part("bytes=0-1,4-5", 10), Part::Whole);
        assert_eq!(part("lines=0-1", 10), Part::Whole);
    }
}
