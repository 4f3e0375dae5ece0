//! Exit codes, formats and the one place that prints.

use std::io::{self, Write};
use std::process::ExitCode;

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

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// As JSON.
    Json,
    /// As YAML.
    Yaml,
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

/// The exit code of an error.
pub(super) fn exit_of(error: &anyhow::Error) -> Exit {
    error.downcast_ref::<Ends>().map_or(Exit::Failed, |ends| ends.exit)
}

/// Prints text; a reader that has gone away ends the program quietly.
pub(super) fn print(text: &str) {
    let mut out = io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Prints a value in a machine's format.
pub(super) fn print_value(value: &serde_json::Value, format: Format) {
    match format {
        Format::Yaml => print(&crate::yaml::write(value)),
        Format::Text | Format::Json => {
            print(&(serde_json::to_string_pretty(value).unwrap_or_default() + "\n"))
        }
    }
}

/// Says what went wrong, with everything behind it.
pub(super) fn complain(error: &anyhow::Error) {
    let mut text = format!("error: {error}\n");
    for cause in error.chain().skip(1) {
        text += &format!("  because {cause}\n");
    }
    // nobody is left to tell when this fails
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Says how far it is, on standard error.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
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
