//! Exit codes, formats and the one place that prints.

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::Value;

use crate::settings::SettingsError;
use crate::source::UrlError;
use crate::telemetry::TelemetryError;

/// How a verb ends. The numbers are part of the interface (`docs/cli.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Ok = 0,
    /// It did not work out.
    Failed = 1,
    /// The words were wrong, or the config is; in `plan --detailed-exitcode`: there are changes.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// The server wants a token.
    SignIn = 4,
    /// It took too long.
    Timeout = 5,
    /// It is held: by the brake, or until somebody agrees.
    Held = 6,
    /// The server cannot be reached.
    Unreachable = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        // the discriminants are the codes
        Self::from(exit as u8)
    }
}

/// How an answer is printed. The variants carry no help of their own: one line of `--help` names them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[expect(missing_docs, reason = "a comment here would be a paragraph of every --help")]
pub enum Format {
    Text,
    Wide,
    Json,
    Yaml,
    Name,
}

/// The flag that all verbs with an answer share.
#[derive(clap::Args, Clone, Copy)]
pub(super) struct Output {
    /// How the answer is printed: text, wide, json, yaml or name
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum)]
    #[arg(default_value_t = Format::Text, hide_possible_values = true, hide_default_value = true)]
    pub(super) format: Format,
}

/// An error that knows how the program ends.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Ends {
    pub(super) exit: Exit,
    pub(super) message: String,
}

/// An error that ends the program with this code.
pub(super) fn ends(exit: Exit, message: impl Into<String>) -> anyhow::Error {
    Ends { exit, message: message.into() }.into()
}

/// The exit code of an error. Flags and variables that cannot be used are wrong words.
pub(super) fn exit_of(error: &anyhow::Error) -> Exit {
    let wrong_words = error.is::<SettingsError>() || error.is::<UrlError>() || error.is::<TelemetryError>();
    let otherwise = if wrong_words { Exit::Usage } else { Exit::Failed };
    error.downcast_ref::<Ends>().map_or(otherwise, |ends| ends.exit)
}

/// Prints text; a reader that has gone away ends the program quietly.
pub(super) fn print(text: &str) {
    let mut out = io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Prints a value in a machine's format.
pub(super) fn print_value(value: &Value, format: Format) {
    match format {
        Format::Yaml => print(&crate::yaml::write(value)),
        _ => print(&(serde_json::to_string_pretty(value).unwrap_or_default() + "\n")),
    }
}

/// Prints an answer: for people, who may ask for more columns, as names, one a line, or whole for machines.
pub(super) fn answer(
    format: Format,
    value: &Value,
    people: impl FnOnce(bool) -> String,
    names: impl FnOnce() -> Vec<String>,
) {
    match format {
        Format::Text | Format::Wide => print(&plain(&people(format == Format::Wide))),
        Format::Name => names().iter().for_each(|name| print(&(plain(name) + "\n"))),
        Format::Json | Format::Yaml => print_value(value, format),
    }
}

/// A text of a server without what a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n' || *c == '\t').collect()
}

/// Says what went wrong, with everything behind it; the way out stands on a line of its own.
pub(super) fn complain(error: &anyhow::Error) {
    let mut text = format!("error: {}\n", hint_below(&error.to_string()));
    for cause in error.chain().skip(1) {
        text += &format!("  because {}\n", hint_below(&cause.to_string()));
    }
    // nobody is left to tell when this fails
    let _ = io::stderr().write_all(text.as_bytes());
}

fn hint_below(message: &str) -> String {
    message.replace("; hint: ", "\nhint: ").trim_end().to_owned()
}

/// Says how far it is, on standard error.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// What is waited for: a spinner on a terminal, a line otherwise.
pub(super) struct Progress(Option<ProgressBar>);

impl Progress {
    /// Says nothing where it is not wanted.
    pub(super) fn new(wanted: bool) -> Self {
        Self(wanted.then(ProgressBar::new_spinner))
    }

    /// Says what is waited for now.
    pub(super) fn on(&self, text: &str) {
        match &self.0 {
            Some(spinner) if io::stderr().is_terminal() => {
                spinner.set_message(text.to_owned());
                spinner.enable_steady_tick(Duration::from_millis(120));
            }
            Some(_) => say(text),
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = &self.0 {
            spinner.finish_and_clear();
        }
    }
}

/// A table of aligned columns, without borders, as `kubectl` prints them.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(head);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}
