//! `rewrite` (nginx 11, 12).

use std::ops::ControlFlow::{self, Break, Continue};

use crate::routing::pattern::Case;
use crate::variables::matcher::Matcher;
use crate::variables::registry::Registry;
use crate::variables::template::Template;

use super::engine::{End, Engine, Quote};
use super::{Answer, BadStep, Content, is_absolute, words};

/// A rule.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// As it was written, for the log.
    pattern: Box<str>,
    matcher: Matcher,
    replacement: Replacement,
    /// The request's own arguments are put behind those of the replacement.
    keeps_args: bool,
    flag: Flag,
}

#[derive(Clone, Debug)]
enum Replacement {
    Uri { path: Template, args: Option<Template> },
    Redirect { status: u16, location: Template, has_args: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flag {
    /// The next rule sees the new URI.
    None,
    Last,
    Break,
}

impl Rule {
    pub(super) fn compile(text: &str, registry: &mut Registry) -> Result<Self, BadStep> {
        let words = words::words(text);
        let (pattern, replacement, flag) = match words.as_slice() {
            [pattern, replacement] => (pattern, replacement.as_str(), None),
            [pattern, replacement, flag] => (pattern, replacement.as_str(), Some(flag.as_str())),
            _ => return Err(BadStep::Rule),
        };
        let (flag, status) = match flag {
            None => (Flag::None, None),
            Some("last") => (Flag::Last, None),
            Some("break") => (Flag::Break, None),
            Some("redirect") => (Flag::Last, Some(302)),
            Some("permanent") => (Flag::Last, Some(301)),
            Some(other) => return Err(BadStep::Flag(other.to_owned())),
        };
        let status = status.or(is_absolute(replacement).then_some(302));
        let matcher = Matcher::compile(pattern, Case::Sensitive, registry)?;
        // The last `?` drops the request's arguments.
        let bare = replacement.strip_suffix('?');
        let keeps_args = bare.is_none();
        let text = bare.unwrap_or(replacement);
        let replacement = match status {
            Some(status) => Replacement::Redirect {
                status,
                location: Template::compile(text, registry)?,
                has_args: text.contains('?'),
            },
            None => {
                let (path, args) = match text.split_once('?') {
                    Some((path, args)) => (path, Some(args)),
                    None => (text, None),
                };
                Replacement::Uri {
                    path: Template::compile(path, registry)?,
                    args: args.map(|args| Template::compile(args, registry)).transpose()?,
                }
            }
        };
        Ok(Self { pattern: pattern.as_str().into(), matcher, replacement, keeps_args, flag })
    }

    pub(super) fn run(&self, engine: &mut Engine<'_, '_>) -> ControlFlow<End> {
        let path = std::mem::take(&mut engine.uri.path);
        let matches = engine.matches(&self.matcher, &path);
        engine.uri.path = path;
        if engine.around.logs {
            let path = String::from_utf8_lossy(&engine.uri.path);
            tracing::info!(pattern = %self.pattern, %path, matches, "a rule was tried");
        }
        if !matches {
            return Continue(());
        }
        engine.is_internal = true;
        match &self.replacement {
            Replacement::Redirect { status, location, has_args } => {
                let mut text = Vec::new();
                engine.append(location, Quote::Groups, &mut text);
                let mut text = unescaped(&text);
                if self.keeps_args && !engine.uri.args.is_empty() {
                    text.push(if *has_args { b'&' } else { b'?' });
                    text.extend_from_slice(&engine.uri.args);
                }
                let content = Content::Location(text.into());
                Break(End::Answer(Answer { status: *status, content }))
            }
            Replacement::Uri { path, args } => self.replace(engine, path, args.as_ref()),
        }
    }

    fn replace(
        &self,
        engine: &mut Engine<'_, '_>,
        path: &Template,
        args: Option<&Template>,
    ) -> ControlFlow<End> {
        let mut new_path = Vec::new();
        engine.append(path, Quote::Nothing, &mut new_path);
        let new_args = args.map(|args| {
            let mut text = Vec::new();
            engine.append(args, Quote::Groups, &mut text);
            text
        });
        engine.quote = Quote::Nothing;
        let uri = &mut *engine.uri;
        match new_args {
            Some(mut args) => {
                if self.keeps_args && !uri.args.is_empty() {
                    args.push(b'&');
                    args.extend_from_slice(&uri.args);
                }
                uri.args = args;
            }
            None if !self.keeps_args => uri.args.clear(),
            None => {}
        }
        uri.is_changed = true;
        engine.is_new = true;
        if engine.around.logs {
            let (path, args) = (&new_path, &engine.uri.args);
            let [path, args] = [path, args].map(|text| String::from_utf8_lossy(text));
            tracing::info!(%path, %args, "the URI was rewritten");
        }
        let uri = &mut *engine.uri;
        if new_path.is_empty() {
            tracing::error!("the rewritten URI has a zero length");
            return Break(End::Answer(Answer { status: 500, content: Content::Error }));
        }
        uri.path = new_path;
        match self.flag {
            Flag::Break => {
                uri.is_final = true;
                engine.searches = false;
                Break(End::Script)
            }
            Flag::Last => {
                engine.searches = true;
                Break(End::Script)
            }
            Flag::None => {
                engine.searches = true;
                Continue(())
            }
        }
    }
}

/// Undoes escapes of what is visible, up to the first question mark, as nginx does for redirects
/// (`NGX_UNESCAPE_REDIRECT`): groups were escaped, and must not come out escaped twice.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        let escaped = tail.first_chunk::<2>().filter(|_| *byte == b'%');
        let escaped = escaped.and_then(|digits| Some((digits, value(*digits)?)));
        match escaped {
            Some((_, b'?')) => {
                out.push(b'?');
                out.extend_from_slice(&tail[2..]);
                return out;
            }
            Some((_, visible @ 0x26..=0x7e)) => {
                out.push(visible);
                rest = &tail[2..];
            }
            Some((digits, _)) => {
                out.push(b'%');
                out.extend_from_slice(digits);
                rest = &tail[2..];
            }
            None if *byte == b'?' => {
                out.extend_from_slice(rest);
                return out;
            }
            None => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    out
}

fn value(digits: [u8; 2]) -> Option<u8> {
    let digit =
        |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(digits[0])? << 4 | digit(digits[1])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_keeps_escaped_what_must_be() {
        for (text, expected) in [
            ("/a%20b", "/a%20b"),
            ("/a%2fb%41", "/a/bA"),
            ("/%C3%A9%25", "/%C3%A9%25"),
            ("/a%3Fb%41", "/a?b%41"),
            ("/a?b%41", "/a?b%41"),
            ("/100%", "/100%"),
            ("/%zz%4", "/%zz%4"),
        ] {
            assert_eq!(String::from_utf8_lossy(&unescaped(text.as_bytes())), expected, "{text}");
        }
    }
}
