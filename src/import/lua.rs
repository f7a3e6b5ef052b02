//! Where a block of Lua ends: braces are counted, but not those in strings and comments.

/// The length of Lua up to and with the `}` that closes the block; nothing, where there is none.
pub fn block(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        let rest = bytes.get(at..)?;
        at += match *rest.first()? {
            b'{' => {
                depth += 1;
                1
            }
            b'}' if depth == 0 => return Some(at + 1),
            b'}' => {
                depth -= 1;
                1
            }
            quote @ (b'"' | b'\'') => string(rest, quote)?,
            b'-' if rest.starts_with(b"--") => match long(&rest[2..]) {
                Some(length) => 2 + length?,
                None => memchr::memchr(b'\n', rest)?,
            },
            b'[' => long(rest).unwrap_or(Some(1))?,
            _ => 1,
        };
    }
}

/// The length of a string with its quotes.
fn string(bytes: &[u8], quote: u8) -> Option<usize> {
    let mut at = 1;
    loop {
        match *bytes.get(at)? {
            b'\\' => at += 2,
            // Not closed on its line: no Lua, and the rest is read as if it were.
            b'\n' => return Some(at),
            next if next == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// The length of `[[…]]` or `[=[…]=]`: nothing, where it is none, and nothing inside, where it is not closed.
#[expect(clippy::option_option, reason = "no long bracket, and one without an end, are two things")]
fn long(bytes: &[u8]) -> Option<Option<usize>> {
    let after = bytes.strip_prefix(b"[")?;
    let level = after.iter().take_while(|next| **next == b'=').count();
    if after.get(level) != Some(&b'[') {
        return None;
    }
    let close = [&b"]"[..], &b"=".repeat(level), b"]"].concat();
    let begin = level + 2;
    let length = memchr::memmem::find(&bytes[begin..], &close);
    Some(length.map(|length| begin + length + close.len()))
}

#[cfg(test)]
mod tests {
    use super::block;

    #[track_caller]
    fn check(lua: &str, after: Option<&str>) {
        let rest = block(lua.as_bytes()).map(|length| &lua[length..]);
        assert_eq!(rest, after, "{lua}");
    }

    #[test]
    fn a_block_ends_at_its_own_brace() {
        check("ngx.say(1) } x", Some(" x"));
        check("local t = { { 1 }, 2 } } x", Some(" x"));
        check("s = \"}\" .. '}' .. [[ } ]] .. [==[ ]] } ]==] } x", Some(" x"));
        check("s = \"\\\"}\" } x", Some(" x"));
        check("-- }\n} x", Some(" x"));
        check("--[[ }\n } ]] } x", Some(" x"));
        check("t[1] = a - b } x", Some(" x"));
        check("t = { 1 ", None);
        check("s = [[ }", None);
        check("-- }", None);
    }
}
