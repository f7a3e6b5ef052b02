//! Directives of nginx's rewrite module, as steps.

use super::notes::Notes;
use super::routes::{self, Level, Made};
use super::scope::Scope;
use crate::config::write::{Map, Yaml};
use crate::import::tree::Directive;
use crate::import::value::condition::{Condition, FileTest};

/// The steps that a block's directives are, in their order. What stands in a condition counts in
/// locations; at servers it can only be steps.
pub fn steps(
    block: &[Directive],
    level: Level,
    scope: &Scope<'_>,
    made: &mut Made<'_>,
    notes: &mut Notes,
) -> Vec<Yaml> {
    let step = |directive: &Directive| step(directive, level, scope, made, notes);
    block.iter().filter_map(step).collect()
}

fn step(
    directive: &Directive,
    level: Level,
    scope: &Scope<'_>,
    made: &mut Made<'_>,
    notes: &mut Notes,
) -> Option<Yaml> {
    let words: Vec<&str> = directive.args.iter().map(|word| word.text.as_str()).collect();
    let mut step = Map::default();
    match (directive.name.text.as_str(), words.as_slice()) {
        ("break", _) => return Some(Yaml::text("break")),
        ("set", [name, value]) => step.add("set", Yaml::text(format!("{name} {}", rest(value)))),
        ("rewrite", words) => {
            let words: Vec<String> = words.iter().copied().map(word).collect();
            step.add("rewrite", Yaml::text(words.join(" ")));
        }
        ("return", [first, text]) => {
            step.add("return", Yaml::text(format!("{first} {}", rest(text))));
        }
        ("return", [first]) => step.add("return", Yaml::text(word(first))),
        // The reader has judged it.
        ("if", _) => {
            let block = directive.children();
            step.add("if", Yaml::text(condition(&Condition::read(directive).ok()?)));
            let then = steps(block, level, scope, made, notes);
            if !then.is_empty() {
                step.add("then", Yaml::List(then));
            }
            if level == Level::Location {
                let with = routes::inside(block, &scope.with(block), made, notes);
                if !with.is_empty() {
                    step.add("with", Yaml::Map(with));
                }
            }
        }
        _ => return None,
    }
    Some(Yaml::Map(step))
}

/// Whether a block has steps at all.
pub fn has_steps(block: &[Directive]) -> bool {
    let is_step = |name: &str| ["set", "if", "rewrite", "break", "return"].contains(&name);
    block.iter().any(|directive| is_step(&directive.name.text))
}

/// The answer of a block that does nothing but answer, where it can be a key of its own.
pub fn answer_alone(block: &[Directive]) -> Option<String> {
    let is_other = |name: &str| ["set", "if", "rewrite", "break"].contains(&name);
    if block.iter().any(|directive| is_other(&directive.name.text)) {
        return None;
    }
    let answer = block.iter().find(|directive| directive.name.text == "return")?;
    let first = answer.first().unwrap_or_default();
    match answer.arg(1) {
        None if first.parse::<u16>().is_ok_and(|status| !(300..400).contains(&status)) => {
            Some(first.to_owned())
        }
        None => None,
        Some(text) if text.is_empty() || rest(text) != text => None,
        Some(text) => Some(format!("{first} {text}")),
    }
}

fn condition(condition: &Condition) -> String {
    let not = |negated: &bool| if *negated { "!" } else { "" };
    match condition {
        Condition::Set { variable } => format!("${variable}"),
        Condition::Equal { variable, text, negated } => {
            format!("${variable} {}= {}", not(negated), rest(text))
        }
        Condition::Matches { variable, pattern, any_case, negated } => {
            let case = if *any_case { "*" } else { "" };
            format!("${variable} {}~{case} {}", not(negated), rest(pattern))
        }
        Condition::File { test, name, negated } => {
            let test = match test {
                FileTest::File => "-f",
                FileTest::Directory => "-d",
                FileTest::Exists => "-e",
                FileTest::Executable => "-x",
            };
            format!("{}{test} {}", not(negated), rest(name))
        }
    }
}

/// A text among others: in quotes where it would be cut or be taken for a quoted one.
fn word(text: &str) -> String {
    match text.contains(char::is_whitespace) {
        true => quoted(text),
        false => rest(text),
    }
}

/// A text that nothing follows.
fn rest(text: &str) -> String {
    let is_quoted = text.starts_with(['"', '\'']);
    match text.is_empty() || text.trim() != text || is_quoted {
        true => quoted(text),
        false => text.to_owned(),
    }
}

fn quoted(text: &str) -> String {
    match text.contains('"') && !text.contains('\'') {
        true => format!("'{text}'"),
        false => format!("\"{}\"", text.replace('"', "\\\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_they_were() {
        for (text, alone, among) in [
            ("a", "a", "a"),
            ("", "\"\"", "\"\""),
            ("a b", "a b", "\"a b\""),
            (" a", "\" a\"", "\" a\""),
            ("\"a\" b", "'\"a\" b'", "'\"a\" b'"),
            ("it's \"a\"", "it's \"a\"", "\"it's \\\"a\\\"\""),
            (r"^/\w+ $", r"^/\w+ $", r#""^/\w+ $""#),
        ] {
            assert_eq!((rest(text).as_str(), word(text).as_str()), (alone, among), "{text}");
        }
    }
}
