//! The signature of a webhook: HMAC-SHA-256 of the raw body under a shared secret.
//!
//! <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>

use aws_lc_rs::hmac;

use crate::secret::Secret;

/// The header that carries it.
pub const SIGNATURE_HEADER: &str = "x-hub-signature-256";
const PREFIX: &str = "sha256=";
const TAG_BYTES: usize = 32;

/// The keys that a webhook may be signed with: one, or two during a rotation.
#[derive(Clone)]
pub struct WebhookKeys(Vec<hmac::Key>);

impl WebhookKeys {
    /// Makes keys of the secrets. Without any, no signature is right.
    #[must_use]
    pub fn new(secrets: &[Secret<String>]) -> Self {
        let key = |secret: &Secret<String>| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        Self(secrets.iter().map(key).collect())
    }

    /// Whether there are no keys, so that every webhook is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `header` is the signature of `body` under one of the keys, in constant time for all keys.
    #[must_use]
    pub fn verify(&self, header: &str, body: &[u8]) -> bool {
        let Some(tag) = tag(header) else { return false };
        // All keys are tried, whichever is right, so that time does not tell which one it was.
        self.0.iter().fold(false, |right, key| right | hmac::verify(key, body, &tag).is_ok())
    }
}

/// The header's form is exact: the prefix and 64 lower-case hexadecimal digits.
fn tag(header: &str) -> Option<[u8; TAG_BYTES]> {
    let digits = header.strip_prefix(PREFIX)?;
    if digits.bytes().any(|digit| digit.is_ascii_uppercase()) {
        return None;
    }
    let mut tag = [0; TAG_BYTES];
    hex::decode_to_slice(digits, &mut tag).ok()?;
    Some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"Hello, World!";
    /// The example of GitHub's documentation.
    const SIGNED: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn keys(secrets: &[&str]) -> WebhookKeys {
        let secrets: Vec<_> = secrets.iter().map(|secret| Secret::new((*secret).to_owned())).collect();
        WebhookKeys::new(&secrets)
    }

    #[test]
    fn the_example_of_the_documentation_holds_under_either_of_two_secrets() {
        assert!(keys(&["It's a Secret to Everybody"]).verify(SIGNED, BODY));
        assert!(keys(&["new", "It's a Secret to Everybody"]).verify(SIGNED, BODY));
        assert!(keys(&["It's a Secret to Everybody", "new"]).verify(SIGNED, BODY));
        assert!(!keys(&["new"]).verify(SIGNED, BODY));
        assert!(!keys(&[]).verify(SIGNED, BODY));
    }

    #[test]
    fn any_other_form_of_the_header_or_byte_of_the_body_is_wrong() {
        let keys = keys(&["It's a Secret to Everybody"]);
        let sha1 = format!("sha1={}", &SIGNED[7..]);
        let long = format!("{SIGNED}00");
        let spaced = format!(" {SIGNED}");
        let upper = SIGNED.to_uppercase().replace("SHA", "sha");
        for header in ["", "sha256=", &SIGNED[7..], &SIGNED[..70], &sha1, &long, &spaced, &upper, "sha256=ä"]
        {
            assert!(!keys.verify(header, BODY), "{header:?}");
        }
        assert!(!keys.verify(SIGNED, b"Hello, World"));
        assert!(!keys.verify(SIGNED, b"\xef\xbb\xbfHello, World!"));
    }
}
