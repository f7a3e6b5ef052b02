//! What `if` asks (nginx 13).

use crate::routing::pattern::Case;
use crate::variables::matcher::Matcher;
use crate::variables::registry::Registry;
use crate::variables::template::Template;

use super::engine::Engine;
use super::{BadStep, File, FileKind, words};

/// A condition.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    test: Test,
    /// What must come out of it.
    expected: bool,
}

#[derive(Clone, Debug)]
enum Test {
    True(Template),
    Equals(Template, Template),
    Matches(Template, Matcher),
    Is(What, Template),
}

/// What a file is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Regular,
    Directory,
    There,
    Executable,
}

impl Condition {
    /// Reads `$name`, `$name OPERATOR VALUE` or `-f PATH`; parentheses around it may be left out.
    pub(super) fn compile(text: &str, registry: &mut Registry) -> Result<Self, BadStep> {
        let text = text.trim();
        let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
        let text = inner.unwrap_or(text).trim();
        let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim_start();
        if let Some((what, expected)) = file_test(first) {
            let path = operand(rest).ok_or(BadStep::Condition)?;
            let test = Test::Is(what, Template::compile(&path, registry)?);
            return Ok(Self { test, expected });
        }
        let left = Template::compile(first, registry)?;
        if !first.starts_with('$') || left.parts().len() != 1 {
            return Err(BadStep::Condition);
        }
        if rest.is_empty() {
            return Ok(Self { test: Test::True(left), expected: true });
        }
        let (operator, right) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let right = operand(right.trim()).ok_or(BadStep::Condition)?;
        let (positive, expected) = match operator.strip_prefix('!') {
            Some(positive) => (positive, false),
            None => (operator, true),
        };
        let test = match positive {
            "=" => Test::Equals(left, Template::compile(&right, registry)?),
            "~" => Test::Matches(left, Matcher::compile(&right, Case::Sensitive, registry)?),
            "~*" => Test::Matches(left, Matcher::compile(&right, Case::Insensitive, registry)?),
            _ => return Err(BadStep::Condition),
        };
        Ok(Self { test, expected })
    }

    pub(super) fn holds(&self, engine: &mut Engine<'_, '_>) -> bool {
        let outcome = match &self.test {
            Test::True(value) => !matches!(&*engine.value(value), b"" | b"0"),
            Test::Equals(left, right) => engine.value(left) == engine.value(right),
            Test::Matches(subject, matcher) => {
                let subject = engine.value(subject);
                engine.matches(matcher, &subject)
            }
            Test::Is(what, path) => {
                let path = engine.value(path);
                engine.around.files.look(&path).is_some_and(|file| what.is(file))
            }
        };
        outcome == self.expected
    }
}

impl What {
    fn is(self, file: File) -> bool {
        match self {
            Self::Regular => file.kind == FileKind::Regular,
            Self::Directory => file.kind == FileKind::Directory,
            Self::There => true,
            Self::Executable => file.is_executable,
        }
    }
}

fn file_test(text: &str) -> Option<(What, bool)> {
    let (bare, expected) = match text.strip_prefix('!') {
        Some(bare) => (bare, false),
        None => (text, true),
    };
    let what = match bare {
        "-f" => What::Regular,
        "-d" => What::Directory,
        "-e" => What::There,
        "-x" => What::Executable,
        _ => return None,
    };
    Some((what, expected))
}

/// What stands behind an operator, which may be in quotes, and is not there only if it is not.
fn operand(text: &str) -> Option<String> {
    match words::unquoted(text) {
        Some(inner) => Some(inner),
        None if text.is_empty() => None,
        None => Some(text.to_owned()),
    }
}
