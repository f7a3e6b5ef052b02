//! Patterns as PCRE reads them, in the spelling of the engines that are here: where an engine would read
//! something else, it is rewritten.

use super::BadPattern;

/// What a spelling is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    /// Matches in linear time.
    Linear,
    /// Goes back where it was wrong.
    Backtracking,
}

/// A pattern of PCRE's in the spelling of an engine.
///
/// # Errors
/// It is none, or one that the engine cannot match.
pub(super) fn translated(text: &str, engine: Engine) -> Result<String, BadPattern> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        rest = match next {
            '\\' => escape(rest, &mut out, engine)?,
            '[' => class(rest, &mut out),
            '(' => group(rest, &mut out, engine)?,
            '{' if !is_repetition(rest) => {
                out.push_str("\\{");
                &rest[1..]
            }
            '*' | '+' | '?' | '{' => quantifier(rest, &mut out, engine)?,
            _ => {
                out.push(next);
                &rest[next.len_utf8()..]
            }
        };
    }
    Ok(out)
}

/// An escape outside of a class.
fn escape<'t>(text: &'t str, out: &mut String, engine: Engine) -> Result<&'t str, BadPattern> {
    let Some(escaped) = text[1..].chars().next() else {
        return Err(BadPattern::Syntax("it ends with a backslash".to_owned()));
    };
    let after = &text[1 + escaped.len_utf8()..];
    match escaped {
        '1'..='9' | 'k' | 'g' if engine == Engine::Linear => {
            return Err(BadPattern::Backtracks("a reference to a group"));
        }
        'g' => return numbered(after, out),
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

/// A group by its number: `\g1`, `\g{1}`.
fn numbered<'t>(text: &'t str, out: &mut String) -> Result<&'t str, BadPattern> {
    let inner = text.strip_prefix('{').and_then(|rest| rest.split_once('}'));
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, after) = inner.unwrap_or_else(|| text.split_at(digits));
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadPattern::Unknown("a relative reference"));
    }
    out.extend(["(?:\\", number, ")"]);
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
fn group<'t>(text: &'t str, out: &mut String, engine: Engine) -> Result<&'t str, BadPattern> {
    if let Some(after) = text.strip_prefix("(?#") {
        return Ok(after.split_once(')').map_or("", |(_, after)| after));
    }
    for (spelled, what) in [
        ("(?=", "a look-ahead"),
        ("(?!", "a look-ahead"),
        ("(?<=", "a look-behind"),
        ("(?<!", "a look-behind"),
        ("(?>", "an atomic group"),
        ("(?(", "a condition"),
    ] {
        match engine {
            Engine::Linear if text.starts_with(spelled) => {
                return Err(BadPattern::Backtracks(what));
            }
            Engine::Backtracking if text.starts_with(spelled) => {
                out.push_str(spelled);
                return Ok(&text[spelled.len()..]);
            }
            Engine::Linear | Engine::Backtracking => {}
        }
    }
    for (spelled, what) in [
        ("(?|", "a branch reset"),
        ("(?R", "a recursion"),
        ("(?0", "a recursion"),
        ("(?&", "a recursion"),
        ("(*", "a verb"),
    ] {
        if text.starts_with(spelled) {
            return Err(BadPattern::Unknown(what));
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
fn quantifier<'t>(text: &'t str, out: &mut String, engine: Engine) -> Result<&'t str, BadPattern> {
    let length = if text.starts_with('{') { text.find('}').map_or(1, |end| end + 1) } else { 1 };
    out.push_str(&text[..length]);
    let after = &text[length..];
    Ok(match after.chars().next() {
        Some('+') if engine == Engine::Linear => {
            return Err(BadPattern::Backtracks("a possessive quantifier"));
        }
        Some(mark @ ('?' | '+')) => {
            out.push(mark);
            &after[1..]
        }
        _ => after,
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
