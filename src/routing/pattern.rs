//! Regular expressions as nginx's files write them (PCRE), matched in linear time.
//!
//! Bytes against bytes, letters of ASCII alone, unless the pattern begins with `(*UTF8)`. What PCRE
//! reads otherwise than `regex` does is rewritten where that changes no match. What takes backtracking
//! (look-around, references to groups, atomic groups) is refused by name: a pattern that a client can
//! make slow stops a worker. `$` is the very end; PCRE also lets it stand before a last line feed.

use regex::bytes::{Captures, Regex, RegexBuilder};
use thiserror::Error;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
}

/// Whether the case of letters matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    Sensitive,
    Insensitive,
}

/// Why a pattern was refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BadPattern {
    #[error("{0} takes backtracking, which a client could make arbitrarily slow: {1}")]
    Backtracks(&'static str, &'static str),
    #[error("it compiles to more than {} KiB: repeat less", COMPILED_BYTES_MAX / 1024)]
    TooLarge,
    #[error("{0}")]
    Syntax(String),
}

const COMPILED_BYTES_MAX: usize = 1024 * 1024;

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// It is none, or one that cannot be matched in linear time.
    pub fn compile(text: &str, case: Case) -> Result<Self, BadPattern> {
        let utf8 = text.strip_prefix("(*UTF8)").or_else(|| text.strip_prefix("(*UTF)"));
        let regex = RegexBuilder::new(&translated(utf8.unwrap_or(text))?)
            .unicode(utf8.is_some())
            .case_insensitive(case == Case::Insensitive)
            .size_limit(COMPILED_BYTES_MAX)
            .build();
        regex.map(|regex| Self { regex }).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => BadPattern::TooLarge,
            error => BadPattern::Syntax(last_line(&error.to_string())),
        })
    }

    pub fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    pub fn captures<'t>(&self, text: &'t [u8]) -> Option<Captures<'t>> {
        self.regex.captures(text)
    }

    /// How many groups it has, the whole match aside.
    pub fn groups(&self) -> usize {
        self.regex.captures_len() - 1
    }

    /// The groups that have names.
    pub fn names(&self) -> impl Iterator<Item = (usize, &str)> {
        let names = self.regex.capture_names().enumerate();
        names.filter_map(|(group, name)| Some((group, name?)))
    }
}

/// Of several lines with a picture the one that says what is wrong.
fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or(message);
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// A pattern of PCRE's in the spelling of `regex`.
fn translated(text: &str) -> Result<String, BadPattern> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        rest = match next {
            '\\' => escape(rest, &mut out)?,
            '[' => class(rest, &mut out),
            '(' => group(rest, &mut out)?,
            '{' if !is_repetition(rest) => {
                out.push_str("\\{");
                &rest[1..]
            }
            '*' | '+' | '?' | '{' => quantifier(rest, &mut out)?,
            _ => {
                out.push(next);
                &rest[next.len_utf8()..]
            }
        };
    }
    Ok(out)
}

/// An escape outside of a class.
fn escape<'t>(text: &'t str, out: &mut String) -> Result<&'t str, BadPattern> {
    let Some(escaped) = text[1..].chars().next() else {
        return Err(BadPattern::Syntax("it ends with a backslash".to_owned()));
    };
    let after = &text[1 + escaped.len_utf8()..];
    match escaped {
        '1'..='9' | 'k' | 'g' => {
            return Err(BadPattern::Backtracks("a reference to a group", "compare in two steps"));
        }
        'Q' => {
            let (quoted, after) = after.split_once("\\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(quoted));
            return Ok(after);
        }
        'E' => {}
        'K' | 'G' | 'C' | 'X' => {
            return Err(BadPattern::Syntax(format!("`\\{escaped}` is not known here")));
        }
        'Z' => out.push_str("(?:\\n?\\z)"),
        'h' => out.push_str("[\\t ]"),
        'H' => out.push_str("[^\\t ]"),
        'R' => out.push_str("(?:\\r\\n|[\\n-\\r])"),
        'v' => out.push_str("[\\n-\\r]"),
        'N' => out.push_str("[^\\n]"),
        'e' => out.push_str("\\x1B"),
        // In `regex` these are the ends of words.
        '<' | '>' => out.push(escaped),
        _ if escaped.is_ascii() => out.extend(['\\', escaped]),
        _ => out.push(escaped),
    }
    Ok(after)
}

/// A class in brackets: what `regex` takes for operators there are characters in PCRE.
fn class<'t>(text: &'t str, out: &mut String) -> &'t str {
    out.push('[');
    let mut rest = &text[1..];
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    if let Some(after) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = after;
    }
    while let Some(next) = rest.chars().next() {
        let mut length = next.len_utf8();
        match next {
            ']' => {
                out.push(']');
                return &rest[1..];
            }
            '[' if rest.starts_with("[:") && rest.contains(":]") => {
                length = rest.find(":]").map_or(length, |end| end + 2);
                out.push_str(&rest[..length]);
            }
            '\\' => {
                let escaped = rest[1..].chars().next();
                length += escaped.map_or(0, char::len_utf8);
                match escaped {
                    Some('h') => out.push_str("\\t "),
                    Some('b') => out.push_str("\\x08"),
                    Some('e') => out.push_str("\\x1B"),
                    Some(escaped @ ('<' | '>' | '_')) => out.push(escaped),
                    _ => out.push_str(&rest[..length]),
                }
            }
            '[' | '&' | '~' => out.extend(['\\', next]),
            // Two of them are a difference of sets; one may be a range.
            '-' if rest.starts_with("--") => out.push_str("\\-"),
            _ => out.push(next),
        }
        rest = &rest[length..];
    }
    rest
}

/// The beginning of a group.
fn group<'t>(text: &'t str, out: &mut String) -> Result<&'t str, BadPattern> {
    const REMEDY: &str = "match what may be there, and tell cases apart with `map` or `if`";
    let backtracks = |what| Err(BadPattern::Backtracks(what, REMEDY));
    if let Some(after) = text.strip_prefix("(?#") {
        return Ok(after.split_once(')').map_or("", |(_, after)| after));
    }
    for (spelled, what) in [
        ("(?=", "a look-ahead"),
        ("(?!", "a look-ahead"),
        ("(?<=", "a look-behind"),
        ("(?<!", "a look-behind"),
        ("(?>", "an atomic group"),
        ("(?|", "a branch reset"),
        ("(?(", "a condition"),
        ("(?R", "a recursion"),
        ("(?&", "a recursion"),
        ("(*", "a verb"),
    ] {
        if text.starts_with(spelled) {
            return backtracks(what);
        }
    }
    if let Some((name, after)) = text.strip_prefix("(?'").and_then(|rest| rest.split_once('\'')) {
        out.extend(["(?<", name, ">"]);
        return Ok(after);
    }
    // The `?` of a group is no quantifier.
    let length = if text.starts_with("(?") { 2 } else { 1 };
    out.push_str(&text[..length]);
    Ok(&text[length..])
}

/// `*`, `+`, `?` or `{…}`, with what may follow.
fn quantifier<'t>(text: &'t str, out: &mut String) -> Result<&'t str, BadPattern> {
    let length = if text.starts_with('{') { text.find('}').map_or(1, |end| end + 1) } else { 1 };
    out.push_str(&text[..length]);
    let after = &text[length..];
    if after.starts_with('+') {
        return Err(BadPattern::Backtracks("a possessive quantifier", "leave its `+` out"));
    }
    Ok(match after.strip_prefix('?') {
        Some(rest) => {
            out.push('?');
            rest
        }
        None => after,
    })
}

/// Whether a brace repeats something: `{2}`, `{2,}`, `{2,3}`.
fn is_repetition(text: &str) -> bool {
    let Some((inner, _)) = text[1..].split_once('}') else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match inner.split_once(',') {
        None => is_number(inner),
        Some((least, most)) => is_number(least) && (most.is_empty() || is_number(most)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        let compiled = Pattern::compile(pattern, Case::Sensitive).expect(pattern);
        for text in matching {
            assert!(compiled.is_match(text.as_bytes()), "{pattern} on {text:?}");
        }
        for text in others {
            assert!(!compiled.is_match(text.as_bytes()), "{pattern} on {text:?}");
        }
    }

    #[test]
    fn patterns_mean_what_they_mean_to_pcre() {
        check(r"\.(jpe?g|png)$", &["/a.jpg", "/a.jpeg"], &["/a.jpgx", "/ajpg", "/a.JPG"]);
        check(r"^\/api\/v\d+\/", &["/api/v1/"], &["/api/v/"]);
        check(r"^/{x}$", &["/{x}"], &["/x"]);
        check(r"^/a{2}$", &["/aa"], &["/a{2}"]);
        check(r"^[[]$", &["["], &["]"]);
        check(r"^[]x]+$", &["]x"], &["y"]);
        check(r"^[a&&b]+$", &["a&b"], &["c"]);
        check(r"^[a--b]+$", &["a-b"], &["c"]);
        check(r"^[\w.-]+$", &["a-b.c"], &["a b", "é"]);
        check(r"^[[:alpha:]_]+$", &["ab_"], &["a1"]);
        check(r"^\<a\>$", &["<a>"], &["a"]);
        check(r"^a\hb$", &["a b", "a\tb"], &["a\nb"]);
        check(r"^\Qa.b\E+$", &["a.bb"], &["axb"]);
        check(r"^(?#a comment)a$", &["a"], &[]);
        check(r"^a+?(?:b|c)??$", &["aab"], &["d"]);
        check(r"^é$", &["é"], &["e"]);
        check(r"^.{2}$", &["é", "ab"], &["a"]);
        check(r"(*UTF8)^.$", &["é"], &["ab"]);
        check(r"^(?i:A)b$", &["ab"], &["aB"]);
    }

    #[test]
    fn case_is_that_of_ascii() {
        let pattern = Pattern::compile("^/Straße/K$", Case::Insensitive).expect("a pattern");
        assert!(pattern.is_match("/sTRAßE/k".as_bytes()));
        assert!(!pattern.is_match("/sTRAßE/\u{212a}".as_bytes()), "no Kelvin sign");
    }

    #[test]
    fn names_of_groups_are_read_in_all_spellings() {
        let pattern = Pattern::compile("(?<a>x)(?P<b>y)(?'c'z)(w)", Case::Sensitive);
        let pattern = pattern.expect("a pattern");
        assert_eq!(pattern.names().collect::<Vec<_>>(), [(1, "a"), (2, "b"), (3, "c")]);
        assert_eq!(pattern.groups(), 4);
    }

    #[test]
    fn what_takes_backtracking_is_refused_by_name() {
        for (pattern, what) in [
            ("^/(?!admin)", "a look-ahead"),
            ("(?<=a)b", "a look-behind"),
            ("(?>a)b", "an atomic group"),
            ("a++b", "a possessive quantifier"),
            ("a{2}+", "a possessive quantifier"),
            (r"(a)\1", "a reference to a group"),
            ("(?R)", "a recursion"),
        ] {
            let error = Pattern::compile(pattern, Case::Sensitive).expect_err(pattern);
            assert!(matches!(error, BadPattern::Backtracks(found, _) if found == what), "{error}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_said_in_one_line() {
        for pattern in ["(a", "a)", "[a", "\\", "a\\K", "(?<a>x)(?<a>y)", "a{1000}{1000}"] {
            let error = Pattern::compile(pattern, Case::Sensitive).expect_err(pattern).to_string();
            assert!(!error.contains('\n') && !error.is_empty(), "{error}");
        }
    }
}
