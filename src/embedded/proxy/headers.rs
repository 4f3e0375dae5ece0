//! What changes in the head of a request on its way to a pod, and of an answer on its way back.

use std::net::SocketAddr;

use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::{Request, Version};

/// Headers that concern one connection only (RFC 9110, 7.6.1).
const HOP: [HeaderName; 7] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("te"),
    HeaderName::from_static("transfer-encoding"),
    UPGRADE,
];

/// The host that a request is for, without its port, in lower case.
pub(super) fn host<B>(request: &Request<B>) -> Option<String> {
    let written = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let host = request.uri().authority().map(http::uri::Authority::as_str).or(written)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    (!host.is_empty()).then_some(host)
}

/// Whether the client wants to go on in another protocol.
pub(super) fn is_upgrade<B>(request: &Request<B>) -> bool {
    let listed = request.headers().get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let asks =
        listed.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    asks && request.headers().contains_key(UPGRADE)
}

/// Makes a client's request one of the proxy: what concerned the client's connection goes, where it came from is
/// told. Whatever the client claims about where it came from is replaced: this is the edge.
pub(super) fn forward<B>(request: &mut Request<B>, client: SocketAddr) {
    let upgrade = is_upgrade(request).then(|| request.headers().get(UPGRADE).cloned()).flatten();
    let host = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    let host = host.or_else(|| request.headers().get(HOST).cloned());
    let path = request.uri().path_and_query().cloned();
    let headers = request.headers_mut();
    strip(headers);
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    let port =
        host.as_ref().and_then(|host| host.to_str().ok()?.rsplit_once(':').map(|(_, port)| port.to_owned()));
    let port = port.filter(|port| port.parse::<u16>().is_ok()).unwrap_or("80".to_owned());
    let mut tell = |name: &'static str, value: Option<HeaderValue>| {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    };
    let address = HeaderValue::from_str(&client.ip().to_string()).ok();
    tell("x-forwarded-for", address.clone());
    tell("x-real-ip", address);
    tell("x-forwarded-proto", Some(HeaderValue::from_static("http")));
    tell("x-forwarded-port", HeaderValue::from_str(&port).ok());
    tell("x-forwarded-host", host.clone());
    tell("host", host);
    *request.version_mut() = Version::HTTP_11;
    // a pod is asked in origin form
    *request.uri_mut() = path.map_or_else(http::Uri::default, http::Uri::from);
}

/// Takes out what concerns one connection only.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|word| word.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP).chain(&[CONNECTION]) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_sees_who_asked_and_nothing_of_the_connection() {
        let mut request = Request::get("http://web.localhost:8080/a?b=c")
            .header("connection", "keep-alive, x-private")
            .header("x-private", "1")
            .header("x-forwarded-for", "6.6.6.6")
            .header("accept", "text/html")
            .body(())
            .unwrap();
        assert_eq!(host(&request).unwrap(), "web.localhost");
        forward(&mut request, "127.0.0.1:5000".parse().unwrap());
        let mut lines: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        insta::assert_snapshot!(format!("{}\n{}", request.uri(), lines.join("\n")), @r"
        /a?b=c
        accept: text/html
        host: web.localhost:8080
        x-forwarded-for: 127.0.0.1
        x-forwarded-host: web.localhost:8080
        x-forwarded-port: 8080
        x-forwarded-proto: http
        x-real-ip: 127.0.0.1
        ");
    }

    #[test]
    fn an_upgrade_is_passed_on() {
        let request =
            Request::get("/ws").header("connection", "Keep-Alive, Upgrade").header("upgrade", "websocket");
        let mut request = request.header("host", "WEB.localhost.").body(()).unwrap();
        assert_eq!(host(&request).unwrap(), "web.localhost");
        forward(&mut request, "127.0.0.1:5000".parse().unwrap());
        assert_eq!(request.headers()["connection"], "upgrade");
        assert_eq!(request.headers()["upgrade"], "websocket");
    }
}
