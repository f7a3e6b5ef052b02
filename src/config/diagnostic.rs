//! What is wrong with a file, in words: place, key, message, snippet with a caret, remedy.
//!
//! The first line of each reads `file:line:column: severity: path.to.key: message`, the form that
//! editors and CI systems turn into links.

use std::fmt;

/// How much a diagnostic weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is not used.
    Error,
    /// It is used; `check --deny-warnings` fails.
    Warning,
    /// It is used; something in it has no effect yet.
    Notice,
}

impl Severity {
    /// The word in front of a message.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

/// A place in the text, counted in characters from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    /// Characters that the caret underlines; 0 counts as 1.
    pub length: usize,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// `None` where the finding concerns the file as a whole.
    pub place: Option<Place>,
    /// The key's path: `servers[0].routes[1].upstream`; empty at the root.
    pub path: String,
    pub message: String,
    /// What to do about it; may be empty.
    pub help: String,
}

/// Findings in one file, sorted by place, with the text that they point into.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    file: String,
    lines: Vec<String>,
    found: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Collects findings on a file's text.
    pub fn new(file: &str, text: &str, mut found: Vec<Diagnostic>) -> Self {
        found.sort_by_key(|diagnostic| diagnostic.place);
        let lines = text.trim_start_matches('\u{feff}').lines().map(str::to_owned).collect();
        Self { file: file.to_owned(), lines, found }
    }

    /// A single finding on a file that could not be read as text.
    pub fn unreadable(file: &str, message: String) -> Self {
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            place: None,
            path: String::new(),
            message,
            help: String::new(),
        };
        Self::new(file, "", vec![diagnostic])
    }

    /// The findings, sorted by place.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.found.iter()
    }

    /// How many there are of one severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.found.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// One line for each finding, without snippet: for logs.
    pub fn one_liners(&self) -> Vec<String> {
        self.found.iter().map(|diagnostic| self.headline(diagnostic)).collect()
    }

    /// A notice says nothing is wrong, so it names no severity and reads as a sentence.
    fn headline(&self, diagnostic: &Diagnostic) -> String {
        let mut line = printable(&self.file);
        if let Some(place) = diagnostic.place {
            line += &format!(":{}:{}", place.line, place.column);
        }
        if diagnostic.severity == Severity::Notice {
            let Diagnostic { path, message, .. } = diagnostic;
            return format!("{line}: {} {}", printable(path), printable(message));
        }
        line += &format!(": {}: ", diagnostic.severity.as_str());
        if !diagnostic.path.is_empty() {
            line += &format!("{}: ", printable(&diagnostic.path));
        }
        line + &printable(&diagnostic.message)
    }

    fn snippet(&self, place: Place) -> Option<String> {
        let line = self.lines.get(place.line.checked_sub(1)?)?;
        let (line, offset) = window(&printable(&without_userinfo(line)), place.column);
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        let before = place.column.saturating_sub(1).saturating_sub(offset);
        let rest = line.chars().count().saturating_sub(before);
        let carets = "^".repeat(place.length.clamp(1, rest.max(1)));
        let indent = " ".repeat(before);
        let trimmed = line.trim_end();
        Some(format!("{margin} |\n{number} | {trimmed}\n{margin} | {indent}{carets}\n"))
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.found {
            writeln!(f, "{}", self.headline(diagnostic))?;
            if diagnostic.severity == Severity::Notice {
                continue;
            }
            let margin = diagnostic.place.map_or(1, |place| place.line.to_string().len());
            if let Some(snippet) = diagnostic.place.and_then(|place| self.snippet(place)) {
                f.write_str(&snippet)?;
            }
            if !diagnostic.help.is_empty() {
                let help = printable(&diagnostic.help);
                writeln!(f, "{} = help: {help}", " ".repeat(margin))?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Diagnostics {
    /// Without the file's text, which may hold the password of a store.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.one_liners()).finish()
    }
}

impl std::error::Error for Diagnostics {}

/// Replaces `user:password` of every URL in a text by as many `*`, so that columns stay.
pub fn without_userinfo(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (head, tail) = rest.split_at(start + 3);
        masked += head;
        // A `/` in a password must be percent-encoded, but one who forgot that has no less
        // of a secret: everything up to the word's last `@` goes.
        let word =
            tail.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')).unwrap_or(tail.len());
        let end = tail[..word].rfind('@').unwrap_or(0);
        masked.extend(tail[..end].chars().map(|_| '*'));
        rest = &tail[end..];
    }
    masked + rest
}

/// Control characters would steer the terminal; a tab would shift the caret.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The part of a very long line around a column, and how many characters were left out before it.
fn window(line: &str, column: usize) -> (String, usize) {
    const WIDTH: usize = 160;
    const BEFORE: usize = 80;
    if line.chars().count() <= WIDTH {
        return (line.to_owned(), 0);
    }
    let offset = column.saturating_sub(BEFORE);
    (line.chars().skip(offset).take(WIDTH).collect(), offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize, column: usize, length: usize) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            place: Some(Place { line, column, length }),
            path: "a.b".to_owned(),
            message: "is wrong".to_owned(),
            help: "mend it".to_owned(),
        }
    }

    fn check(text: &str, found: Vec<Diagnostic>, expected: &str) {
        assert_eq!(Diagnostics::new("f.yaml", text, found).to_string(), expected, "{text:?}");
    }

    #[test]
    fn place_key_message_snippet_and_remedy_are_shown() {
        check(
            "x: 1\na: { b: 30 }\n",
            vec![at(2, 9, 2)],
            "f.yaml:2:9: error: a.b: is wrong\n  |\n2 | a: { b: 30 }\n  |         ^^\n  = help: mend it\n",
        );
    }

    #[test]
    fn a_notice_is_one_sentence() {
        let message = "is accepted but has no effect yet: none".to_owned();
        let notice = Diagnostic { severity: Severity::Notice, message, ..at(1, 4, 1) };
        check("x: 1\n", vec![notice], "f.yaml:1:4: a.b is accepted but has no effect yet: none\n");
    }

    #[test]
    fn findings_are_sorted_by_place() {
        let all =
            Diagnostics::new("f.yaml", "a\nb\nc\n", vec![at(3, 1, 1), at(1, 2, 1), at(1, 1, 1)]);
        let places: Vec<_> =
            all.iter().filter_map(|d| d.place).map(|p| (p.line, p.column)).collect();
        assert_eq!(places, [(1, 1), (1, 2), (3, 1)]);
    }

    #[test]
    fn a_caret_ends_with_its_line_and_a_place_outside_the_text_has_no_snippet() {
        check(
            "ab\n",
            vec![at(1, 2, 9)],
            "f.yaml:1:2: error: a.b: is wrong\n  |\n1 | ab\n  |  ^\n  = help: mend it\n",
        );
        check("ab\n", vec![at(7, 1, 1)], "f.yaml:7:1: error: a.b: is wrong\n  = help: mend it\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        check(
            "\tab: \u{1b}[31m\n",
            vec![at(1, 2, 2)],
            "f.yaml:1:2: error: a.b: is wrong\n  |\n1 |  ab:  [31m\n  |  ^^\n  = help: mend it\n",
        );
    }

    #[test]
    fn a_long_line_is_cut_around_its_caret() {
        let text = format!("{}KEY{}", "x".repeat(300), "y".repeat(300));
        let shown = Diagnostics::new("f", &text, vec![at(1, 301, 3)]).to_string();
        let lines: Vec<_> = shown.lines().collect();
        let caret = lines[3].find('^').expect("there is a caret");
        assert_eq!(&lines[2][caret..caret + 3], "KEY");
        assert!(lines[2].len() < 200, "{}", lines[2].len());
    }

    #[test]
    fn the_password_of_a_url_is_never_shown() {
        for (text, expected) in [
            ("store: redis://bob:s3cret@host/0", "store: redis://**********@host/0"),
            ("store: \"redis://:s3/cr@et@host\" # a@b", "store: \"redis://*********@host\" # a@b"),
            (
                "store: redis://host/0 # by bob@example.com",
                "store: redis://host/0 # by bob@example.com",
            ),
            ("no url", "no url"),
        ] {
            assert_eq!(without_userinfo(text), expected);
        }
        let shown = Diagnostics::new("f", "store: x://a:s3cret@h", vec![at(1, 8, 14)]);
        assert!(!format!("{shown} {shown:?}").contains("s3cret"));
    }
}
