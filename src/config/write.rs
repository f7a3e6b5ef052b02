//! YAML as it is written for people: in blocks, with comments, text quoted where it must be.

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Yaml {
    Text(String),
    /// A number, a switch, or a word that is known to need no quotes.
    Plain(String),
    /// Short lists stand on one line.
    Flow(Vec<Self>),
    List(Vec<Self>),
    Map(Map),
}

/// Keys in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    comments: Vec<String>,
    key: String,
    value: Yaml,
}

impl Yaml {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub fn on(is_on: bool) -> Self {
        Self::Plain(is_on.to_string())
    }

    pub fn number(number: u64) -> Self {
        Self::Plain(number.to_string())
    }

    pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::Flow(texts.into_iter().map(Self::text).collect())
    }

    fn is_on_one_line(&self) -> bool {
        match self {
            Self::Text(_) | Self::Plain(_) | Self::Flow(_) => true,
            Self::List(list) => list.is_empty(),
            Self::Map(map) => map.is_empty(),
        }
    }

    /// Writes what stands on the line of its key.
    fn inline(&self, out: &mut String) {
        match self {
            Self::Text(text) => scalar(out, text),
            Self::Plain(word) => out.push_str(word),
            Self::Flow(list) | Self::List(list) => {
                out.push('[');
                for (number, item) in list.iter().enumerate() {
                    if number > 0 {
                        out.push_str(", ");
                    }
                    item.inline(out);
                }
                out.push(']');
            }
            Self::Map(map) => {
                out.push_str("{ ");
                for (number, entry) in map.0.iter().enumerate() {
                    if number > 0 {
                        out.push_str(", ");
                    }
                    scalar(out, &entry.key);
                    out.push_str(": ");
                    entry.value.inline(out);
                }
                out.push_str(" }");
            }
        }
    }

    fn block(&self, out: &mut String, indent: usize) {
        match self {
            Self::List(list) => {
                for item in list {
                    item.item(out, indent);
                }
            }
            Self::Map(map) => map.block(out, indent),
            other => other.inline(out),
        }
    }

    /// An item of a list in block style: the first key of a mapping stands behind the dash.
    fn item(&self, out: &mut String, indent: usize) {
        let Self::Map(map) = self else {
            pad(out, indent);
            out.push_str("- ");
            self.inline(out);
            out.push('\n');
            return;
        };
        // The dash stands in front of the first key, below its comments.
        let (first, rest) = match map.0.split_first() {
            Some((first, rest)) => (first, rest),
            None => return out.push_str("- {}\n"),
        };
        first.write_comments(out, indent);
        pad(out, indent);
        out.push_str("- ");
        first.write_value(out, indent + 2);
        rest.iter().for_each(|entry| entry.write(out, indent + 2));
    }
}

impl Entry {
    fn write(&self, out: &mut String, indent: usize) {
        self.write_comments(out, indent);
        pad(out, indent);
        self.write_value(out, indent);
    }

    fn write_comments(&self, out: &mut String, indent: usize) {
        for comment in self.comments.iter().flat_map(|comment| comment.lines()) {
            pad(out, indent);
            out.push_str("# ");
            out.push_str(comment);
            out.push('\n');
        }
    }

    /// Its key and its value; the first line is indented already.
    fn write_value(&self, out: &mut String, indent: usize) {
        scalar(out, &self.key);
        out.push(':');
        if self.value.is_on_one_line() {
            out.push(' ');
            self.value.inline(out);
            out.push('\n');
        } else {
            out.push('\n');
            self.value.block(out, indent + 2);
        }
    }
}

impl Map {
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|entry| entry.key == key)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn add(&mut self, key: impl Into<String>, value: Yaml) {
        self.add_with(key, value, Vec::new());
    }

    /// With comments above it.
    pub fn add_with(&mut self, key: impl Into<String>, value: Yaml, comments: Vec<String>) {
        self.0.push(Entry { comments, key: key.into(), value });
    }

    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// All of it, as a file.
    pub fn write(&self) -> String {
        let mut out = String::new();
        self.block(&mut out, 0);
        out
    }

    fn block(&self, out: &mut String, indent: usize) {
        self.0.iter().for_each(|entry| entry.write(out, indent));
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Text without quotes where nobody could read it as anything else.
fn scalar(out: &mut String, text: &str) {
    let is_plain =
        text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'/')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_.-".contains(&byte))
            && !is_word(text);
    if is_plain || is_amount(text) {
        out.push_str(text);
    } else {
        quoted(out, text);
    }
}

/// Between double quotes, where YAML reads the escapes of JSON.
fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            ' '..='~'
            | '\u{a1}'..='\u{2027}'
            | '\u{202a}'..='\u{d7ff}'
            | '\u{e000}'..='\u{fefe}'
            | '\u{10000}'.. => out.push(character),
            // All that is left has four digits.
            other => out.push_str(&format!("\\u{:04x}", u32::from(other))),
        }
    }
    out.push('"');
}

/// A number with its unit, as times and sizes are written here.
fn is_amount(text: &str) -> bool {
    let unit = text.trim_start_matches(|digit: char| digit.is_ascii_digit());
    unit.len() < text.len() && ["ms", "s", "KiB", "MiB", "GiB"].contains(&unit)
}

/// Words that are no text to one version of YAML or another.
fn is_word(text: &str) -> bool {
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: Vec<(&str, Yaml)>) -> Map {
        let mut map = Map::default();
        entries.into_iter().for_each(|(key, value)| map.add(key, value));
        map
    }

    #[test]
    fn blocks_are_indented_and_comments_stay_above_what_they_are_about() {
        let route = |path: &str| {
            let mut route = Map::default();
            route.add_with("path", Yaml::text(path), vec!["from a.conf:3".to_owned()]);
            route.add("index", Yaml::texts(["a.html", "b.html"]));
            Yaml::Map(route)
        };
        let server = map(vec![
            ("names", Yaml::texts(["a.example"])),
            ("routes", Yaml::List(vec![route("/"), route("= /x")])),
        ]);
        let file = map(vec![
            ("workers", Yaml::number(2)),
            ("servers", Yaml::List(vec![Yaml::Map(server)])),
        ]);
        let expected = "\
workers: 2
servers:
  - names: [a.example]
    routes:
      # from a.conf:3
      - path: /
        index: [a.html, b.html]
      # from a.conf:3
      - path: \"= /x\"
        index: [a.html, b.html]
";
        assert_eq!(file.write(), expected);
    }

    /// Whatever text it is, YAML reads it as it was.
    #[test]
    fn text_comes_back_as_it_was() {
        for text in [
            "a",
            "",
            " ",
            "on",
            "Yes",
            "null",
            "~",
            "1",
            "1.5",
            "0x1f",
            "1e3",
            "- a",
            "a: b",
            "a #b",
            "#",
            "'",
            "\"",
            "\\",
            "$host",
            "${a}",
            "[a]",
            "{a}",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a`",
            "|",
            ">",
            "?",
            "a\nb",
            "a\tb",
            "\u{e9}",
            "\u{1f600}",
            "\u{7f}",
            "\u{85}",
            "\u{feff}",
            "2026-11-30",
            "12:30",
            "=",
            "<<",
            "/a/b",
            ".",
            "..",
            "-",
            "_",
            "a,b",
            "^/x(.*)$",
        ] {
            let written = map(vec![("key", Yaml::text(text))]).write();
            let read: std::collections::BTreeMap<String, String> = serde_saphyr::from_str(&written)
                .unwrap_or_else(|error| panic!("{written}: {error}"));
            assert_eq!(read["key"], text, "{written}");
            let written = map(vec![(text, Yaml::texts([text]))]).write();
            let read: std::collections::BTreeMap<String, Vec<String>> =
                serde_saphyr::from_str(&written)
                    .unwrap_or_else(|error| panic!("{written}: {error}"));
            assert_eq!(read[text], [text], "{written}");
        }
    }
}
