//! A line of our own log, in either form, as its target and fields.

use std::collections::HashMap;

/// What is known of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub target: String,
    fields: HashMap<String, String>,
}

/// The targets that say something here.
const TARGETS: [&str; 4] = ["access", "audit", "cookies", "learn"];

impl Line {
    /// Reads a line of the log, with whatever a journal has put before it; `None` for all others.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let line = match text.find('{').filter(|_| text.ends_with('}')) {
            Some(begin) => Self::of_json(&text[begin..]).or_else(|| Self::of_text(text)),
            None => Self::of_text(text),
        };
        line.filter(|line| TARGETS.contains(&line.target.as_str()))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// A field that a line of its kind always has.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or("-")
    }

    fn of_json(text: &str) -> Option<Self> {
        let serde_json::Value::Object(object) = serde_json::from_str(text).ok()? else {
            return None;
        };
        let mut line = Self::default();
        for (name, value) in object {
            let value = match value {
                serde_json::Value::String(text) => text,
                serde_json::Value::Number(number) => number.to_string(),
                _ => continue,
            };
            if name == "target" {
                line.target = value;
            } else {
                line.fields.insert(name, value);
            }
        }
        Some(line)
    }

    /// `2026-11-30T… INFO learn: answer policy="shop" status=302`
    fn of_text(text: &str) -> Option<Self> {
        let (begin, target) = TARGETS.iter().find_map(|target| {
            let mark = format!(" {target}: ");
            text.find(&mark).map(|at| (at + mark.len(), *target))
        })?;
        let mut line = Self { target: target.to_owned(), ..Self::default() };
        // The message is one word.
        let (_, mut rest) = text[begin..].split_once(' ')?;
        while let Some((name, after)) = rest.split_once('=') {
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => unquoted(quoted)?,
                None => {
                    let end = after.find(' ').unwrap_or(after.len());
                    (after[..end].to_owned(), &after[end..])
                }
            };
            line.fields.insert(name.trim().to_owned(), value);
            rest = after;
        }
        Some(line)
    }
}

/// What stands up to the closing quote, as Rust escapes it, and what follows.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                'u' => {
                    let code: String = characters
                        .by_ref()
                        .skip(1)
                        .map(|(_, c)| c)
                        .take_while(|c| *c != '}')
                        .collect();
                    value.extend(u32::from_str_radix(&code, 16).ok().and_then(char::from_u32));
                }
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_alike() {
        let text = "Nov 30 22:00:00 host cloakroom[1]: 2026-11-30T22:00:00Z  INFO learn: answer policy=\"shop\" path=\"/a \\\"b\\\" x=\\u{9}\" status=302 session=0102abcd..";
        let json = r#"{"timestamp":"2026","level":"INFO","message":"answer","policy":"shop","path":"/a \"b\" x=\t","status":302,"session":"0102abcd..","target":"learn"}"#;
        for text in [text, json] {
            let line = Line::read(text).expect("a line");
            assert_eq!(line.target, "learn");
            for (name, expected) in [
                ("policy", "shop"),
                ("path", "/a \"b\" x=\t"),
                ("status", "302"),
                ("session", "0102abcd.."),
            ] {
                assert_eq!(line.get(name), Some(expected), "{name}: {text}");
            }
        }
    }

    #[test]
    fn other_lines_are_none() {
        for text in [
            "",
            "nonsense",
            "{}",
            "{\"target\":\"cloakroom\"}",
            "INFO cloakroom: listening",
            "a learn: answer x=\"unclosed",
        ] {
            assert_eq!(Line::read(text), None, "{text}");
        }
    }
}
