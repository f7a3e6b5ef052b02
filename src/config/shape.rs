//! Text to [`schema::File`], and the parser's and serde's mistakes in an operator's words.
//!
//! There the first mistake ends the reading: what comes after it cannot be told apart from noise.

use std::thread;

use serde_saphyr::{Error, Location};

use super::diagnostic::{Diagnostic, Place, Severity};
use super::outline::{outline, path_at};
use super::schema::File;
use super::value::{Flaw, did_you_mean};

/// Reads the file's shape.
///
/// # Errors
/// The first mistake of syntax or shape.
pub fn read(text: &str) -> Result<File, Diagnostic> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK_BYTES);
        let reading = thread.spawn_scoped(scope, || deserialize(text));
        // Without another thread there is this one's stack.
        let read = reading.ok().and_then(|reading| reading.join().ok());
        read.unwrap_or_else(|| deserialize(text))
    })
}

/// Routes lie in routes, and each level takes more than a thread has to spare by default.
const STACK_BYTES: usize = 32 * 1024 * 1024;

fn deserialize(text: &str) -> Result<File, Diagnostic> {
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| translate(&error, text))
}

/// A place for our purposes: of the use where a value comes from an anchor.
pub fn place(location: Location) -> Option<Place> {
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    (location.line() > 0).then(|| Place {
        line: number(location.line()),
        column: number(location.column()),
        length: usize::try_from(location.span().len()).unwrap_or(1),
    })
}

fn translate(error: &Error, text: &str) -> Diagnostic {
    let place = error.location().and_then(place);
    let entries = outline(text);
    let path = place.map_or_else(String::new, |place| path_at(&entries, place.line, place.column));
    let first = entries.iter().find(|entry| entry.path == path).map(|entry| entry.line);
    let Flaw { message, help } = flaw(error, first);
    Diagnostic { severity: Severity::Error, place, path, message, help }
}

/// `first` is the line on which the same key stands for the first time.
fn flaw(error: &Error, first: Option<usize>) -> Flaw {
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => flaw(error, first),
        Error::SerdeUnknownField { field, expected, .. } => {
            Flaw::new("unknown key", known_keys(&did_you_mean(field, expected), expected))
        }
        Error::DuplicateMappingKey { .. } => Flaw::new(
            "given twice",
            first.map_or_else(String::new, |line| format!("the first is on line {line}: keep one")),
        ),
        Error::InvalidBooleanStrict { .. } => {
            Flaw::new("expected a switch", "write `true` or `false`")
        }
        Error::InvalidScalar { ty, .. } => number(ty),
        Error::Unexpected { expected, .. } => unexpected(expected),
        Error::NullIntoString { .. } => {
            Flaw::new("has no value", "give it one, or leave the key out")
        }
        Error::MultipleDocuments { .. } => Flaw::new(
            "a second document begins here",
            "a configuration is one document: remove the `---`",
        ),
        Error::UnknownAnchor { .. } => Flaw::new(
            "refers to an anchor that there is not",
            "a value that begins with `*` is an alias in YAML: put it in quotes",
        ),
        other => Flaw::new(without_place(&other.to_string()), hint(&other.to_string())),
    }
}

/// The key that was meant; and all keys of the place, where somebody would read that many.
fn known_keys(meant: &str, expected: &[&str]) -> String {
    const READ_MAX: usize = 20;
    match expected.len() {
        ..=READ_MAX => format!("{meant}known here: {}", expected.join(", ")),
        _ => format!("{meant}`cloakroom schema` lists all keys that are known here"),
    }
}

fn number(ty: &str) -> Flaw {
    match ty {
        "u16" => Flaw::new("expected a whole number", "from 0 to 65535, without quotes or unit"),
        "u32" => {
            Flaw::new("expected a whole number", "from 0 to 4294967295, without quotes or unit")
        }
        _ => Flaw::new("expected a whole number", "not negative, without quotes or unit"),
    }
}

fn unexpected(expected: &str) -> Flaw {
    match expected {
        "mapping start" => Flaw::new(
            "expected keys with values",
            "write `key: value` lines below it, or `{ key: value }`",
        ),
        "sequence start" => {
            Flaw::new("expected a list", "write `[a, b]`, or lines below it that begin with `- `")
        }
        "string scalar" => {
            Flaw::new("expected a single value", "write it beside the key, in quotes if need be")
        }
        other => Flaw::new(format!("expected {other}"), ""),
    }
}

/// What usually lies behind a mistake of syntax.
fn hint(message: &str) -> &'static str {
    if message.contains("tab") {
        "YAML indents with spaces"
    } else if message.contains("block mapping") || message.contains("indent") {
        "lines that belong together begin in the same column"
    } else if message.contains("flow") || message.contains("quote") {
        "a bracket, brace or quote is not closed"
    } else {
        ""
    }
}

/// The place stands before the message already.
fn without_place(message: &str) -> String {
    let end = message.rfind(" at line ").unwrap_or(message.len());
    message[..end].to_owned()
}
