//! nginx's rewrite module: `set`, `if`, `rewrite`, `return` and `break`, compiled to a script.
//!
//! Running one is a pure function of the request's URI and variables; what follows from it (a search
//! for another route, an answer) is the exchange's business, and so is the limit on rounds.

mod condition;
mod engine;
mod rule;
mod words;

#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::variables::Facts;
use crate::variables::matcher::BadMatcher;
use crate::variables::registry::{Assignee, Duplicate, Registry, Variables};
use crate::variables::template::{BadTemplate, Template};
use crate::variables::values::Values;

use condition::Condition;
use rule::Rule;

pub use engine::Run;

/// Steps that are run one after the other.
#[derive(Clone, Debug, Default)]
pub struct Script {
    steps: Box<[Step]>,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Set(Assignee, Template),
    /// With the settings that count while it holds, by their index.
    If(Condition, Option<usize>, Script),
    Rewrite(Box<Rule>),
    Return(u16, Option<Template>),
    Break,
}

/// Why a step was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadStep {
    #[error("it is no condition")]
    Condition,
    #[error("it is no rule: a regular expression and what replaces it, with blanks between them")]
    Rule,
    #[error("`{0}` is no flag")]
    Flag(String),
    #[error("`{0}` is no status from 0 to 999")]
    Status(String),
    #[error("`{0}` is no name of a variable")]
    Name(String),
    #[error(transparent)]
    Template(#[from] BadTemplate),
    #[error(transparent)]
    Matcher(#[from] BadMatcher),
    #[error(transparent)]
    Duplicate(#[from] Duplicate),
}

impl Script {
    pub fn new(steps: Vec<Step>) -> Self {
        Self { steps: steps.into() }
    }

    /// Adds a step at the end.
    pub fn push(&mut self, step: Step) {
        let mut steps = std::mem::take(&mut self.steps).into_vec();
        steps.push(step);
        self.steps = steps.into();
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl Step {
    /// `set`: a variable (`$name`) and its value.
    ///
    /// # Errors
    /// No name, or that of a variable that cannot be set; a text that is none.
    pub fn set(name: &str, value: &str, registry: &mut Registry) -> Result<Self, BadStep> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let bare = name.strip_prefix('$').filter(|bare| !bare.is_empty() && bare.bytes().all(fits));
        let bare = bare.ok_or_else(|| BadStep::Name(name.to_owned()))?;
        let assignee = registry.assign(bare)?;
        let value = words::unquoted(value.trim()).unwrap_or_else(|| value.trim().to_owned());
        Ok(Self(Kind::Set(assignee, Template::compile(&value, registry)?)))
    }

    /// `if`: a condition such as `$host = a` or `!-f $request_filename`, and what is run where it
    /// holds. `settings` are those of the route while it does, by an index of the caller's.
    ///
    /// # Errors
    /// It is no condition.
    pub fn when(
        condition: &str,
        settings: Option<usize>,
        then: Script,
        registry: &mut Registry,
    ) -> Result<Self, BadStep> {
        Ok(Self(Kind::If(Condition::compile(condition, registry)?, settings, then)))
    }

    /// `rewrite`: `^/a/(.*)$ /b/$1 last`.
    ///
    /// # Errors
    /// No pattern, no replacement, an unknown flag.
    pub fn rewrite(text: &str, registry: &mut Registry) -> Result<Self, BadStep> {
        Ok(Self(Kind::Rewrite(Box::new(Rule::compile(text, registry)?))))
    }

    /// `return`: `403`, `200 text`, `301 URL`, or a URL alone.
    ///
    /// # Errors
    /// No status; a text that is none.
    pub fn answer(text: &str, registry: &mut Registry) -> Result<Self, BadStep> {
        let (first, rest) = words::split_first(text);
        if rest.is_none() && is_absolute(&first) {
            return Ok(Self(Kind::Return(302, Some(Template::compile(&first, registry)?))));
        }
        let is_status = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
        let status = first.parse().ok().filter(|status| is_status && *status <= 999);
        let status = status.ok_or_else(|| BadStep::Status(first.clone()))?;
        let text = rest.map(|text| Template::compile(&text, registry)).transpose()?;
        Ok(Self::status(status, text))
    }

    /// `return`, read already. An error whose text is empty has its page.
    pub fn status(status: u16, text: Option<Template>) -> Self {
        let is_nothing = |text: &Template| text.constant().is_some_and(|text| text.is_empty());
        Self(Kind::Return(status, text.filter(|text| status < 400 || !is_nothing(text))))
    }

    /// `break`
    pub fn stop() -> Self {
        Self(Kind::Break)
    }
}

/// What makes a redirect of a replacement.
fn is_absolute(text: &str) -> bool {
    ["http://", "https://", "$scheme"].iter().any(|begin| text.starts_with(begin))
}

/// The URI of a request, as scripts see and change it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uri {
    /// Decoded (`$uri`).
    pub path: Vec<u8>,
    /// Without `?`, as sent (`$args`).
    pub args: Vec<u8>,
    /// The path was sent with escapes or with a `+`: groups of it are escaped again where they
    /// become arguments (nginx 12).
    pub was_escaped: bool,
    /// It is not what came any more: a worker is asked for this one.
    pub is_changed: bool,
    /// It was changed for good where it is (`break`): what a route would put in the place of its own
    /// path is of no use.
    pub is_final: bool,
}

/// What scripts need beside the URI.
pub struct Around<'a> {
    pub variables: &'a Variables,
    pub facts: &'a dyn Facts,
    pub values: &'a mut Values,
    pub files: &'a dyn Files,
    /// What becomes of rules is logged (nginx `rewrite_log`).
    pub logs: bool,
}

/// What conditions ask about files.
pub trait Files {
    /// What there is under a path, links followed; `None` where there is nothing, or nothing that may
    /// be seen.
    fn look(&self, path: &[u8]) -> Option<File>;
}

/// Something under a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    pub kind: FileKind,
    /// Its owner may execute it; directories may be entered.
    pub is_executable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Regular,
    Directory,
    Other,
}

/// What follows from a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The request goes on where it is.
    Continue {
        /// The settings of the last condition that held.
        inside: Option<usize>,
    },
    /// A route is looked for again.
    SearchAgain,
    Answer(Answer),
}

/// An answer that a script gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// As of any error; 444 is none at all.
    Error,
    /// Of the type that is the default one there; may be empty.
    Text(Bytes),
    /// A URL, or a path that is not absolute yet.
    Location(Bytes),
}
