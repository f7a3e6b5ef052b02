//! Files of users and passwords, as Apache's `htpasswd` writes them: `NAME:PASSWORD` a line, and behind
//! another colon whatever there is. The first line of a name counts.

/// What is kept of a user's password.
pub fn find<'a>(file: &'a [u8], user: &[u8]) -> Option<&'a [u8]> {
    if user.is_empty() {
        return None;
    }
    lines(file).find_map(|(name, kept)| (name == user).then_some(kept))
}

/// The users, and what is kept of their passwords.
pub fn lines(file: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    file.split(|byte| *byte == b'\n').filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b':')?;
        let (name, kept) = (line.get(..at)?, line.get(at + 1..)?);
        let end = kept.iter().position(|byte| matches!(byte, b':' | b'\r')).unwrap_or(kept.len());
        (!name.starts_with(b"#") && !name.is_empty()).then_some((name, kept.get(..end)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_user_counts() {
        const FILE: &[u8] =
            b"# staff\n\nann:one\r\nbob:two:Bob, cellar\n:nobody\n#eve:x\nann:three\n\
                              no colon\n dan:four\nlast:five";
        for (user, expected) in [
            ("ann", Some("one")),
            ("bob", Some("two")),
            ("last", Some("five")),
            (" dan", Some("four")),
            ("dan", None),
            ("", None),
            ("an", None),
            ("annx", None),
            ("#eve", None),
            ("no colon", None),
            ("Ann", None),
        ] {
            assert_eq!(find(FILE, user.as_bytes()), expected.map(str::as_bytes), "{user}");
        }
        assert_eq!(find(b"", b"ann"), None);
        assert_eq!(find(b"ann:", b"ann"), Some(&b""[..]));
    }
}
