//! Texts with variables, compiled once.
//!
//! `$name`, `${name}`, and `$1` to `$9` for the groups of the last pattern that matched. There is no
//! escape for a dollar sign, as in nginx.

use std::borrow::Cow;

use bytes::Bytes;
use thiserror::Error;

use super::evaluation::Evaluation;
use super::registry::{Registry, Variable};

/// A text, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Constant(Bytes),
    Parts(Box<[Part]>),
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Text(Box<[u8]>),
    Variable(Variable),
    /// `$1` to `$9`.
    Capture(u8),
}

/// What `$1` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digits {
    /// A group of the last pattern.
    Captures,
    /// A variable of that name, which nobody can define: in formats of logs.
    Names,
}

/// What is wrong with a text.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BadTemplate {
    #[error("invalid variable name")]
    Name,
    #[error("the closing bracket in \"{0}\" variable is missing")]
    Bracket(String),
}

impl Template {
    /// Compiles a text.
    ///
    /// # Errors
    /// A `$` that no name follows, or a brace that is not closed.
    pub fn compile(text: &str, registry: &mut Registry) -> Result<Self, BadTemplate> {
        Self::compile_with(text, registry, Digits::Captures)
    }

    /// The same, where it has to be said what `$1` means.
    ///
    /// # Errors
    /// As [`compile`](Self::compile).
    pub fn compile_with(
        text: &str,
        registry: &mut Registry,
        digits: Digits,
    ) -> Result<Self, BadTemplate> {
        let mut parts: Vec<Part> = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            push_text(&mut parts, before);
            if let Some(group) = first_digit(after).filter(|_| digits == Digits::Captures) {
                parts.push(Part::Capture(group));
                registry.use_groups();
                rest = &after[1..];
                continue;
            }
            let (name, after) = name(after)?;
            parts.push(Part::Variable(registry.variable(name)));
            rest = after;
        }
        push_text(&mut parts, rest);
        let kind = match parts.as_mut_slice() {
            [] => Kind::Constant(Bytes::new()),
            [Part::Text(only)] => Kind::Constant(std::mem::take(only).into()),
            _ => Kind::Parts(parts.into()),
        };
        Ok(Self { kind })
    }

    /// A text in which a `$` means nothing.
    pub fn literal(text: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Constant(text.into()) }
    }

    /// The text itself, where it has no variables.
    pub fn constant(&self) -> Option<&Bytes> {
        match &self.kind {
            Kind::Constant(text) => Some(text),
            Kind::Parts(_) => None,
        }
    }

    /// Its pieces; none where it is constant.
    pub fn parts(&self) -> &[Part] {
        match &self.kind {
            Kind::Constant(_) => &[],
            Kind::Parts(parts) => parts,
        }
    }

    /// Those that stand in it.
    pub(super) fn variables(&self) -> impl Iterator<Item = Variable> {
        self.parts().iter().filter_map(|part| match part {
            Part::Variable(variable) => Some(*variable),
            Part::Text(_) | Part::Capture(_) => None,
        })
    }

    /// Whether it uses groups of the last pattern.
    pub fn has_captures(&self) -> bool {
        self.parts().iter().any(|part| matches!(part, Part::Capture(_)))
    }

    /// Its value.
    pub fn value<'t>(&'t self, evaluation: &mut Evaluation<'_>) -> Cow<'t, [u8]> {
        match &self.kind {
            Kind::Constant(text) => Cow::Borrowed(text),
            Kind::Parts(_) => {
                let mut out = Vec::new();
                self.append(evaluation, &mut out);
                Cow::Owned(out)
            }
        }
    }

    /// Appends its value.
    pub fn append(&self, evaluation: &mut Evaluation<'_>, out: &mut Vec<u8>) {
        match &self.kind {
            Kind::Constant(text) => out.extend_from_slice(text),
            Kind::Parts(parts) => {
                if self.computes_beside_groups() {
                    self.compute(evaluation);
                }
                for part in parts {
                    evaluation.append_part(part, out);
                }
            }
        }
    }

    /// Whether groups stand beside variables that a pattern may be run for.
    pub fn computes_beside_groups(&self) -> bool {
        let computed = |part: &Part| matches!(part, Part::Variable(Variable::Slot(_)));
        self.has_captures() && self.parts().iter().any(computed)
    }

    /// Computes its variables. As in nginx all are computed before the groups are looked at, which may
    /// then be those of a `map`.
    pub fn compute(&self, evaluation: &mut Evaluation<'_>) {
        let mut nowhere = Vec::new();
        for part in self.parts() {
            if let Part::Variable(variable @ Variable::Slot(_)) = part {
                evaluation.append(*variable, &mut nowhere);
                nowhere.clear();
            }
        }
    }

    /// Whether its value counts as true: not empty, and not `0` (nginx 13).
    pub fn is_true(&self, evaluation: &mut Evaluation<'_>) -> bool {
        !matches!(&*self.value(evaluation), b"" | b"0")
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.as_bytes().into()));
    }
}

fn first_digit(text: &str) -> Option<u8> {
    match text.as_bytes().first()? {
        digit @ b'1'..=b'9' => Some(digit - b'0'),
        _ => None,
    }
}

/// The name at the beginning of what follows a `$`, and what is behind it.
fn name(text: &str) -> Result<(&str, &str), BadTemplate> {
    let is_braced = text.starts_with('{');
    let text = &text[usize::from(is_braced)..];
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let length = text.bytes().position(|byte| !fits(byte)).unwrap_or(text.len());
    let (name, after) = text.split_at(length);
    let after = match after.strip_prefix('}') {
        Some(after) if is_braced => after,
        _ if is_braced => return Err(BadTemplate::Bracket(name.to_owned())),
        _ => after,
    };
    if name.is_empty() { Err(BadTemplate::Name) } else { Ok((name, after)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str, digits: Digits) -> Result<String, BadTemplate> {
        let mut registry = Registry::default();
        let template = Template::compile_with(text, &mut registry, digits)?;
        if let Some(constant) = template.constant() {
            return Ok(format!("{:?}", String::from_utf8_lossy(constant)));
        }
        let show = |part: &Part| match part {
            Part::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
            Part::Variable(Variable::Builtin(builtin)) => format!("{builtin:?}"),
            Part::Variable(Variable::Slot(_)) => "slot".to_owned(),
            Part::Capture(group) => format!("<{group}>"),
        };
        Ok(template.parts().iter().map(show).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn names_are_found_where_nginx_finds_them() {
        for (text, expected) in [
            ("", "\"\""),
            ("plain", "\"plain\""),
            ("$host", "Host"),
            ("$HOST", "Host"),
            ("${host}name", "Host \"name\""),
            ("$hostname", "Hostname"),
            ("http://$host:$server_port/", "\"http://\" Host \":\" ServerPort \"/\""),
            ("$1", "<1>"),
            ("$12", "<1> \"2\""),
            ("a$9b", "\"a\" <9> \"b\""),
            ("$0", "slot"),
            ("${1}", "slot"),
            ("$http_x-$uri", "slot \"-\" Uri"),
            ("ü$uriü", "\"ü\" Uri \"ü\""),
        ] {
            assert_eq!(show(text, Digits::Captures).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(show("$1", Digits::Names).as_deref(), Ok("slot"));
    }

    #[test]
    fn mistakes_are_told_in_nginx_words() {
        for (text, expected) in [
            ("$", "invalid variable name"),
            ("a$ b", "invalid variable name"),
            ("$$", "invalid variable name"),
            ("${}", "invalid variable name"),
            ("${host", "the closing bracket in \"host\" variable is missing"),
            ("${ho st}", "the closing bracket in \"ho\" variable is missing"),
            ("${", "the closing bracket in \"\" variable is missing"),
        ] {
            let error = show(text, Digits::Captures).expect_err(text);
            assert_eq!(error.to_string(), expected, "{text}");
        }
    }
}
