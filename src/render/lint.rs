//! What is checked in a template's source before Handlebars sees it, and the marks that let every rendered line name
//! the line that made it.

use super::problem::{Problem, RenderError};
use super::scan::{Piece, Tag, TagKind, position, scan};

/// The largest source of one file.
const LARGEST_SOURCE: usize = 256 << 10;
/// The longest tag: the parser recurses within it.
const LONGEST_TAG: usize = 1_000;
/// The deepest brackets within a tag.
const DEEPEST_TAG: usize = 16;
/// The deepest blocks of one file: the parser recurses over them.
const DEEPEST_BLOCKS: usize = 16;

/// What the checks found in a source.
pub(super) struct Linted {
    /// The lines (from one) that make text of their own and can carry a mark.
    pub(super) marked: Vec<bool>,
    pub(super) problems: Vec<RenderError>,
}

/// Checks a source for constructs that templates may not use. `quoting` says whether it makes YAML, where a value
/// must stand alone; HTML has no such rule.
pub(super) fn lint(file: &str, source: &str, quoting: bool) -> Linted {
    let at = |byte: usize, problem| {
        let (line, column) = position(source, byte);
        RenderError::new(file, line, column, problem)
    };
    if source.len() > LARGEST_SOURCE {
        return Linted { marked: Vec::new(), problems: vec![at(0, Problem::Budget("256 KiB in one file"))] };
    }
    if let Some(byte) = source.find(|c| c >= super::scalar::FIRST_MARK) {
        let problem = Problem::Construct("a character of Unicode's private planes 15 and 16");
        return Linted { marked: Vec::new(), problems: vec![at(byte, problem)] };
    }
    let mut problems = Vec::new();
    let mut marks = Marks::new(source);
    let mut text = Surroundings::default();
    let mut blocks = Blocks::default();
    for piece in scan(source) {
        let tag = match piece {
            Piece::Text(static_text) => {
                text.push(static_text);
                continue;
            }
            Piece::Tag(tag) => tag,
        };
        marks.tag(source, &tag);
        problems.extend(shape(&tag).map(|problem| at(tag.start, problem)));
        problems.extend(blocks.tag(&tag).map(|problem| at(tag.start, problem)));
        match tag.kind {
            TagKind::Value | TagKind::Raw if quoting => {
                let after = &source[tag.start + tag.text.len()..];
                problems.extend(stands(&text, &tag, after).map(|problem| at(tag.start, problem)));
                text.value();
            }
            _ => {}
        }
    }
    problems.extend(
        blocks.open.iter().map(|(name, start, _)| {
            at(*start, Problem::Syntax(format!("`{{{{#{name}}}}}` is never closed")))
        }),
    );
    Linted { marked: marks.finish(), problems }
}

/// The blocks that are open, each with its name, its first byte and the branches it has so far.
#[derive(Default)]
struct Blocks<'a> {
    open: Vec<(&'a str, usize, usize)>,
}

impl<'a> Blocks<'a> {
    fn tag(&mut self, tag: &Tag<'a>) -> Option<Problem> {
        let name = tag.text.trim_matches(['{', '}', '~', '#', '/', '^']).trim().split([' ', '\n']).next()?;
        match tag.kind {
            TagKind::Open => {
                self.open.push((name, tag.start, 0));
                let depth = self.open.len();
                (depth == DEEPEST_BLOCKS + 1).then_some(Problem::Nesting(depth, DEEPEST_BLOCKS))
            }
            TagKind::Else => match self.open.last_mut() {
                None => Some(Problem::Syntax("`{{else}}` stands in no block".to_owned())),
                Some((_, _, branches)) => {
                    *branches += 1;
                    (*branches == DEEPEST_BLOCKS + 1).then_some(Problem::Nesting(*branches, DEEPEST_BLOCKS))
                }
            },
            TagKind::Close => match self.open.pop() {
                None => Some(Problem::Syntax(format!("`{{{{/{name}}}}}` closes no block"))),
                Some((opened, ..)) if opened != name => {
                    Some(Problem::Syntax(format!("`{{{{/{name}}}}}` closes `{{{{#{opened}}}}}`")))
                }
                Some(_) => None,
            },
            _ => None,
        }
    }
}

/// Checks a tag by itself.
fn shape(tag: &Tag<'_>) -> Option<Problem> {
    if let TagKind::Refused(what) = tag.kind {
        return Some(Problem::Construct(what));
    }
    if !tag.text.ends_with("}}") {
        return Some(Problem::Syntax("the tag is never closed".to_owned()));
    }
    if tag.kind == TagKind::Comment {
        return None;
    }
    let mut depth = 0_usize;
    for c in tag.text.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST_TAG {
            return Some(Problem::Nesting(depth, DEEPEST_TAG));
        }
    }
    (tag.text.len() > LONGEST_TAG).then_some(Problem::Budget("1,000 characters in one tag"))
}

/// Checks that a value is a whole scalar where it stands.
fn stands(text: &Surroundings, tag: &Tag<'_>, after: &str) -> Option<Problem> {
    if text.in_comment() {
        return None;
    }
    let inner = tag.text.trim_start_matches(['{', '~', '&']).trim_start();
    let structure = tag.kind == TagKind::Raw && inner.starts_with("yaml ");
    if tag.kind == TagKind::Raw && !structure && !inner.starts_with("json ") {
        return Some(Problem::RawValue);
    }
    let rest_of_line = after.lines().next().unwrap_or_default();
    if structure {
        let alone = rest_of_line.trim().is_empty() && text.line.chars().all(|c| c == ' ' || c == '-');
        return (!alone).then_some(Problem::StructureInline);
    }
    let ends = rest_of_line.is_empty()
        || rest_of_line.starts_with([' ', ',', ']', '}', ':', '\r'])
        || ["{{#", "{{/", "{{^", "{{~", "{{!", "{{else"].iter().any(|tag| rest_of_line.starts_with(tag));
    (!ends || !text.begins_scalar(rest_of_line.starts_with(':'))).then_some(Problem::Embedded)
}

/// The text around a value: its own line so far, and the last character of the lines before it.
#[derive(Default)]
struct Surroundings {
    line: String,
    last: Option<char>,
}

/// Stands for a printed value in [`Surroundings`].
const VALUE: char = '\u{1}';

impl Surroundings {
    fn push(&mut self, text: &str) {
        let mut lines = text.split('\n');
        self.line.push_str(lines.next().unwrap_or_default());
        for line in lines {
            if !self.in_comment()
                && let Some(last) = self.line.trim_end().chars().last()
            {
                self.last = Some(last);
            }
            self.line.clear();
            self.line.push_str(line);
        }
    }

    fn value(&mut self) {
        self.line.push(VALUE);
    }

    fn in_comment(&self) -> bool {
        self.outside_quotes()
            .is_some_and(|outside| outside.trim_start().starts_with('#') || outside.contains(" #"))
    }

    /// The line without what stands in quotes; `None` where a quote is still open.
    fn outside_quotes(&self) -> Option<String> {
        let mut outside = String::new();
        let mut quote = None;
        let mut chars = self.line.chars().peekable();
        while let Some(c) = chars.next() {
            match quote {
                None if matches!(c, '"' | '\'') && opens(&outside) => quote = Some(c),
                None => outside.push(c),
                Some('"') if c == '\\' => {
                    chars.next();
                }
                Some('\'') if c == '\'' && chars.peek() == Some(&'\'') => {
                    chars.next();
                }
                Some(open) if c == open => {
                    quote = None;
                    outside.push(VALUE);
                }
                Some(_) => {}
            }
        }
        quote.is_none().then_some(outside)
    }

    /// Whether a scalar can begin where the line ends.
    fn begins_scalar(&self, is_key: bool) -> bool {
        let Some(outside) = self.outside_quotes() else { return false };
        let text = outside.trim_end();
        let spaced = text.len() < outside.len();
        let flow = |c| matches!(c, ',' | '[' | '{');
        match text.chars().last() {
            None => {
                is_key
                    || self.last.is_none_or(|last| flow(last) || matches!(last, ':' | '-' | '?' | '|' | '>'))
            }
            Some('[' | '{') => true,
            Some(',') => text.contains(['[', '{']) || self.last.is_some_and(flow),
            Some(':') => spaced,
            Some('-' | '?') => spaced && text.split(' ').next_back().is_some_and(|word| word.len() == 1),
            Some(_) => false,
        }
    }
}

/// Whether a quote behind this text opens a quoted scalar.
fn opens(before: &str) -> bool {
    matches!(before.trim_end().chars().last(), None | Some(':' | '-' | '[' | '{' | ',' | '?'))
}

/// Which lines can carry a mark: those where text begins and no block, partial or comment stands, because those tags
/// take their whole line away where they stand alone on it. A source that trims white space (`~`) has no marks.
struct Marks {
    lines: Vec<bool>,
    trims: bool,
}

impl Marks {
    fn new(source: &str) -> Self {
        Self { lines: source.split('\n').map(|line| !line.trim().is_empty()).collect(), trims: false }
    }

    fn tag(&mut self, source: &str, tag: &Tag<'_>) {
        self.trims |= tag.text.trim_start_matches('{').starts_with('~')
            || tag.text.trim_end_matches('}').ends_with('~');
        let (first, _) = position(source, tag.start);
        let last = first + tag.text.matches('\n').count();
        let makes_text = matches!(tag.kind, TagKind::Value | TagKind::Raw);
        // a tag's own further lines begin inside the tag
        let from = if makes_text { first + 1 } else { first };
        for line in from..=last {
            if let Some(mark) = self.lines.get_mut(line - 1) {
                *mark = false;
            }
        }
    }

    fn finish(self) -> Vec<bool> {
        if self.trims { vec![false; self.lines.len()] } else { self.lines }
    }
}
