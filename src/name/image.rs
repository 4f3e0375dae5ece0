//! The parts of an image reference, by the grammar of `github.com/distribution/reference`.

use super::{Digest, ImageRef};

/// The registry of an image that names none.
const DEFAULT_REGISTRY: &str = "docker.io";

/// A reference, cut where its grammar cuts it.
struct Parts<'a> {
    registry: Option<&'a str>,
    path: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

/// Whether a text is an image reference.
pub(super) fn is_reference(text: &str) -> bool {
    let Some(Parts { registry, path, tag, digest }) = parts(text) else { return false };
    text.len() <= 512
        && registry.is_none_or(is_host)
        && path.split('/').all(is_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(|digest| digest.parse::<Digest>().is_ok())
}

fn parts(text: &str) -> Option<Parts<'_>> {
    let (named, digest) = match text.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (text, None),
    };
    let (registry, rest) = match named.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
        _ => (None, named),
    };
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    (!path.is_empty()).then_some(Parts { registry, path, tag, digest })
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    // an address of IPv6 stands in brackets
    let name = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    !name.is_empty()
        && !name.starts_with(['-', '.'])
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b))
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_component(part: &str) -> bool {
    let letter = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = part.as_bytes();
    letter(bytes.first())
        && letter(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(b))
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

impl ImageRef {
    fn parts(&self) -> Parts<'_> {
        parts(&self.0).expect("a reference is checked when it is made")
    }

    /// The registry's host, with its port where it names one; `docker.io` where the reference names none.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.parts().registry.unwrap_or(DEFAULT_REGISTRY)
    }

    /// The name of the repository in its registry: `acme/web`, `library/nginx`.
    #[must_use]
    pub fn path(&self) -> String {
        let Parts { registry, path, .. } = self.parts();
        let official = registry.is_none_or(|registry| registry == DEFAULT_REGISTRY) && !path.contains('/');
        if official { format!("library/{path}") } else { path.to_owned() }
    }

    /// What it asks its registry for: its digest, its tag, or `latest`.
    #[must_use]
    pub fn wanted(&self) -> &str {
        let Parts { tag, digest, .. } = self.parts();
        digest.or(tag).unwrap_or("latest")
    }

    /// The digest, where the reference names one.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.parts().digest.and_then(|digest| digest.parse().ok())
    }

    /// The same repository at a digest, without a tag: what is deployed.
    #[must_use]
    pub fn at(&self, digest: &Digest) -> Self {
        let Parts { registry, path, .. } = self.parts();
        let registry = registry.map(|registry| format!("{registry}/")).unwrap_or_default();
        Self(format!("{registry}{path}@{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:7d1a000000000000000000000000000000000000000000000000000000000000";

    #[test]
    fn a_reference_is_cut_as_its_grammar_says() {
        let digest: Digest = DIGEST.parse().expect("a digest");
        let cut = |text: &str| {
            let image: ImageRef = text.parse().expect(text);
            [image.registry(), &image.path(), image.wanted(), image.at(&digest).as_str()]
                .join(" ")
                .replace(DIGEST, "D")
        };
        insta::assert_snapshot!(
            ["nginx", "acme/web:1.4.2", "docker.io/nginx", "ghcr.io/acme/shop/web:main", "localhost/web", "127.0.0.1:15000/web:3f2c", "registry:5000/acme/web:v1@D", "[::1]:5000/web"]
                .map(|text| cut(&text.replace('D', DIGEST)))
                .join("\n"),
            @r"
        docker.io library/nginx latest nginx@D
        docker.io acme/web 1.4.2 acme/web@D
        docker.io library/nginx latest docker.io/nginx@D
        ghcr.io acme/shop/web main ghcr.io/acme/shop/web@D
        localhost web latest localhost/web@D
        127.0.0.1:15000 web 3f2c 127.0.0.1:15000/web@D
        registry:5000 acme/web D registry:5000/acme/web@D
        [::1]:5000 web latest [::1]:5000/web@D
        "
        );
    }

    #[test]
    fn what_no_registry_could_hold_is_no_reference() {
        let long = "a".repeat(129);
        for bad in [
            "",
            "Web",
            "acme/Web:1",
            "web:",
            "web:a b",
            "web:fix/cart",
            "web@sha256:7d1",
            "/web",
            "web/",
            "a//b",
            "-web",
            "ghcr.io/",
            "host:port/web",
            "https://ghcr.io/acme/web",
            &format!("web:{long}"),
        ] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad}");
        }
    }
}
