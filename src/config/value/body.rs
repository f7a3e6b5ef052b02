//! Patterns that are looked for in bodies.

use crate::session::answer_body::{BodyPattern, PatternFlaw};

use super::{Flaw, Parsed};

/// Reads a regular expression.
///
/// # Errors
/// What is wrong with it.
pub fn pattern(text: &str) -> Parsed<BodyPattern> {
    BodyPattern::new(text).map_err(|flaw| match flaw {
        PatternFlaw::TooLong => Flaw::new(
            format!("a pattern of {} bytes is too long", text.len()),
            "1,024 bytes at most: look for what all failures have in common",
        ),
        PatternFlaw::TooLarge => Flaw::new(
            format!("`{text}` is compiled to more than 256 KiB"),
            "write smaller repetitions, or `(?-u)` where ASCII will do",
        ),
        PatternFlaw::Anywhere => Flaw::new(
            format!("`{text}` is found in every body: no login would ever succeed"),
            "write what only a failure has, such as `Wrong password`",
        ),
        PatternFlaw::Syntax(why) => Flaw::new(
            format!("`{text}` is no pattern: {why}"),
            "it is a regular expression of Rust's `regex`; before what stands for itself write `\\`: `\\(`",
        ),
    })
}
