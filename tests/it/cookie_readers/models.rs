//! Models of readers of `Cookie`. Where one goes by a regular expression this is its own. Decoding is not
//! modelled: it makes no name, and changes no value of the vault's.

use std::sync::LazyLock;

use regex::bytes::Regex;

/// What a reader sees: names and values, in their order.
pub type Reader = fn(&[u8]) -> Vec<(Vec<u8>, Vec<u8>)>;

/// Which of two cookies of one name a reader's map has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    First,
    Last,
}

/// In the order of the table's columns.
pub const READERS: &[(&str, Keeps, Reader)] = &[
    ("simple_cookie", Keeps::Last, simple_cookie),
    ("aiohttp", Keeps::Last, aiohttp),
    ("webob", Keeps::Last, webob),
    ("werkzeug", Keeps::First, werkzeug),
    ("django", Keeps::Last, django),
    ("tornado", Keeps::Last, tornado),
    ("cookie", Keeps::First, node_cookie),
    ("tough_cookie", Keeps::Last, tough_cookie),
    ("rack", Keeps::First, rack),
    ("php", Keeps::First, php),
];

pub fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("a byte")).collect()
}

fn regex(pattern: &str) -> Regex {
    Regex::new(&format!("(?-u){pattern}")).expect("a regular expression")
}

fn pair(name: &[u8], value: &[u8]) -> (Vec<u8>, Vec<u8>) {
    (name.to_vec(), value.to_vec())
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        value => value,
    }
}

const ATTRIBUTES: &[&str] = &[
    "expires", "path", "comment", "domain", "max-age", "secure", "httponly", "version", "samesite",
];

fn is_attribute(name: &[u8]) -> bool {
    ATTRIBUTES.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

fn simple_cookie(field: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
        let key = r"\w!#%&'~_`><@,:/$*+\-.^|)(?}{=";
        regex(&format!(
            r#"\A\s*(?P<key>[{key}]+?)(\s*=\s*(?P<val>"(?:[^\\"]|\\.)*"|\w{{3}},\s[\w\s-]{{9,11}}\s[\d:]{{8}}\sGMT|[{key}\[\]]*))?\s*(\s+|;|$)"#
        ))
    });
    let (mut rest, mut seen, mut items) = (field, false, Vec::new());
    while let Some(found) = PATTERN.captures(rest).filter(|_| !rest.is_empty()) {
        rest = &rest[found[0].len()..];
        let key = found.name("key").map_or(&b""[..], |key| key.as_bytes());
        let value = found.name("val").map(|value| value.as_bytes());
        match (key, value) {
            ([b'$', ..], _) if !seen => {}
            ([b'$', attribute @ ..], _) => items.push((attribute, None)),
            (key, value) if is_attribute(key) => {
                let is_flag =
                    [&b"secure"[..], b"httponly"].iter().any(|flag| key.eq_ignore_ascii_case(flag));
                if !seen || (value.is_none() && !is_flag) {
                    return Vec::new();
                }
                items.push((key, None));
            }
            (key, Some(value)) => {
                seen = true;
                items.push((key, Some(value)));
            }
            (_, None) => return Vec::new(),
        }
    }
    let is_legal = |key: &[u8]| {
        key.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:".contains(byte))
    };
    // At the first that is illegal it gives up.
    let good = items.into_iter().take_while(|(key, value)| match value {
        Some(_) => is_legal(key),
        None => is_attribute(key),
    });
    good.filter_map(|(key, value)| Some(pair(key, unquoted(value?)))).collect()
}

fn aiohttp(field: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
        let key = r"\w!#%&'~_`><@,:/$*+\-.^|)(?}{\[\]";
        regex(&format!(
            r#"\A\s*(?P<key>[{key}]+)(\s*=\s*(?P<val>"(?:[^\\"]|\\.)*"|"[^";]*|(\w{{3,6}}day|\w{{3}}),\s[\w\s-]{{9,11}}\s[\d:]{{8}}\s(GMT|[+-]\d{{4}})|\w{{3}}\s+\w{{3}}\s+[\s\d]\d\s+\d{{2}}:\d{{2}}:\d{{2}}\s+\d{{4}}|[{key}=]*))?\s*(\s+|;|$)"#
        ))
    });
    static NAME: LazyLock<Regex> =
        LazyLock::new(|| regex(r"^[!#$%&'()*+\-./0-9:<=>?@A-Z\[\]^_`a-z{|}~]+$"));
    let (mut rest, mut seen) = (field, Vec::new());
    while !rest.is_empty() {
        let (key, value, next) = match PATTERN.captures(rest) {
            Some(found) => {
                let value = found.name("val").map_or(&b""[..], |value| value.as_bytes());
                (
                    found.name("key").map_or(&b""[..], |key| key.as_bytes()).to_vec(),
                    value.to_vec(),
                    found[0].len(),
                )
            }
            None => {
                let piece = rest.split(|byte| *byte == b';').next().unwrap_or_default();
                let at = piece.iter().position(|byte| *byte == b'=');
                let (key, value) =
                    at.map_or((&b""[..], &b""[..]), |at| (&piece[..at], &piece[at + 1..]));
                (stripped(key), stripped(value), (piece.len() + 1).min(rest.len()))
            }
        };
        rest = &rest[next..];
        if NAME.is_match(&key) {
            seen.push(pair(&key, unquoted(&value)));
        }
    }
    seen
}

fn webob(field: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
        let legal = r"[\w~!@#$%^&*()_+=\-`.?|:/{}<>']";
        regex(&format!(
            r#"({legal}+?)\s*=\s*("(?:\\"|.)*?"|\w{{3}},\s[\w-]{{9,11}}\s[\d:]{{8}}\sGMT|(?:{legal}|\\(?:[0-3][0-7][0-7]|.))*)"#
        ))
    });
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let good = |key: &[u8]| {
        let is_known = is_attribute(key) && !key.eq_ignore_ascii_case(b"version");
        key.iter().all(is_token) && !key.starts_with(b"$") && !is_known
    };
    let found = PATTERN.captures_iter(field).filter(|found| good(&found[1]));
    found.map(|found| pair(&found[1], unquoted(&found[2]))).collect()
}

fn werkzeug(field: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
        regex(r#"\A[ \t]*([^ \t=";]+)(?:[ \t]*=[ \t]*("(?:[^\\"]|\\.)*"|[^ \t";]*))?[ \t]*(?:;|$)"#)
    });
    let field = String::from_utf8_lossy(field).into_owned().into_bytes();
    let (mut rest, mut seen) = (&field[..], Vec::new());
    loop {
        match PATTERN.captures(rest) {
            Some(found) => {
                let value = found.get(2).map_or(&b""[..], |value| value.as_bytes());
                seen.push(pair(&found[1], unquoted(value)));
                rest = &rest[found[0].len()..];
            }
            None => match rest.iter().position(|byte| *byte == b';') {
                Some(at) => rest = &rest[at + 1..],
                None => return seen,
            },
        }
    }
}

/// Python's `str.strip`.
fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c))
}

fn stripped(bytes: &[u8]) -> Vec<u8> {
    strip(&String::from_utf8_lossy(bytes)).as_bytes().to_vec()
}

/// Django's, which Tornado has taken over.
fn split_up(field: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = field.split(';').map(|piece| piece.split_once('=').unwrap_or(("", piece)));
    let pairs = pairs.map(|(name, value)| (strip(name), strip(value)));
    pairs.filter(|(name, value)| !(name.is_empty() && value.is_empty()))
}

fn django(field: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let field = String::from_utf8_lossy(field);
    split_up(&field)
        .map(|(name, value)| pair(name.as_bytes(), unquoted(value.as_bytes())))
        .collect()
}

fn tornado(field: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let field: String = field.iter().map(|byte| char::from(*byte)).collect();
    split_up(&field).map(|(name, value)| pair(&latin1(name), unquoted(&latin1(value)))).collect()
}

fn blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn trim(bytes: &[u8], is_blank: impl Fn(&u8) -> bool) -> &[u8] {
    let start = bytes.iter().take_while(|byte| is_blank(byte)).count();
    let end = bytes[start..].iter().rev().take_while(|byte| is_blank(byte)).count();
    &bytes[start..bytes.len() - end]
}

fn pieces(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field.split(|byte| *byte == b';')
}

fn split_once(piece: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = piece.iter().position(|byte| *byte == b'=')?;
    Some((&piece[..at], &piece[at + 1..]))
}

fn node_cookie(field: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pairs = pieces(field).filter_map(split_once).filter(|_| field.len() >= 2);
    pairs
        .map(|(name, value)| match trim(value, blank) {
            b"\"" => pair(trim(name, blank), b""),
            value => pair(trim(name, blank), unquoted(value)),
        })
        .collect()
}

fn tough_cookie(field: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0x0b | 0xa0);
    let read = |piece: &[u8]| {
        let piece = trim(piece, is_blank);
        let piece = piece.strip_prefix(b"=").unwrap_or(piece);
        let (name, value) = match split_once(piece) {
            Some((name, value)) if !name.is_empty() => (name, value),
            _ => (&b""[..], piece),
        };
        let (name, value) = (trim(name, is_blank), trim(value, is_blank));
        let is_clean = !name.iter().chain(value).any(|byte| *byte < b' ');
        is_clean.then(|| pair(name, value))
    };
    pieces(field).filter(|piece| !piece.is_empty()).filter_map(read).collect()
}

fn rack(field: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let unspaced = |(at, piece): (usize, _)| if at == 0 { piece } else { trim_start(piece, b" ") };
    let pieces = pieces(field).enumerate().map(unspaced).filter(|piece| !piece.is_empty());
    pieces.map(|piece| split_once(piece).unwrap_or((piece, b""))).map(|(n, v)| pair(n, v)).collect()
}

fn trim_start<'a>(bytes: &'a [u8], blanks: &[u8]) -> &'a [u8] {
    &bytes[bytes.iter().take_while(|byte| blanks.contains(byte)).count()..]
}

/// A name with an index is an array, which has no value here.
fn php(field: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let read = |piece| {
        let piece = trim_start(piece, b" \t\n\x0b\x0c\r");
        let (name, value) = split_once(piece).unwrap_or((piece, b""));
        let open = name.iter().position(|byte| *byte == b'[');
        let is_array = open.is_some_and(|open| name[open + 1..].contains(&b']'));
        let (base, value) = match open {
            Some(open) if is_array => (&name[..open], &b"<array>"[..]),
            _ => (name, value),
        };
        let mangled = |byte: &u8| if b" .[".contains(byte) { b'_' } else { *byte };
        let base: Vec<u8> = match open {
            Some(0) | None if base.is_empty() || open == Some(0) => return None,
            _ => base.iter().map(mangled).collect(),
        };
        let is_disguised = |prefix: &[u8]| base.starts_with(prefix) && !name.starts_with(prefix);
        let is_refused = is_disguised(b"__Host-") || is_disguised(b"__Secure-");
        (!is_refused).then(|| (base, value.to_vec()))
    };
    pieces(field).filter_map(read).collect()
}
