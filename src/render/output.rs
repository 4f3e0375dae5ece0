//! Where a template writes to: a text with a budget, which remembers the template's line behind every line of its own.

use std::io;

use handlebars::Output;

use super::helpers::PARTIAL_MARK;
use super::scalar::FIRST_MARK;

/// The largest text of one rendering.
const LARGEST_TEXT: usize = 4 << 20;
/// The most writes, loop turns and partials of one rendering.
const MOST_STEPS: usize = 200_000;
/// The first byte of the UTF-8 form of a mark; no other character of rendered text reaches it.
const MARK_BYTE: u8 = 0xF3;

/// The text of a rendering.
pub(super) struct Rendered {
    text: String,
    /// For every line of the text the mark that was last seen there; 0 where none was.
    marks: Vec<u32>,
    mark: u32,
    steps: usize,
    partial_cost: usize,
}

/// The mark that stands for entry `index` of a template's table of lines.
pub(super) fn mark(index: usize) -> Option<char> {
    let code = u32::from(FIRST_MARK) + u32::try_from(index).ok()?;
    char::from_u32(code).filter(|c| *c < '\u{10FFFD}')
}

impl Rendered {
    /// An empty text. `weight` is the number of values that are copied whenever a partial begins.
    pub(super) fn new(weight: usize) -> Self {
        Self {
            text: String::with_capacity(4 << 10),
            marks: vec![0],
            mark: 0,
            steps: 0,
            partial_cost: weight / 16,
        }
    }

    /// The text written so far.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The mark of a line of the text, counted from one.
    pub(super) fn mark(&self, line: u32) -> u32 {
        let line = usize::try_from(line).unwrap_or(usize::MAX).max(1);
        self.marks.get(line - 1).or(self.marks.last()).copied().unwrap_or(0)
    }

    /// Forgets the text but not the budget, for the next file of the same template.
    pub(super) fn clear(&mut self) {
        self.steps += self.text.len() / 16;
        self.text.clear();
        self.marks.clear();
        self.marks.push(0);
        self.mark = 0;
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        for _ in text.bytes().filter(|byte| *byte == b'\n') {
            self.marks.push(self.mark);
        }
    }

    fn set_mark(&mut self, mark: char) {
        self.mark = u32::from(mark) - u32::from(FIRST_MARK);
        if let Some(last) = self.marks.last_mut() {
            *last = self.mark;
        }
    }
}

/// The budget that a rendering breached.
#[derive(Debug, thiserror::Error)]
#[error("more than {0}")]
pub(super) struct Breach(pub(super) &'static str);

impl Output for Rendered {
    fn write(&mut self, text: &str) -> Result<(), io::Error> {
        self.steps += 1;
        if text == PARTIAL_MARK {
            self.steps += self.partial_cost;
        } else if self.text.len() + text.len() > LARGEST_TEXT {
            return Err(io::Error::other(Breach("4 MiB of text")));
        } else {
            let mut rest = text;
            while let Some(at) = rest.bytes().position(|byte| byte >= MARK_BYTE) {
                let c = rest[at..].chars().next().unwrap_or_default();
                let end = at + c.len_utf8();
                if c >= FIRST_MARK {
                    self.push(&rest[..at]);
                    self.set_mark(c);
                } else {
                    self.push(&rest[..end]);
                }
                rest = &rest[end..];
            }
            self.push(rest);
        }
        if self.steps > MOST_STEPS {
            return Err(io::Error::other(Breach("200,000 steps")));
        }
        Ok(())
    }
}
