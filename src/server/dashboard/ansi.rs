//! Colours of a terminal in a line of a log, ECMA-48 section 8.3.117 (SGR), as names of our style sheet.

use serde_json::{Value, json};

/// A stretch of a line that looks the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    text: String,
    /// Classes of the style sheet: `b` bold, `d` dim, `i` italic, `u` underlined, `c0` to `c15` a colour.
    class: String,
}

/// How text looks from here on.
#[derive(Default, Clone, PartialEq, Eq)]
struct Look {
    bold: bool,
    dim: bool,
    italic: bool,
    underlined: bool,
    colour: Option<u8>,
}

impl Look {
    fn class(&self) -> String {
        let flags = [(self.bold, "b"), (self.dim, "d"), (self.italic, "i"), (self.underlined, "u")];
        let mut names: Vec<String> =
            flags.into_iter().filter(|(on, _)| *on).map(|(_, name)| name.to_owned()).collect();
        names.extend(self.colour.map(|colour| format!("c{colour}")));
        names.join(" ")
    }

    /// Obeys the parameters of one command. Backgrounds, and colours beyond the sixteen named ones, are left out.
    fn obey(&mut self, parameters: &str) {
        let mut codes = parameters.split([';', ':']).map(|code| code.parse().unwrap_or(0_u16));
        while let Some(code) = codes.next() {
            match code {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                3 => self.italic = true,
                4 => self.underlined = true,
                22 => (self.bold, self.dim) = (false, false),
                23 => self.italic = false,
                24 => self.underlined = false,
                30..=37 => self.colour = u8::try_from(code - 30).ok(),
                90..=97 => self.colour = u8::try_from(code - 90 + 8).ok(),
                39 => self.colour = None,
                // a colour of 256 has one parameter more, one of all has three
                38 | 48 => match codes.next() {
                    Some(5) => {
                        let of_256 = codes.next().and_then(|index| u8::try_from(index).ok());
                        if code == 38 {
                            self.colour = of_256.filter(|index| *index < 16);
                        }
                    }
                    Some(2) => codes.by_ref().take(3).for_each(drop),
                    _ => {}
                },
                _ => {}
            }
        }
    }
}

/// A line in stretches, without the commands to a terminal and other control characters.
pub(super) fn spans(line: &str) -> Vec<Span> {
    let (mut done, mut text, mut look) = (Vec::new(), String::new(), Look::default());
    let mut rest = line.chars().peekable();
    while let Some(character) = rest.next() {
        if character != '\u{1b}' {
            if character == '\t' || !character.is_control() {
                text.push(character);
            }
            continue;
        }
        if rest.next_if_eq(&'[').is_none() {
            continue;
        }
        let mut parameters = String::new();
        let last = rest.by_ref().find(|part| {
            let ends = ('\u{40}'..='\u{7e}').contains(part);
            if !ends {
                parameters.push(*part);
            }
            ends
        });
        if last == Some('m') {
            let before = look.class();
            look.obey(&parameters);
            if before != look.class() && !text.is_empty() {
                done.push(Span { text: std::mem::take(&mut text), class: before });
            }
        }
    }
    if !text.is_empty() {
        done.push(Span { text, class: look.class() });
    }
    done
}

/// The text alone.
pub(super) fn plain(line: &str) -> String {
    spans(line).into_iter().map(|span| span.text).collect()
}

/// The stretches as pairs of text and classes; `null` where nothing stands out.
pub(super) fn pairs(line: &str) -> Value {
    let spans = spans(line);
    if spans.iter().all(|span| span.class.is_empty()) {
        return Value::Null;
    }
    spans.into_iter().map(|span| json!([span.text, span.class])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_classes_and_control_characters_leave_the_text() {
        assert_eq!(plain("\u{1b}[1;31merror\u{1b}[0m:\tno\u{7} luck\r"), "error:\tno luck");
        assert_eq!(plain("ends \u{1b}["), "ends ");
        let line = "\u{1b}[1m\u{1b}[91merror\u{1b}[22m: \u{1b}[m\u{1b}[2Kplain\u{1b}[38;5;10mgreen\u{1b}[38;2;1;2;3mgreen";
        assert_eq!(
            pairs(line),
            json!([["error", "b c9"], [": ", "c9"], ["plain", ""], ["greengreen", "c10"]])
        );
        assert_eq!(pairs("nothing \u{1b}[0mstands out"), Value::Null);
    }
}
