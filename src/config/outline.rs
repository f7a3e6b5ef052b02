//! The skeleton of a YAML text: which key stands where. serde's mistakes have a place but no
//! path; the path follows from the place.

use serde_saphyr::granit_parser::{Event, Parser};

/// A key or a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `servers[0].routes`
    pub path: String,
    /// Counted in characters from 1.
    pub line: usize,
    pub column: usize,
}

/// A collection that has not ended yet.
enum Frame {
    /// The key whose value comes next.
    Mapping(Option<String>),
    /// The index of the item that comes next.
    Sequence(usize),
}

/// Lists keys and values in the order of the text, up to the first mistake of syntax.
pub fn outline(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut frames: Vec<Frame> = Vec::new();
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        let (line, column) = (span.start.line(), span.start.col() + 1);
        let mut enter = |path| entries.push(Entry { path, line, column });
        match event {
            Event::Scalar(text, ..) => match frames.last_mut() {
                Some(Frame::Mapping(key @ None)) => {
                    *key = Some(text.into_owned());
                    enter(path(&frames));
                }
                _ => {
                    enter(path(&frames));
                    next(&mut frames);
                }
            },
            Event::Alias(_) => {
                enter(path(&frames));
                next(&mut frames);
            }
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                // No key of ours is a collection.
                if matches!(frames.last(), Some(Frame::Mapping(None))) {
                    break;
                }
                enter(path(&frames));
                frames.push(match event {
                    Event::MappingStart(..) => Frame::Mapping(None),
                    _ => Frame::Sequence(0),
                });
            }
            Event::MappingEnd | Event::SequenceEnd => {
                frames.pop();
                next(&mut frames);
            }
            _ => {}
        }
    }
    entries
}

/// The path of what stands at a place, or else of the last thing before it.
pub fn path_at(entries: &[Entry], line: usize, column: usize) -> String {
    let before = entries.iter().rev().find(|entry| (entry.line, entry.column) <= (line, column));
    before.map_or_else(String::new, |entry| entry.path.clone())
}

/// The innermost value is complete.
fn next(frames: &mut [Frame]) {
    match frames.last_mut() {
        Some(Frame::Mapping(key)) => *key = None,
        Some(Frame::Sequence(index)) => *index += 1,
        None => {}
    }
}

fn path(frames: &[Frame]) -> String {
    let mut path = String::new();
    for frame in frames {
        match frame {
            Frame::Mapping(Some(key)) if path.is_empty() => path += key,
            Frame::Mapping(Some(key)) => path += &format!(".{key}"),
            Frame::Mapping(None) => {}
            Frame::Sequence(index) => path += &format!("[{index}]"),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
a: 1
b:
  - c: &x {d: 1, e: [2, 3]}
    f: *x
  - 'g'
h:
";

    #[test]
    fn every_key_and_value_has_its_path() {
        let entries = outline(TEXT);
        let check = |line, column, expected: &str| {
            assert_eq!(path_at(&entries, line, column), expected, "{line}:{column}");
        };
        check(1, 1, "a");
        check(1, 4, "a");
        check(2, 1, "b");
        check(3, 5, "b[0].c");
        check(3, 12, "b[0].c.d");
        check(3, 22, "b[0].c.e[0]");
        check(3, 25, "b[0].c.e[1]");
        check(4, 5, "b[0].f");
        check(5, 5, "b[1]");
        check(6, 1, "h");
        check(6, 3, "h");
    }

    #[test]
    fn the_outline_ends_where_the_syntax_does() {
        let entries = outline("a: 1\nb: [\nc: 2\n");
        assert_eq!(path_at(&entries, 1, 4), "a");
        assert_eq!(path_at(&[], 1, 1), "");
        assert_eq!(path_at(&outline("? [x]\n: 1\n"), 1, 3), "", "a collection as a key ends it");
    }
}
