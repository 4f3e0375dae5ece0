//! Markdown that stays ours: whatever an author, a branch or a log says is shown and never obeyed.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use crate::secret::Redactor;

/// Stands between `@` and a name, or `#` and a number, so that GitHub makes no mention and no reference of it.
const BREAK: char = '\u{200b}';

/// Writes texts of others into Markdown; redacts them first, since escaping would hide a secret from the redactor.
#[derive(Clone, Copy)]
pub(super) struct Pen<'a> {
    redactor: &'a Redactor,
}

impl<'a> Pen<'a> {
    pub(super) fn new(redactor: &'a Redactor) -> Self {
        Self { redactor }
    }

    /// A text that is no Markdown (a title, an annotation, a status): redacted, one line, no control characters.
    pub(super) fn plain(self, text: &str) -> String {
        one_line(&clean(&self.redactor.redact(text)))
    }

    /// As [`Pen::plain`], and keeps the lines apart.
    pub(super) fn lines(self, text: &str) -> String {
        clean(&self.redactor.redact(text))
    }

    /// A text within a line of Markdown: nothing in it is markup, HTML, a mention or a reference.
    pub(super) fn text(self, text: &str) -> String {
        let text = self.plain(text);
        let mut escaped = String::with_capacity(text.len() + 16);
        let mut characters = text.chars().peekable();
        let mut before = ' ';
        while let Some(c) = characters.next() {
            let next = characters.peek().copied().unwrap_or(' ');
            match c {
                '<' => escaped.push_str("&lt;"),
                '>' => escaped.push_str("&gt;"),
                '&' => escaped.push_str("&amp;"),
                '\\' | '`' | '*' | '[' | ']' | '|' | '~' | '$' => {
                    escaped.push('\\');
                    escaped.push(c);
                }
                // inside a word it is no emphasis
                '_' if before.is_alphanumeric() && next.is_alphanumeric() => escaped.push(c),
                '_' => escaped.push_str("\\_"),
                '@' if next.is_alphanumeric() => {
                    escaped.push(c);
                    escaped.push(BREAK);
                }
                '#' if next.is_ascii_digit() => {
                    escaped.push(c);
                    escaped.push(BREAK);
                }
                '-' if next.is_ascii_digit() && escaped.to_ascii_uppercase().ends_with("GH") => {
                    escaped.push(c);
                    escaped.push(BREAK);
                }
                _ => escaped.push(c),
            }
            before = c;
        }
        escaped
    }

    /// A name in a code span: no mention, no markup, whatever it holds. Within a table it must hold no `|`.
    pub(super) fn code(self, text: &str) -> String {
        let text = self.plain(text);
        let fence = "`".repeat(longest_run(&text) + 1);
        let pad = if text.starts_with('`') || text.ends_with('`') || text.is_empty() { " " } else { "" };
        format!("{fence}{pad}{text}{pad}{fence}")
    }

    /// Lines of a log or a plan in a fence that nothing within can close.
    pub(super) fn block(self, language: &str, text: &str) -> String {
        let text = clean(&self.redactor.redact(text));
        let fence = "`".repeat(longest_run(&text).max(2) + 1);
        format!("{fence}{language}\n{}\n{fence}\n", text.trim_end())
    }

    /// A link; the address must be one of ours or one that we made of ours, and still cannot leave its brackets.
    pub(super) fn link(self, label: &str, address: &str) -> String {
        let escape = |address: &str| {
            let mut escaped = String::with_capacity(address.len());
            for c in address.chars() {
                match c {
                    '<' | '>' | '(' | ')' | '|' | '\\' | '"' | '`' | ' ' => {
                        let _ = write!(escaped, "%{:02X}", u32::from(c));
                    }
                    c if c.is_control() => {}
                    c => escaped.push(c),
                }
            }
            escaped
        };
        let address = self.redactor.redact(address);
        if address.starts_with("https://") || address.starts_with("http://") {
            format!("[{}]({})", self.text(label), escape(&address))
        } else {
            self.text(label)
        }
    }
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Takes away terminal sequences (ECMA-48) and control characters but newline and tab, and what turns the direction
/// of reading around.
fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\u{1b}' => skip_sequence(&mut characters),
            '\n' | '\t' => cleaned.push(c),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() => {}
            c => cleaned.push(c),
        }
    }
    cleaned
}

fn skip_sequence(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match characters.peek() {
        Some('[') => {
            characters.next();
            // parameters and intermediates, up to the final byte
            while let Some(c) = characters.next_if(|c| matches!(c, ' '..='~')) {
                if matches!(c, '@'..='~') {
                    return;
                }
            }
        }
        Some(']') => {
            // an operating system command ends in BEL or in ESC \
            for c in characters.by_ref() {
                if c == '\u{7}' || c == '\u{9c}' {
                    return;
                }
                if c == '\u{1b}' {
                    characters.next_if_eq(&'\\');
                    return;
                }
            }
        }
        _ => {
            characters.next();
        }
    }
}

/// Cuts a text to `limit` characters, closes an open fence, and says where the rest is.
pub(super) fn cut(text: &str, limit: usize, page: Option<&str>) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let rest = match page {
        Some(page) => format!("\n\n… the rest is on [our page]({page})."),
        None => "…".to_owned(),
    };
    // room for the longest fence that may have to be closed
    let keep = limit.saturating_sub(rest.chars().count() + 32);
    let keep = if page.is_none() { limit.saturating_sub(1) } else { keep };
    let mut kept: String = text.chars().take(keep).collect();
    if page.is_some() {
        if let Some(end) = kept.rfind('\n') {
            kept.truncate(end);
        }
        if let Some(fence) = open_fence(&kept) {
            kept.push('\n');
            kept.push_str(&fence);
        }
        let opened = kept.matches("<details>").count();
        let closed = kept.matches("</details>").count();
        if opened > closed {
            kept.push_str("\n</details>");
        }
    }
    kept + &rest
}

fn open_fence(text: &str) -> Option<String> {
    let mut open: Option<&str> = None;
    for line in text.lines() {
        let ticks = &line[..line.len() - line.trim_start_matches('`').len()];
        match open {
            None if ticks.len() >= 3 => open = Some(ticks),
            Some(fence) if ticks.len() >= fence.len() && line == ticks => open = None,
            _ => {}
        }
    }
    open.filter(|fence| fence.len() <= 16).map(str::to_owned)
}

/// `0.2 s`, `12 s`, `3 min 5 s`.
pub(super) fn took(duration: Duration) -> String {
    match duration.as_secs() {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// `2026-11-22 12:03`, in UTC.
pub(super) fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M").to_string()
}

/// `1 service`, `2 services`.
pub(super) fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_shown_and_never_obeyed() {
        let redactor = Redactor::new();
        redactor.add("hunter2_secret");
        let pen = Pen::new(&redactor);
        let title = "<img src=x> @octocat **bold** [x](http://e.vil) | #12 GH-12 a_b _c_ hunter2_secret\n# h";
        insta::assert_snapshot!(
            pen.text(title).replace(BREAK, "{break}"),
            @r"&lt;img src=x&gt; @{break}octocat \*\*bold\*\* \[x\](http://e.vil) \| #{break}12 GH-{break}12 a_b \_c\_ \[redacted\] # h"
        );
        assert_eq!(pen.code("a`b``c"), "```a`b``c```");
        assert_eq!(pen.code("`x`"), "`` `x` ``");
        insta::assert_snapshot!(pen.block("text", "\u{1b}[31mred\u{1b}[0m\n```\nout\u{1b}]0;title\u{7}side"), @r"
        ````text
        red
        ```
        outside
        ````
        ");
        assert_eq!(pen.link("x", "javascript:alert(1)"), "x");
        assert_eq!(pen.link("a]b", "https://x.dev/a) <b"), "[a\\]b](https://x.dev/a%29%20%3Cb)");
    }

    #[test]
    fn a_text_that_is_too_long_closes_its_fence_and_links_to_the_rest() {
        let text = format!("before\n```text\n{}", "line\n".repeat(100));
        let cut = cut(&text, 200, Some("https://b.dev/p"));
        assert!(cut.chars().count() <= 200);
        assert!(cut.ends_with("line\n```\n\n… the rest is on [our page](https://b.dev/p)."), "{cut}");
    }

    proptest::proptest! {
        #[test]
        fn nothing_cut_is_longer_than_its_limit(text in "[a`\n<>é]{0,400}", limit in 80usize..300) {
            proptest::prop_assert!(cut(&text, limit, Some("https://b.dev/p")).chars().count() <= limit);
            proptest::prop_assert!(cut(&text, limit, None).chars().count() <= limit);
        }

        #[test]
        fn no_text_leaves_its_fence(text in "[a`\n ]{0,80}") {
            let redactor = Redactor::new();
            let block = Pen::new(&redactor).block("text", &text);
            let fence: String = block.chars().take_while(|c| *c == '`').collect();
            let inside = block.lines().skip(1);
            let closing = inside.filter(|line| line.trim_start().starts_with(fence.as_str())).count();
            proptest::prop_assert_eq!(closing, 1);
        }
    }
}
