//! A `Set-Cookie` field taken apart and put together again, as nginx's `proxy_cookie_*` do it: what is
//! changed leaves with one blank behind each semicolon, what is not leaves byte for byte.

use std::borrow::Cow;

use super::enforce::SameSite;
use super::{pieces, split_pair, trim};

/// A cookie's pair, and its attributes.
#[derive(Clone, Debug)]
pub struct CookieParts<'a> {
    list: Vec<Part<'a>>,
}

#[derive(Clone, Debug)]
struct Part<'a> {
    name: &'a [u8],
    value: Option<Cow<'a, [u8]>>,
}

/// What becomes of a cookie's flags; `None` leaves one alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    pub secure: Option<bool>,
    pub http_only: Option<bool>,
    /// `Some(None)` takes the attribute away.
    pub same_site: Option<Option<SameSite>>,
}

/// A text that is no flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no flag of a cookie")]
pub struct NotFlag;

impl Flags {
    /// Adds what a word says: `secure`, `nosecure`, `httponly`, `samesite=strict`, ….
    ///
    /// # Errors
    /// It is none of nginx's.
    pub fn add(&mut self, word: &[u8]) -> Result<(), NotFlag> {
        match word.to_ascii_lowercase().as_slice() {
            b"secure" => self.secure = Some(true),
            b"nosecure" => self.secure = Some(false),
            b"httponly" => self.http_only = Some(true),
            b"nohttponly" => self.http_only = Some(false),
            b"samesite=strict" => self.same_site = Some(Some(SameSite::Strict)),
            b"samesite=lax" => self.same_site = Some(Some(SameSite::Lax)),
            b"samesite=none" => self.same_site = Some(Some(SameSite::None)),
            b"nosamesite" => self.same_site = Some(None),
            _ => return Err(NotFlag),
        }
        Ok(())
    }
}

impl<'a> CookieParts<'a> {
    pub fn read(field: &'a [u8]) -> Self {
        let part = |piece| match split_pair(piece) {
            Some((name, value)) => Part { name, value: Some(Cow::Borrowed(value)) },
            None => Part { name: trim(piece), value: None },
        };
        Self { list: pieces(field).map(part).collect() }
    }

    pub fn name(&self) -> &[u8] {
        self.list.first().map_or(&[], |pair| pair.name)
    }

    /// Has each value of an attribute changed by `change`; says whether any was.
    pub fn change(
        &mut self,
        attribute: &[u8],
        mut change: impl FnMut(&[u8]) -> Option<Vec<u8>>,
    ) -> bool {
        let mut is_changed = false;
        for part in self.list.iter_mut().skip(1) {
            let value = part.value.as_deref().filter(|_| part.name.eq_ignore_ascii_case(attribute));
            if let Some(changed) = value.and_then(&mut change) {
                part.value = Some(Cow::Owned(changed));
                is_changed = true;
            }
        }
        is_changed
    }

    /// Sets and takes away flags; new ones stand behind all others.
    pub fn set_flags(&mut self, flags: Flags) {
        self.flag(b"Secure", flags.secure);
        self.flag(b"HttpOnly", flags.http_only);
        let Some(same_site) = flags.same_site else { return };
        let value = same_site.map(|same_site| Cow::Borrowed(same_site.as_str().as_bytes()));
        let mut has_one = false;
        for part in self.list.iter_mut().skip(1) {
            if part.name.eq_ignore_ascii_case(b"SameSite") && value.is_some() {
                *part = Part { name: b"SameSite", value: value.clone() };
                has_one = true;
            }
        }
        match value {
            None => self.remove(b"SameSite"),
            Some(_) if has_one => {}
            value => self.list.push(Part { name: b"SameSite", value }),
        }
    }

    fn flag(&mut self, name: &'static [u8], wanted: Option<bool>) {
        let mut attributes = self.list.iter().skip(1);
        let has_one = attributes.any(|part| part.name.eq_ignore_ascii_case(name));
        match wanted {
            Some(true) if !has_one => self.list.push(Part { name, value: None }),
            Some(false) => self.remove(name),
            Some(true) | None => {}
        }
    }

    fn remove(&mut self, name: &[u8]) {
        let mut is_first = true;
        self.list
            .retain(|part| std::mem::take(&mut is_first) || !part.name.eq_ignore_ascii_case(name));
    }

    pub fn write(&self) -> Vec<u8> {
        let mut field = Vec::new();
        for (number, Part { name, value }) in self.list.iter().enumerate() {
            if number > 0 {
                field.extend_from_slice(b"; ");
            }
            field.extend_from_slice(name);
            if let Some(value) = value {
                field.push(b'=');
                field.extend_from_slice(value);
            }
        }
        field
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flagged(field: &str, words: &[&str]) -> String {
        let mut flags = Flags::default();
        words.iter().for_each(|word| flags.add(word.as_bytes()).expect(word));
        let mut parts = CookieParts::read(field.as_bytes());
        parts.set_flags(flags);
        String::from_utf8(parts.write()).expect("text")
    }

    #[test]
    fn flags_are_set_where_nginx_sets_them() {
        for (field, words, expected) in [
            ("a=1", &["httponly"][..], "a=1; HttpOnly"),
            ("a=1; HTTPONLY; Secure", &["httponly"], "a=1; HTTPONLY; Secure"),
            (
                "a=1; samesite=lax; Secure; x=y",
                &["secure", "samesite=strict"],
                "a=1; SameSite=Strict; Secure; x=y",
            ),
            (
                "a=1; Secure; HttpOnly; SameSite=None; Path=/p",
                &["nosecure", "nohttponly", "nosamesite"],
                "a=1; Path=/p",
            ),
            ("secure", &["nosecure"], "secure"),
            (
                "a=1",
                &["samesite=none", "httponly", "secure"],
                "a=1; Secure; HttpOnly; SameSite=None",
            ),
            ("a = b ;  Path = / ; Secure ", &["httponly"], "a=b; Path=/; Secure; HttpOnly"),
        ] {
            assert_eq!(flagged(field, words), expected, "{field} {words:?}");
        }
        assert_eq!(Flags::default().add(b"sticky"), Err(NotFlag));
    }

    #[test]
    fn attributes_are_changed_wherever_they_stand() {
        let change = |field: &str, attribute: &str| {
            let mut parts = CookieParts::read(field.as_bytes());
            let is_changed = parts
                .change(attribute.as_bytes(), |value| (value == b"/two/").then(|| b"/".to_vec()));
            is_changed.then(|| String::from_utf8(parts.write()).expect("text"))
        };
        let field = "path=/two/; Path=/two/; x; PATH=/two/; path";
        assert_eq!(change(field, "path").as_deref(), Some("path=/two/; Path=/; x; PATH=/; path"));
        assert_eq!(change(field, "domain"), None);
    }
}
