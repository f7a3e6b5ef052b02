//! The pieces of a request that families of variables name: arguments, cookies, fields.

use crate::wire::fields::Fields;

/// The value of an argument of a query (`$arg_…`), as it was sent.
pub fn argument<'a>(query: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    if name.is_empty() {
        return None;
    }
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let (found, value) = pair.split_at_checked(name.len())?;
        value.strip_prefix(b"=").filter(|_| found.eq_ignore_ascii_case(name))
    })
}

/// The value of a cookie in a line of `Cookie` (`$cookie_…`), as it was sent. Names are compared
/// without regard to case, as in nginx.
pub fn cookie<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    line.split(|byte| *byte == b';').find_map(|pair| {
        let pair = pair.trim_ascii();
        let (found, value) = pair.split_at_checked(name.len())?;
        let value = value.trim_ascii_start().strip_prefix(b"=")?;
        found.eq_ignore_ascii_case(name).then(|| value.trim_ascii_start())
    })
}

/// Appends the values of all fields of a name as variables spell it, with commas between them;
/// cookies with semicolons. Says whether there was any.
pub fn field(fields: &Fields, name: &[u8], out: &mut Vec<u8>) -> bool {
    let separator: &[u8] = if name == b"cookie" { b"; " } else { b", " };
    let mut found = false;
    for field in fields.iter().filter(|field| is_called(field.name, name)) {
        if std::mem::replace(&mut found, true) {
            out.extend_from_slice(separator);
        }
        out.extend_from_slice(field.value);
    }
    found
}

/// Whether a field has a name that variables spell in lower case, with `_` for `-`.
fn is_called(field: &[u8], name: &[u8]) -> bool {
    let spelled = |byte: &u8| if *byte == b'-' { b'_' } else { byte.to_ascii_lowercase() };
    field.len() == name.len() && field.iter().map(spelled).eq(name.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(found: Option<&[u8]>) -> Option<&str> {
        found.and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    #[test]
    fn arguments_are_found_as_they_were_sent() {
        for (query, name, expected) in [
            ("a=1&b=2", "b", Some("2")),
            ("A=1", "a", Some("1")),
            ("a=%20x&a=2", "a", Some("%20x")),
            ("a", "a", None),
            ("a=", "a", Some("")),
            ("aa=1&a=2", "a", Some("2")),
            ("a=1=2", "a", Some("1=2")),
            ("", "a", None),
            ("=1", "", None),
        ] {
            assert_eq!(text(argument(query.as_bytes(), name.as_bytes())), expected, "{query}");
        }
    }

    #[test]
    fn cookies_are_found_without_regard_to_case() {
        for (line, name, expected) in [
            ("a=1; b=2", "b", Some("2")),
            ("SID=x", "sid", Some("x")),
            ("a=1;b=2,c=3", "b", Some("2,c=3")),
            ("ab=1; a=2", "a", Some("2")),
            ("a", "a", None),
            ("a = 1 ; b=2", "a", Some("1")),
            ("a=\"q\"", "a", Some("\"q\"")),
        ] {
            assert_eq!(text(cookie(line.as_bytes(), name.as_bytes())), expected, "{line}");
        }
    }

    #[test]
    fn fields_of_a_name_are_joined() {
        let mut fields = Fields::new();
        for (name, value) in [("X-A", "1"), ("x_a", "2"), ("Cookie", "c"), ("cookie", "d")] {
            fields.push(name.as_bytes(), value.as_bytes()).expect("a field");
        }
        for (name, expected) in [("x_a", Some("1, 2")), ("cookie", Some("c; d")), ("b", None)] {
            let mut out = Vec::new();
            let found = field(&fields, name.as_bytes(), &mut out);
            assert_eq!(found.then(|| String::from_utf8_lossy(&out)).as_deref(), expected);
        }
    }
}
