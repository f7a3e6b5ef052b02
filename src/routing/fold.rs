//! Paths as a lenient worker reads them, for rules where matching too little would let somebody in.
//!
//! Read without regard to ASCII case and without path parameters (`;…` up to the next slash, RFC
//! 3986 section 3.3). Servlet containers drop these before they route, and write them themselves:
//! a form of theirs may well post to `/login;jsessionid=…`.
//!
//! Case is ASCII only. A decoded path is bytes, often not UTF-8; Unicode's folding changes with its
//! version and joins characters that no worker joins (the Kelvin sign and `k`), whereas routers
//! that ignore case fold at least ASCII, and none folds another character into ASCII.

/// Whether `path` begins with `prefix` (itself folded), or lacks just its trailing slash.
pub(super) fn starts_with(path: &[u8], prefix: &[u8]) -> bool {
    let mut folded = Folded::new(path);
    let Some((last, before)) = prefix.split_last() else { return true };
    before.iter().all(|wanted| folded.next() == Some(*wanted))
        && match folded.next() {
            Some(byte) => byte == *last,
            None => *last == b'/',
        }
}

/// Whether `path` is `rule` (itself folded), one trailing slash aside on either, or a format that is
/// asked for by name (`/login.json`: Rails takes it for every route).
pub(super) fn equals(path: &[u8], rule: &[u8]) -> bool {
    let rule = rule.strip_suffix(b"/").unwrap_or(rule);
    let mut folded = Folded::new(path);
    rule.iter().all(|wanted| folded.next() == Some(*wanted))
        && match folded.next() {
            None => true,
            Some(b'/') => folded.next().is_none(),
            Some(b'.') => !rule.is_empty() && folded.all(|byte| byte.is_ascii_alphanumeric()),
            Some(_) => false,
        }
}

/// A path as such a worker reads it.
pub(super) fn folded(path: &[u8]) -> Vec<u8> {
    Folded::new(path).collect()
}

/// The folded bytes of a path.
struct Folded<'a> {
    rest: std::slice::Iter<'a, u8>,
    after_slash: bool,
    in_parameters: bool,
}

impl<'a> Folded<'a> {
    fn new(path: &'a [u8]) -> Self {
        Self { rest: path.iter(), after_slash: false, in_parameters: false }
    }
}

impl Iterator for Folded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        loop {
            let byte = *self.rest.next()?;
            match byte {
                // Two slashes meet where a segment was nothing but parameters.
                b'/' if self.after_slash => self.in_parameters = false,
                b'/' => {
                    self.in_parameters = false;
                    self.after_slash = true;
                    return Some(byte);
                }
                b';' => self.in_parameters = true,
                _ if self.in_parameters => {}
                _ => {
                    self.after_slash = false;
                    return Some(byte.to_ascii_lowercase());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_match_in_any_case_and_without_their_last_slash() {
        for (path, prefix, expected) in [
            ("/account/x", "/account/", true),
            ("/ACCOUNT/x", "/account/", true),
            ("/account", "/account/", true),
            ("/account/", "/account/", true),
            ("/accounting", "/account/", false),
            ("/accounting", "/account", true),
            ("/accoun", "/account", false),
            ("/account;v=1/x", "/account/", true),
            ("/account;v=1", "/account/", true),
            ("/;v/account/", "/account/", true),
            ("/;account/", "/account/", false),
            ("/", "/", true),
            ("/anything", "/", true),
            ("/a", "/a/b", false),
        ] {
            assert_eq!(
                starts_with(path.as_bytes(), prefix.as_bytes()),
                expected,
                "{path} {prefix}"
            );
        }
    }

    #[test]
    fn whole_paths_match_but_for_one_slash() {
        for (path, rule, expected) in [
            ("/login", "/login", true),
            ("/LogIn/", "/login", true),
            ("/login", "/login/", true),
            ("/login;jsessionid=1", "/login", true),
            ("/login/;jsessionid=1", "/login", true),
            ("/login/x", "/login", false),
            ("/logi", "/login", false),
            ("/loginx", "/login", false),
            ("/login.json", "/login", true),
            ("/LOGIN.JSON;v=1", "/login/", true),
            ("/login.json/", "/login", false),
            ("/login.d/x", "/login", false),
            ("/.json", "/", false),
            ("/", "/", true),
            ("/x", "/", false),
        ] {
            assert_eq!(equals(path.as_bytes(), rule.as_bytes()), expected, "{path} {rule}");
        }
    }
}
