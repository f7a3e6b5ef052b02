//! Words with blanks between them. One that has blanks inside stands in quotes, as in nginx's files.

/// The first word, and what is behind it: as it is, or without the quotes around all of it.
pub(super) fn split_first(text: &str) -> (String, Option<String>) {
    let (first, rest) = next(text.trim());
    let rest = rest.trim();
    (first, (!rest.is_empty()).then(|| unquoted(rest).unwrap_or_else(|| rest.to_owned())))
}

/// All words.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (word, after) = next(rest);
        words.push(word);
        rest = after.trim_start();
    }
    words
}

/// The first word, without its quotes, and the rest.
fn next(text: &str) -> (String, &str) {
    let quote = text.chars().next().filter(|first| matches!(first, '"' | '\''));
    if let Some((word, rest)) = quote.and_then(|quote| quoted(text, quote)) {
        return (word, rest);
    }
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (text[..end].to_owned(), &text[end..])
}

/// What stands in quotes at the beginning, if they end at a blank. A quote inside has a backslash
/// before it; all other backslashes stay.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut word = String::new();
    let mut escaped = false;
    for (at, next) in text.char_indices().skip(1) {
        match next {
            _ if escaped && next == quote => {
                word.pop();
                word.push(next);
                escaped = false;
                continue;
            }
            _ if next == quote => {
                let rest = &text[at + 1..];
                return (rest.is_empty() || rest.starts_with(char::is_whitespace))
                    .then_some((word, rest));
            }
            _ => word.push(next),
        }
        escaped = next == '\\' && !escaped;
    }
    None
}

/// A text without the quotes around the whole of it.
pub(super) fn unquoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    quoted(text, quote).filter(|(_, rest)| rest.is_empty()).map(|(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_blanks_between_them_and_quotes_around_them() {
        for (text, expected) in [
            ("a b  c", &["a", "b", "c"][..]),
            (r#""a b" 'c "d"' e"#, &["a b", "c \"d\"", "e"]),
            (r#""a\"b" \d"#, &["a\"b", r"\d"]),
            (r#""\d\\" x"#, &[r"\d\\", "x"]),
            (r#""a"b c"#, &["\"a\"b", "c"]),
            ("\"a", &["\"a"]),
            ("\"\" x", &["", "x"]),
            ("", &[]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
        assert_eq!(split_first("200 a b"), ("200".to_owned(), Some("a b".to_owned())));
        assert_eq!(split_first("200 \"a b\" "), ("200".to_owned(), Some("a b".to_owned())));
        assert_eq!(split_first("200 \"a\" b"), ("200".to_owned(), Some("\"a\" b".to_owned())));
        assert_eq!(split_first(" 200 "), ("200".to_owned(), None));
    }
}
