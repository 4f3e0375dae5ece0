//! Values that are never printed, and the one filter that every sink passes.

use std::sync::{Arc, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// A value that cannot be printed, logged or serialised; whoever needs it says so with [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Every call is a place to look at in a review.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

/// What stands in the place of a secret.
pub const MARK: &str = "[redacted]";
/// Shorter secrets are not looked for: they would hide half of every log.
const SHORTEST: usize = 6;

/// The one filter before every sink (log, check, comment, page, answer): knows the live secrets and replaces them.
///
/// A secret is recognised as it is, in base64 (standard and URL-safe), in hex and percent-encoded. Clones share
/// what they know.
#[derive(Clone, Default)]
pub struct Redactor {
    forms: Arc<RwLock<Vec<String>>>,
}

impl Redactor {
    /// A filter that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Learns a secret. Texts of fewer than six bytes are not learnt.
    ///
    /// # Panics
    /// When another thread panicked while it changed the list.
    pub fn add(&self, secret: &str) {
        if secret.len() < SHORTEST {
            return;
        }
        let encoded = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>();
        let all = [
            secret.to_owned(),
            STANDARD.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
            hex::encode(secret),
            encoded,
        ];
        let mut forms = self.forms.write().expect("no holder of this lock panics");
        for form in all {
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
        // longest first, so that a secret that holds another one is replaced whole
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    }

    /// Replaces every known secret in `text` by [`MARK`].
    ///
    /// # Panics
    /// When another thread panicked while it changed the list.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let forms = self.forms.read().expect("no holder of this lock panics");
        forms.iter().fold(text.to_owned(), |text, form| {
            if text.contains(form.as_str()) { text.replace(form.as_str(), MARK) } else { text }
        })
    }

    /// Begins a stream whose chunks may be cut anywhere, also in the middle of a secret.
    #[must_use]
    pub fn stream(&self) -> RedactedStream {
        RedactedStream { redactor: self.clone(), held: String::new() }
    }

    fn longest(&self) -> usize {
        self.forms.read().expect("no holder of this lock panics").first().map_or(0, String::len)
    }
}

/// Redacts a text that comes in chunks; holds back what could be the beginning of a secret.
pub struct RedactedStream {
    redactor: Redactor,
    held: String,
}

impl RedactedStream {
    /// Takes a chunk and returns what can be shown already.
    pub fn push(&mut self, chunk: &str) -> String {
        self.held.push_str(chunk);
        let text = self.redactor.redact(&self.held);
        let keep = self.redactor.longest().saturating_sub(1);
        let mut cut = text.len().saturating_sub(keep);
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        // a mark at the border is whole, so it is never cut in two
        if let Some(at) = text[..cut].rfind(MARK.split_at(1).0)
            && text[at..].starts_with(MARK)
            && at + MARK.len() > cut
        {
            cut = at + MARK.len();
        }
        text[cut..].clone_into(&mut self.held);
        text[..cut].to_owned()
    }

    /// Ends the stream and returns what was held back.
    #[must_use]
    pub fn finish(self) -> String {
        self.redactor.redact(&self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_in_each_of_its_forms() {
        let redactor = Redactor::new();
        redactor.add("hunter2/käse");
        let text = format!(
            "plain hunter2/käse base64 {} hex {} url hunter2%2Fk%C3%A4se short x",
            STANDARD.encode("hunter2/käse"),
            hex::encode("hunter2/käse")
        );
        insta::assert_snapshot!(redactor.redact(&text), @"plain [redacted] base64 [redacted] hex [redacted] url [redacted] short x");
    }

    proptest::proptest! {
        #[test]
        fn no_cut_lets_a_secret_through(before in "[a-z\\[]{0,20}", after in "[a-z\\[]{0,20}", cuts in proptest::collection::vec(0usize..60, 0..6)) {
            let redactor = Redactor::new();
            redactor.add("correct-horse");
            let text = format!("{before}correct-horse{after}");
            let mut cuts: Vec<_> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            cuts.sort_unstable();
            cuts.push(text.len());
            let (mut stream, mut shown, mut from) = (redactor.stream(), String::new(), 0);
            for cut in cuts {
                shown += &stream.push(&text[from..cut]);
                from = cut;
            }
            shown += &stream.finish();
            proptest::prop_assert_eq!(shown, redactor.redact(&text));
        }
    }
}
