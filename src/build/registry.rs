//! What a registry knows of an image that others built: the digest that a tag means right now.
//!
//! One HEAD of the manifest (OCI distribution specification 1.1, "Checking if content exists in the registry"), with the
//! anonymous token that registries hand out to whoever asks
//! (<https://distribution.github.io/distribution/spec/auth/token/>). Nothing is pulled, and no credentials are sent.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Method, Response, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::name::{Digest, ImageRef};
use crate::secret::Secret;
use crate::source::Cause;

/// Whatever a tag may name: an index of platforms or one image, in OCI's words and in Docker's.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
/// The largest manifest that registries must take, and so the largest that is read.
const LARGEST_MANIFEST: usize = 4 << 20;
/// A token is a signed note of a few kilobytes.
const LARGEST_TOKEN: usize = 64 << 10;
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(20);
const REDIRECTS: usize = 5;

/// Asks registries. Clones share their connections.
#[derive(Clone)]
pub struct Registry {
    client: Client,
}

/// Why a registry gave no digest. Each names the image and the way out; all of them may pass by themselves.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// It answers, and has no such image.
    #[error("the registry {} has no {image}; hint: push that image, and it is deployed by itself", image.registry())]
    Missing {
        /// The image.
        image: ImageRef,
    },
    /// It shows the image to nobody without a login. Some say so of what does not exist, too.
    #[error(
        "the registry {} does not show {image} to anybody ({status}); hint: push that image if it is not there yet, let \
         it be pulled without a login, or name it by its digest",
        image.registry()
    )]
    Denied {
        /// The image.
        image: ImageRef,
        /// What it answered.
        status: u16,
    },
    /// It answers something else.
    #[error("the registry {} answers {status} for {image}; hint: it is asked again by itself", image.registry())]
    Answers {
        /// The image.
        image: ImageRef,
        /// What it answered.
        status: u16,
    },
    /// It gives no digest that could be deployed.
    #[error("the registry {} gives no sha256 digest for {image}; hint: name the image by its digest", image.registry())]
    NoDigest {
        /// The image.
        image: ImageRef,
    },
    /// It does not answer.
    #[error(
        "the registry {} does not answer for {image}; hint: it is asked again by itself; one that speaks plain http \
         stands in registry.insecure of kind Config",
        image.registry()
    )]
    Unreachable {
        /// The image.
        image: ImageRef,
        /// What went wrong.
        #[source]
        source: Cause,
    },
}

/// `WWW-Authenticate: Bearer …`: where a token is had, and what for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: Option<String>,
    scope: Option<String>,
}

/// Either name, or both (Docker Hub).
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Registry {
    /// A client of registries. It reads no proxy from the environment.
    ///
    /// # Errors
    /// When the machine's TLS cannot be set up.
    pub fn new() -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(concat!("branchline/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::custom(follow))
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .build()?;
        Ok(Self { client })
    }

    /// The digest that the image has right now. Registries of this machine and those in `insecure` (`host` or
    /// `host:port`) are asked over plain HTTP, as container engines do.
    ///
    /// # Errors
    /// When the registry has no such image, does not show it, or does not answer.
    pub async fn digest(&self, image: &ImageRef, insecure: &[String]) -> Result<Digest, RegistryError> {
        if let Some(digest) = image.digest() {
            return Ok(digest);
        }
        let url = manifest(image, insecure);
        let answer = self.ask(image, Method::HEAD, &url).await?;
        if let Some(digest) = stated(answer.headers()) {
            return Ok(digest);
        }
        // the header is a MAY of the specification; the digest is that of the bytes
        let answer = self.ask(image, Method::GET, &url).await?;
        if let Some(digest) = stated(answer.headers()) {
            return Ok(digest);
        }
        let bytes = read(answer, LARGEST_MANIFEST).await.map_err(|source| unreachable(image, source))?;
        let hash = hex::encode(digest(&SHA256, &bytes));
        format!("sha256:{hash}").parse().map_err(|_| RegistryError::NoDigest { image: image.clone() })
    }

    /// One request for a manifest, with a token where one is asked for.
    async fn ask(&self, image: &ImageRef, method: Method, url: &str) -> Result<Response, RegistryError> {
        let send = async |token: Option<&Secret<String>>| {
            let mut request = self.client.request(method.clone(), url).header(ACCEPT, MANIFESTS);
            if let Some(token) = token {
                request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
            }
            request.send().await.map_err(|error| unreachable(image, Arc::new(error.without_url())))
        };
        let mut answer = send(None).await?;
        if answer.status() == StatusCode::UNAUTHORIZED
            && let Some(challenge) = challenge(answer.headers())
            && let Some(token) = self.token(image, &challenge, url.starts_with("http:")).await?
        {
            answer = send(Some(&token)).await?;
        }
        let image = image.clone();
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::NOT_FOUND => Err(RegistryError::Missing { image }),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(RegistryError::Denied { image, status: status.as_u16() })
            }
            status => Err(RegistryError::Answers { image, status: status.as_u16() }),
        }
    }

    /// The token that anybody is given; none where there is none for anybody. Over plain HTTP only where the registry
    /// itself is asked so.
    async fn token(
        &self,
        image: &ImageRef,
        challenge: &Challenge,
        plain: bool,
    ) -> Result<Option<Secret<String>>, RegistryError> {
        let Ok(mut realm) = Url::parse(&challenge.realm) else { return Ok(None) };
        if realm.scheme() != "https" && !(plain && realm.scheme() == "http") {
            return Ok(None);
        }
        let scope = || format!("repository:{}:pull", image.path());
        realm
            .query_pairs_mut()
            .extend_pairs(challenge.service.iter().map(|service| ("service", service)))
            .append_pair("scope", &challenge.scope.clone().unwrap_or_else(scope));
        let failed = |error: reqwest::Error| unreachable(image, Arc::new(error.without_url()));
        let answer = self.client.get(realm).send().await.map_err(failed)?;
        match answer.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Ok(None),
            status if !status.is_success() => {
                Err(RegistryError::Answers { image: image.clone(), status: status.as_u16() })
            }
            _ => {
                let bytes = read(answer, LARGEST_TOKEN).await.map_err(|source| unreachable(image, source))?;
                let given: Option<Token> = serde_json::from_slice(&bytes).ok();
                Ok(given.and_then(|given| given.token.or(given.access_token)).map(Secret::new))
            }
        }
    }
}

fn unreachable(image: &ImageRef, source: Cause) -> RegistryError {
    RegistryError::Unreachable { image: image.clone(), source }
}

/// The address of an image's manifest.
fn manifest(image: &ImageRef, insecure: &[String]) -> String {
    let registry = image.registry();
    let scheme =
        if is_local(registry) || insecure.iter().any(|host| host == registry) { "http" } else { "https" };
    // Docker Hub's API has a host of its own
    let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
    format!("{scheme}://{host}/v2/{}/manifests/{}", image.path(), image.wanted())
}

/// Whether a registry is one of this machine.
fn is_local(registry: &str) -> bool {
    let Ok(url) = Url::parse(&format!("http://{registry}/")) else { return false };
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(url::Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

/// Redirects are followed a few times, and never from TLS to none.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let safe = attempt.previous().iter().any(|url| url.scheme() == "https");
    if attempt.previous().len() > REDIRECTS || (safe && attempt.url().scheme() != "https") {
        return attempt.stop();
    }
    attempt.follow()
}

/// The digest that the registry states.
fn stated(headers: &HeaderMap) -> Option<Digest> {
    headers.get("docker-content-digest")?.to_str().ok()?.trim().parse().ok()
}

fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    headers.get_all(WWW_AUTHENTICATE).iter().find_map(|value| Challenge::parse(value.to_str().ok()?))
}

impl Challenge {
    /// Reads the parameters of a `Bearer` challenge (RFC 9110, section 11.6.1).
    fn parse(text: &str) -> Option<Self> {
        let (scheme, mut rest) = text.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut found = Self::default();
        while let Some((name, after)) = rest.split_once('=') {
            let (value, next) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_once(',').unwrap_or((after, "")),
            };
            match name.trim_matches([' ', ',']).to_ascii_lowercase().as_str() {
                "realm" => value.clone_into(&mut found.realm),
                "service" => found.service = Some(value.to_owned()),
                "scope" => found.scope = Some(value.to_owned()),
                _ => {}
            }
            rest = next;
        }
        (!found.realm.is_empty()).then_some(found)
    }
}

/// Reads a body that is not larger than it may be.
async fn read(mut answer: Response, limit: usize) -> Result<Vec<u8>, Cause> {
    let mut bytes = Vec::new();
    let failed = |error: reqwest::Error| -> Cause { Arc::new(error.without_url()) };
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if bytes.len() + chunk.len() > limit {
            return Err(Arc::new(std::io::Error::other(format!("its answer is larger than {limit} bytes"))));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_registries_of_this_machine_and_named_ones_are_asked_without_tls() {
        let named = ["registry:5000".to_owned()];
        let at = |image: &str| manifest(&image.parse().expect("an image"), &named);
        insta::assert_snapshot!(
            ["nginx:1", "ghcr.io/acme/web:a", "localhost:5000/web", "127.8.0.1/web", "[::1]:5000/web", "registry:5000/web", "registry:5001/web", "10.0.0.7:5000/web", "localhost.example.com/web"]
                .map(at)
                .join("\n"),
            @r"
        https://registry-1.docker.io/v2/library/nginx/manifests/1
        https://ghcr.io/v2/acme/web/manifests/a
        http://localhost:5000/v2/web/manifests/latest
        http://127.8.0.1/v2/web/manifests/latest
        http://[::1]:5000/v2/web/manifests/latest
        http://registry:5000/v2/web/manifests/latest
        https://registry:5001/v2/web/manifests/latest
        https://10.0.0.7:5000/v2/web/manifests/latest
        https://localhost.example.com/v2/web/manifests/latest
        "
        );
    }

    #[test]
    fn a_challenge_says_where_a_token_is_had() {
        let parsed = Challenge::parse(
            r#"Bearer realm="https://auth.example.com/token",service="registry",scope="repository:acme/web:pull,push",error="x""#,
        );
        let expected = Challenge {
            realm: "https://auth.example.com/token".to_owned(),
            service: Some("registry".to_owned()),
            scope: Some("repository:acme/web:pull,push".to_owned()),
        };
        assert_eq!(parsed, Some(expected));
        let unquoted = Challenge::parse("bearer service=registry, realm=https://auth.example.com/token");
        assert_eq!(unquoted.map(|found| found.realm), Some("https://auth.example.com/token".to_owned()));
        for none in ["Basic realm=\"x\"", "Bearer", "Bearer realm=\"unclosed", "Bearer service=\"x\""] {
            assert_eq!(Challenge::parse(none), None, "{none}");
        }
    }
}
