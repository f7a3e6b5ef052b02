//! The condition of an `if`.

use crate::import::tree::Directive;

/// What an `if` tests. Texts may have variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A variable that is neither empty nor `0`; by its name without `$`.
    Set { variable: String },
    /// A variable that is equal to a text, or not.
    Equal { variable: String, text: String, negated: bool },
    /// A variable that fits a pattern, or does not.
    Matches { variable: String, pattern: String, any_case: bool, negated: bool },
    /// What there is in the file system by a name.
    File { test: FileTest, name: String, negated: bool },
}

/// `-f`, `-d`, `-e`, `-x`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileTest {
    File,
    Directory,
    Exists,
    Executable,
}

impl Condition {
    /// Reads the arguments of an `if`.
    ///
    /// # Errors
    /// nginx's message, without the place.
    pub fn read(directive: &Directive) -> Result<Self, String> {
        let mut words: Vec<&str> = directive.args.iter().map(|word| word.text.as_str()).collect();
        let invalid = |word: &str| Err(format!("invalid condition \"{word}\""));
        let first = words.first().copied().unwrap_or_default();
        let Some(after) = first.strip_prefix('(') else {
            return invalid(first);
        };
        if after.is_empty() && words.len() > 1 {
            words.remove(0);
        } else if let Some(word) = words.first_mut() {
            *word = after;
        }
        let last = words.last().copied().unwrap_or_default();
        let Some(before) = last.strip_suffix(')') else {
            return invalid(last);
        };
        if before.is_empty() && words.len() > 1 {
            words.pop();
        } else if let Some(word) = words.last_mut() {
            *word = before;
        }
        let first = words.first().copied().unwrap_or_default();
        match first.strip_prefix('$') {
            Some(variable) if !variable.is_empty() => of_variable(variable, &words),
            _ => of_file(&words),
        }
    }
}

fn of_variable(name: &str, words: &[&str]) -> Result<Condition, String> {
    let variable = name.to_owned();
    let (operator, value) = match words {
        [_] => return Ok(Condition::Set { variable }),
        [_, operator, value] => (*operator, (*value).to_owned()),
        _ => return Err(format!("invalid condition \"${name}\"")),
    };
    let negated = operator.starts_with('!');
    match operator.trim_start_matches('!') {
        "=" if operator.len() < 3 => Ok(Condition::Equal { variable, text: value, negated }),
        kind @ ("~" | "~*") if operator.len() - kind.len() < 2 => {
            Ok(Condition::Matches { variable, pattern: value, any_case: kind == "~*", negated })
        }
        _ => Err(format!("unexpected \"{operator}\" in condition")),
    }
}

fn of_file(words: &[&str]) -> Result<Condition, String> {
    let first = words.first().copied().unwrap_or_default();
    let negated = first.starts_with('!');
    let test = match first.strip_prefix('!').unwrap_or(first) {
        "-f" => Some(FileTest::File),
        "-d" => Some(FileTest::Directory),
        "-e" => Some(FileTest::Exists),
        "-x" => Some(FileTest::Executable),
        _ => None,
    };
    match (test, words) {
        (Some(test), [_, name]) => Ok(Condition::File { test, name: (*name).to_owned(), negated }),
        _ => Err(format!("invalid condition \"{first}\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Condition, FileTest};
    use crate::import::read::tests::one;

    fn read(words: &str) -> Result<Condition, String> {
        Condition::read(&one(&format!("if {words};")))
    }

    #[test]
    fn conditions_are_read_with_and_without_spaces() {
        let x = || "x".to_owned();
        let set = Condition::Set { variable: x() };
        for words in ["($x)", "( $x )", "( $x)", "($x )"] {
            assert_eq!(read(words), Ok(set.clone()), "{words}");
        }
        let equal = |negated| Condition::Equal { variable: x(), text: "a b".to_owned(), negated };
        assert_eq!(read("($x = \"a b\")"), Ok(equal(false)));
        assert_eq!(read("($x != 'a b' )"), Ok(equal(true)));
        let matches = |any_case, negated| Condition::Matches {
            variable: x(),
            pattern: "^(a)".to_owned(),
            any_case,
            negated,
        };
        assert_eq!(read("($x ~ ^(a))"), Ok(matches(false, false)));
        assert_eq!(read("($x ~* ^(a))"), Ok(matches(true, false)));
        assert_eq!(read("($x !~ ^(a))"), Ok(matches(false, true)));
        assert_eq!(read("($x !~* ^(a))"), Ok(matches(true, true)));
        let file = |test, negated| Condition::File { test, name: "/$x".to_owned(), negated };
        assert_eq!(read("(-f /$x)"), Ok(file(FileTest::File, false)));
        assert_eq!(read("(!-d /$x)"), Ok(file(FileTest::Directory, true)));
        assert_eq!(read("(!-e /$x )"), Ok(file(FileTest::Exists, true)));
        assert_eq!(read("(-x /$x)"), Ok(file(FileTest::Executable, false)));
    }

    #[test]
    fn wrong_conditions_are_named_as_by_nginx() {
        for (words, expected) in [
            ("x", "invalid condition \"x\""),
            ("(x)", "invalid condition \"x\""),
            ("($x", "invalid condition \"$x\""),
            ("($)", "invalid condition \"$\""),
            ("($x = )", "invalid condition \"$x\""),
            ("($x = a b)", "invalid condition \"$x\""),
            ("($x ! a)", "unexpected \"!\" in condition"),
            ("($x == a)", "unexpected \"==\" in condition"),
            ("($x !!= a)", "unexpected \"!!=\" in condition"),
            ("(-f)", "invalid condition \"-f\""),
            ("(-q /x)", "invalid condition \"-q\""),
            ("(!-f)", "invalid condition \"!-f\""),
        ] {
            assert_eq!(read(words), Err(expected.to_owned()), "{words}");
        }
    }
}
