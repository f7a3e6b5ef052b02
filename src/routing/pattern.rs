//! Regular expressions as nginx's files write them (PCRE), matched in linear time wherever that can be.
//!
//! Bytes against bytes, letters of ASCII alone, unless the pattern begins with `(*UTF8)`. What takes
//! backtracking (look-around, references to groups, atomic groups) is matched with it, within a limit: a
//! text that a client has made to be slow stops no worker. A match that reaches the limit is neither one
//! nor none; whoever decides by it asks through [`watched`]. `$` is the very end; PCRE also lets it stand
//! before a last line feed.

mod pcre;

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use fancy_regex::BytesMode;
use regex::bytes::RegexBuilder;
use thiserror::Error;

use self::pcre::{Engine, translated};

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    engine: Compiled,
}

#[derive(Clone, Debug)]
enum Compiled {
    Linear(regex::bytes::Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

/// What a pattern's groups have matched.
pub enum Captures<'t> {
    Linear(regex::bytes::Captures<'t>),
    Backtracking(Vec<Option<Range<usize>>>),
}

/// Whether the case of letters matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    Sensitive,
    Insensitive,
}

/// A text took a pattern more steps than any may: nobody knows whether it matches.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a regular expression has reached its limit of backtracking")]
pub struct GaveUp;

/// Why a pattern was refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BadPattern {
    /// Matching in linear time is not enough.
    #[error("{0} takes backtracking")]
    Backtracks(&'static str),
    #[error(
        "{0} is not known here: match what may be there, and tell cases apart with `map` or `if`"
    )]
    Unknown(&'static str),
    #[error("it compiles to more than {} KiB: repeat less", COMPILED_BYTES_MAX / 1024)]
    TooLarge,
    #[error("{0}")]
    Syntax(String),
}

const COMPILED_BYTES_MAX: usize = 1024 * 1024;
/// Steps back in one match: some milliseconds. PCRE's own limit is seconds.
const BACKTRACKS_MAX: usize = 100_000;

thread_local! {
    static HAS_GIVEN_UP: Cell<bool> = const { Cell::new(false) };
}
/// Some pattern takes backtracking; where none does, nobody need watch.
static BACKTRACKS: AtomicBool = AtomicBool::new(false);

/// Does something that asks patterns, without waiting for anybody.
///
/// # Errors
/// One of them gave up: what was found out means nothing.
pub fn watched<T>(decide: impl FnOnce() -> T) -> Result<T, GaveUp> {
    if !BACKTRACKS.load(Relaxed) {
        return Ok(decide());
    }
    let before = HAS_GIVEN_UP.replace(false);
    let decided = decide();
    let has_given_up = HAS_GIVEN_UP.replace(before);
    if has_given_up { Err(GaveUp) } else { Ok(decided) }
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// It is none, or one of PCRE's that no engine here knows.
    pub fn compile(text: &str, case: Case) -> Result<Self, BadPattern> {
        let utf8 = text.strip_prefix("(*UTF8)").or_else(|| text.strip_prefix("(*UTF)"));
        let (text, is_utf8) = (utf8.unwrap_or(text), utf8.is_some());
        let engine = match translated(text, Engine::Linear) {
            Ok(spelled) => linear(&spelled, is_utf8, case)?,
            Err(BadPattern::Backtracks(_)) => {
                backtracking(&translated(text, Engine::Backtracking)?, is_utf8, case)?
            }
            Err(bad) => return Err(bad),
        };
        Ok(Self { engine })
    }

    /// Whether a text matches. Not, where the limit is reached; [`watched`] says so.
    pub fn is_match(&self, text: &[u8]) -> bool {
        match &self.engine {
            Compiled::Linear(regex) => regex.is_match(text),
            Compiled::Backtracking(regex) => self.known(regex.is_match(text)).unwrap_or(false),
        }
    }

    pub fn captures<'t>(&self, text: &'t [u8]) -> Option<Captures<'t>> {
        match &self.engine {
            Compiled::Linear(regex) => regex.captures(text).map(Captures::Linear),
            Compiled::Backtracking(regex) => {
                let captures = self.known(regex.captures(text)).flatten()?;
                let range = |group| captures.get(group).map(|found| found.start()..found.end());
                Some(Captures::Backtracking((0..captures.len()).map(range).collect()))
            }
        }
    }

    /// How many groups it has, the whole match aside.
    pub fn groups(&self) -> usize {
        let groups = match &self.engine {
            Compiled::Linear(regex) => regex.captures_len(),
            Compiled::Backtracking(regex) => regex.captures_len(),
        };
        groups.saturating_sub(1)
    }

    /// The groups that have names.
    pub fn names(&self) -> Vec<(usize, &str)> {
        fn of<'p>(names: impl Iterator<Item = Option<&'p str>>) -> Vec<(usize, &'p str)> {
            names.enumerate().filter_map(|(group, name)| Some((group, name?))).collect()
        }
        match &self.engine {
            Compiled::Linear(regex) => of(regex.capture_names()),
            Compiled::Backtracking(regex) => of(regex.capture_names()),
        }
    }

    fn known<T>(&self, found: Result<T, fancy_regex::Error>) -> Option<T> {
        match found {
            Ok(found) => Some(found),
            Err(error) => {
                HAS_GIVEN_UP.set(true);
                let pattern = match &self.engine {
                    Compiled::Linear(regex) => regex.as_str(),
                    Compiled::Backtracking(regex) => regex.as_str(),
                };
                tracing::error!(pattern, %error, "a regular expression was given up");
                None
            }
        }
    }
}

impl Captures<'_> {
    /// With the whole match.
    #[allow(clippy::len_without_is_empty, reason = "there is always the whole match")]
    pub fn len(&self) -> usize {
        match self {
            Self::Linear(captures) => captures.len(),
            Self::Backtracking(captures) => captures.len(),
        }
    }

    /// Where a group has matched, if it has.
    pub fn range(&self, group: usize) -> Option<Range<usize>> {
        match self {
            Self::Linear(captures) => captures.get(group).map(|found| found.range()),
            Self::Backtracking(captures) => captures.get(group)?.clone(),
        }
    }
}

fn linear(spelled: &str, is_utf8: bool, case: Case) -> Result<Compiled, BadPattern> {
    let regex = RegexBuilder::new(spelled)
        .unicode(is_utf8)
        .case_insensitive(case == Case::Insensitive)
        .size_limit(COMPILED_BYTES_MAX)
        .build();
    regex.map(Compiled::Linear).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => BadPattern::TooLarge,
        error => BadPattern::Syntax(last_line(&error.to_string())),
    })
}

fn backtracking(spelled: &str, is_utf8: bool, case: Case) -> Result<Compiled, BadPattern> {
    let mode = if is_utf8 { BytesMode::UnicodeBytes } else { BytesMode::Ascii };
    let regex = fancy_regex::RegexBuilder::new(spelled)
        .bytes_mode(mode)
        .case_insensitive(case == Case::Insensitive)
        .backtrack_limit(BACKTRACKS_MAX)
        .delegate_size_limit(COMPILED_BYTES_MAX)
        .max_prog_size(COMPILED_BYTES_MAX / 64)
        .build();
    let regex = regex.map_err(|error| BadPattern::Syntax(last_line(&error.to_string())))?;
    BACKTRACKS.store(true, Relaxed);
    Ok(Compiled::Backtracking(Box::new(regex)))
}

/// Of several lines with a picture the one that says what is wrong.
fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or(message);
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
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
        assert_eq!(pattern.names(), [(1, "a"), (2, "b"), (3, "c")]);
        assert_eq!(pattern.groups(), 4);
    }

    #[test]
    fn what_takes_backtracking_is_matched_with_it() {
        check(r"/\.(?!well-known)", &["/.git", "/a/.env"], &["/.well-known/x", "/a"]);
        check(r"^/(?!admin)[a-z]+$", &["/shop"], &["/admin"]);
        check(r"(?<=/)b(?=\.)", &["/b."], &["b.", "/b"]);
        check(r"(?<!a)b$", &["cb", "b"], &["ab"]);
        check(r"^(?>a+)b$", &["aab"], &["aac"]);
        check(r"^(?>a+)ab$", &[], &["aab"]);
        check(r"^a++b$", &["aab"], &["a"]);
        check(r"^a{1,2}+a$", &["aaa"], &["aa"]);
        check(r"^(a|b)\1$", &["aa", "bb"], &["ab"]);
        check(r"^(?<x>a|b)-\k<x>\g{1}\g1$", &["a-aaa"], &["a-aba", "a-b"]);
        check(r"^(a)?(?(1)b|c)$", &["ab", "c"], &["ac", "b"]);
        // As in linear time.
        check(r"^(?!x)[a&&b[]+\hé.$", &["a&[ éz"], &["a éz\n"]);
        check(r"^(?!x)[a--b\w]+$", &["a-b"], &["é"]);
        check(r"^(?=a)\Qa.b\E+$", &["a.bb"], &["axb"]);
        check(r"^(?=.)/{x}$", &["/{x}"], &["/x"]);
        check(r"^(?=.).{2}$", &["é", "ab"], &["a"]);
        check(r"(*UTF8)^(?=.).$", &["é"], &["ab"]);
        check(r"^(?!b)(?i:A)b$", &["ab"], &["aB"]);
    }

    #[test]
    fn bytes_of_no_text_are_matched() {
        let pattern = Pattern::compile("^(?!x).(y)$", Case::Insensitive).expect("a pattern");
        let captures = pattern.captures(b"\xffY").expect("it matches");
        assert_eq!((captures.len(), captures.range(1)), (2, Some(1..2)));
        assert_eq!((pattern.groups(), pattern.names()), (1, vec![]));
        let kelvin = Pattern::compile("^(?!x)k$", Case::Insensitive).expect("a pattern");
        assert!(kelvin.is_match(b"K") && !kelvin.is_match("\u{212a}".as_bytes()));
    }

    /// What a client could make slow is neither a match nor none.
    #[test]
    fn a_match_that_takes_too_long_is_given_up() {
        let slow = Pattern::compile(r"^(?:(a+)(?!b))+\1c$", Case::Sensitive).expect("a pattern");
        let text = [&b"a".repeat(2000)[..], b"!c"].concat();
        let begun = std::time::Instant::now();
        assert_eq!(watched(|| slow.is_match(&text)), Err(GaveUp));
        assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
        assert_eq!(
            watched(|| watched(|| slow.is_match(&text))),
            Ok(Err(GaveUp)),
            "of the inner one"
        );
        assert_eq!(watched(|| slow.is_match(b"b")), Ok(false));
    }

    #[test]
    fn what_no_engine_knows_is_refused_by_name() {
        for (pattern, what) in
            [("(?R)", "a recursion"), ("(?|a|b)", "a branch reset"), ("(*SKIP)a", "a verb")]
        {
            let error = Pattern::compile(pattern, Case::Sensitive).expect_err(pattern);
            assert_eq!(error, BadPattern::Unknown(what));
        }
    }

    #[test]
    fn what_is_no_pattern_is_said_in_one_line() {
        for pattern in [
            "(a",
            "a)",
            "[a",
            "\\",
            "a\\K",
            "(?<a>x)(?<a>y)",
            "a{1000}{1000}",
            "(?!a",
            r"(a)\2",
            r"(a)\g{-1}",
        ] {
            let error = Pattern::compile(pattern, Case::Sensitive).expect_err(pattern).to_string();
            assert!(!error.contains('\n') && !error.is_empty(), "{error}");
        }
    }
}
