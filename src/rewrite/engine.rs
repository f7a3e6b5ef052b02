//! Runs scripts.

use std::io::Write;
use std::net::IpAddr;
use std::ops::ControlFlow::{self, Break, Continue};

use bytes::Bytes;

use crate::routing::percent::{self, Part as EscapedPart};
use crate::variables::evaluation::Evaluation;
use crate::variables::matcher::Matcher;
use crate::variables::name::{Builtin, Family};
use crate::variables::registry::Assignee;
use crate::variables::template::{Part, Template};
use crate::variables::values::{Value, Values};
use crate::variables::{Facts, parts};

use super::{Answer, Around, Content, Kind, Outcome, Script, Step, Uri};

impl Script {
    /// Runs it for a request.
    pub fn run(&self, uri: &mut Uri, around: &mut Around<'_>) -> Run {
        let mut engine = Engine {
            uri,
            around,
            quote: Quote::Groups,
            searches: false,
            is_internal: false,
            is_new: false,
            inside: None,
            limit_rate: None,
            status: None,
        };
        let ended = engine.steps(&self.steps);
        let Engine { searches, is_internal, is_new, inside, limit_rate, .. } = engine;
        let outcome = match ended {
            Break(End::Answer(answer)) => Outcome::Answer(answer),
            _ if searches => Outcome::SearchAgain,
            _ => Outcome::Continue { inside },
        };
        Run { outcome, is_internal, is_new, limit_rate }
    }
}

/// What came of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub outcome: Outcome,
    /// A rule was applied: from here on the request may go where only redirects inside lead.
    pub is_internal: bool,
    /// The URI is not what it was before.
    pub is_new: bool,
    /// What `$limit_rate` was set to.
    pub limit_rate: Option<Bytes>,
}

/// Why no further step is run.
pub(super) enum End {
    Script,
    Answer(Answer),
}

/// What is escaped on its way into a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quote {
    Nothing,
    /// Groups of patterns, where the path came with escapes (nginx 12).
    Groups,
}

/// A script at work.
pub(super) struct Engine<'e, 'a> {
    pub uri: &'e mut Uri,
    pub around: &'e mut Around<'a>,
    /// In values of `set` and `if`: nginx escapes there too, until a rule was applied.
    pub quote: Quote,
    /// A route is looked for when the script has ended.
    pub searches: bool,
    pub is_internal: bool,
    pub is_new: bool,
    inside: Option<usize>,
    limit_rate: Option<Bytes>,
    /// That of the answer whose text is made.
    status: Option<u16>,
}

impl Engine<'_, '_> {
    fn steps(&mut self, steps: &[Step]) -> ControlFlow<End> {
        for Step(step) in steps {
            match step {
                Kind::Set(assignee, value) => self.set(*assignee, value),
                Kind::If(condition, settings, then) => {
                    if condition.holds(self) {
                        self.inside = settings.or(self.inside);
                        self.steps(&then.steps)?;
                    }
                }
                Kind::Rewrite(rule) => rule.run(self)?,
                Kind::Return(status, text) => {
                    return Break(End::Answer(self.answer(*status, text.as_ref())));
                }
                Kind::Break => {
                    self.uri.is_final |= self.searches;
                    self.searches = false;
                    return Break(End::Script);
                }
            }
        }
        Continue(())
    }

    fn set(&mut self, assignee: Assignee, value: &Template) {
        let value = Bytes::from(self.value(value));
        match assignee {
            Assignee::Slot(slot) => self.around.values.set(slot, Value::Found(value)),
            Assignee::Builtin(Builtin::Args) => {
                self.uri.args = value.into();
                self.uri.is_changed = true;
                self.is_new = true;
            }
            // No other can be set.
            Assignee::Builtin(_) => self.limit_rate = Some(value),
        }
    }

    fn answer(&mut self, status: u16, text: Option<&Template>) -> Answer {
        let mut value = Vec::new();
        if let Some(text) = text {
            self.status = Some(status);
            self.append(text, Quote::Nothing, &mut value);
        }
        let content = match (status, text) {
            (301 | 302 | 303 | 307 | 308, _) => Content::Location(value.into()),
            (400.., None) => Content::Error,
            _ => Content::Text(value.into()),
        };
        Answer { status, content }
    }

    /// The value of a text that stands in `set` or `if`.
    pub(super) fn value(&mut self, template: &Template) -> Vec<u8> {
        let mut out = Vec::new();
        self.append(template, self.quote, &mut out);
        out
    }

    /// Whether a text matches. Its groups are there from now on, or none.
    pub(super) fn matches(&mut self, matcher: &Matcher, text: &[u8]) -> bool {
        let matches = matcher.run(text, self.around.values);
        if !matches {
            self.around.values.unmatched();
        }
        matches
    }

    pub(super) fn append(&mut self, template: &Template, quote: Quote, out: &mut Vec<u8>) {
        if let Some(constant) = template.constant() {
            return out.extend_from_slice(constant);
        }
        if template.computes_beside_groups() {
            let facts = Overlaid { facts: self.around.facts, uri: self.uri, status: self.status };
            let (variables, values) = (self.around.variables, &mut *self.around.values);
            template.compute(&mut Evaluation { variables, facts: &facts, values });
        }
        let escapes = quote == Quote::Groups && self.uri.was_escaped;
        for part in template.parts() {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Capture(group) => {
                    let text = self.around.values.capture(*group);
                    match escapes {
                        true => percent::escape(text, EscapedPart::Argument, out),
                        false => out.extend_from_slice(text),
                    }
                }
                Part::Variable(variable) => {
                    let facts =
                        Overlaid { facts: self.around.facts, uri: self.uri, status: self.status };
                    let variables = self.around.variables;
                    let values: &mut Values = self.around.values;
                    Evaluation { variables, facts: &facts, values }.append(*variable, out);
                }
            }
        }
    }
}

impl Overlaid<'_> {
    /// That of the error that is answered for; else that of the answer itself.
    fn status(&self, out: &mut Vec<u8>) -> bool {
        let begin = out.len();
        let is_there = self.facts.builtin(Builtin::Status, out);
        let Some(status) = self.status.filter(|_| out.get(begin..) == Some(b"000")) else {
            return is_there;
        };
        out.truncate(begin);
        write!(out, "{status:03}").is_ok()
    }
}

/// What there is to say about a request whose URI was changed, and about the answer that is made.
struct Overlaid<'a> {
    facts: &'a dyn Facts,
    uri: &'a Uri,
    status: Option<u16>,
}

impl Facts for Overlaid<'_> {
    fn builtin(&self, name: Builtin, out: &mut Vec<u8>) -> bool {
        let Uri { path, args, .. } = self.uri;
        match name {
            Builtin::Uri | Builtin::DocumentUri => out.extend_from_slice(path),
            Builtin::Args | Builtin::QueryString => out.extend_from_slice(args),
            Builtin::IsArgs if args.is_empty() => {}
            Builtin::IsArgs => out.push(b'?'),
            Builtin::Status => return self.status(out),
            other => return self.facts.builtin(other, out),
        }
        true
    }

    fn member(&self, family: Family, name: &[u8], out: &mut Vec<u8>) -> bool {
        if family != Family::Arg {
            return self.facts.member(family, name, out);
        }
        let found = parts::argument(&self.uri.args, name);
        found.inspect(|value| out.extend_from_slice(value)).is_some()
    }

    fn directory(&self) -> Option<&Template> {
        self.facts.directory()
    }

    fn of_directory(&self, name: Builtin, directory: &[u8], out: &mut Vec<u8>) -> bool {
        match name {
            Builtin::RequestFilename => self.facts.filename(directory, &self.uri.path, out),
            other => self.facts.of_directory(other, directory, out),
        }
    }

    fn secure_link(&self) -> Option<(&Template, &Template)> {
        self.facts.secure_link()
    }

    fn judge_link(&self, said: &[u8], hashed: &[u8], out: &mut Vec<u8>) -> bool {
        self.facts.judge_link(said, hashed, out)
    }

    fn client(&self) -> Option<IpAddr> {
        self.facts.client()
    }
}
