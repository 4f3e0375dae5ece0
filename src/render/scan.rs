//! Takes a template's source apart into text and tags, without understanding either.
//!
//! Handlebars' own parser is recursive and drops where text stood; this scan is what the checks before it need:
//! how deep blocks nest, what surrounds a value, and which line everything stands on.

/// What a tag is for, by its first character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TagKind {
    /// `{{value}}` or `{{helper value}}`.
    Value,
    /// `{{{…}}}` or `{{&…}}`: printed without quoting.
    Raw,
    /// `{{! … }}`.
    Comment,
    /// `{{#block}}` or `{{^block}}`.
    Open,
    /// `{{else}}` or `{{^}}`.
    Else,
    /// `{{/block}}`.
    Close,
    /// `{{> partial}}`.
    Partial,
    /// `{{#> partial}}`, `{{* …}}`, `{{#* …}}`, `{{{{raw}}}}`: constructs that templates may not use.
    Refused(&'static str),
}

/// A tag of the source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tag<'a> {
    pub(super) kind: TagKind,
    /// The whole tag with its braces.
    pub(super) text: &'a str,
    /// The tag's first byte in the source.
    pub(super) start: usize,
}

/// A piece of the source.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    Tag(Tag<'a>),
}

/// Takes a source apart. A tag that never closes reaches to the end: the parser will say so.
pub(super) fn scan(source: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(found) = source[at..].find("{{") {
        let start = at + found;
        if start > at {
            pieces.push(Piece::Text(&source[at..start]));
        }
        let (mut kind, end) = tag(source, start);
        if source[..start].ends_with('\\') {
            kind = TagKind::Refused("an escaped `\\{{`");
        }
        pieces.push(Piece::Tag(Tag { kind, text: &source[start..end], start }));
        at = end;
    }
    if at < source.len() {
        pieces.push(Piece::Text(&source[at..]));
    }
    pieces
}

/// The kind and the end of the tag that begins at `start`.
fn tag(source: &str, start: usize) -> (TagKind, usize) {
    let rest = &source[start..];
    if rest.starts_with("{{{{") {
        return (TagKind::Refused("a raw block"), closing(source, start + 4, "}}}}"));
    }
    if rest.starts_with("{{!") {
        let dashed = rest.starts_with("{{!--").then(|| rest.find("--}}")).flatten().map(|end| end + 4);
        let end = dashed.or_else(|| rest.find("}}").map(|end| end + 2)).unwrap_or(rest.len());
        return (TagKind::Comment, start + end);
    }
    if rest.starts_with("{{{") {
        return (TagKind::Raw, closing(source, start + 3, "}}}"));
    }
    let inner = rest[2..].trim_start_matches('~');
    let opened = rest.len() - inner.len();
    let kind = match inner.trim_start().as_bytes() {
        [b'{' | b'&', ..] => TagKind::Raw,
        [b'#', b'>', ..] => TagKind::Refused("a partial with a block"),
        [b'*', ..] | [b'#', b'*', ..] => TagKind::Refused("a decorator or an inline partial"),
        [b'/', ..] => TagKind::Close,
        [b'>', ..] => TagKind::Partial,
        [b'^', rest @ ..] if matches!(rest.trim_ascii_start(), [b'}' | b'~', ..]) => TagKind::Else,
        [b'#' | b'^', ..] => TagKind::Open,
        [b'e', b'l', b's', b'e', b' ' | b'}' | b'~' | b'\n', ..] => TagKind::Else,
        _ => TagKind::Value,
    };
    (kind, closing(source, start + opened, "}}"))
}

/// The byte behind the closing braces, which do not count inside quotes.
fn closing(source: &str, from: usize, braces: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (offset, c) in source[from..].char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '}') if source[from + offset..].starts_with(braces) => {
                return from + offset + braces.len();
            }
            _ => {}
        }
    }
    source[from..].find(braces).map_or(source.len(), |end| from + end + braces.len())
}

/// The line and the column of a byte, both from one; columns count characters.
pub(super) fn position(source: &str, byte: usize) -> (usize, usize) {
    let before = &source[..byte];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
