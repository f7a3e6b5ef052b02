//! Attributes that every cookie has on its way out.
//!
//! One field in, one field out: attributes are added, taken away or replaced, and the rest stays
//! byte for byte and in its order. What the result must be is worked out first (`CookieSettings::plan`)
//! and written afterwards, so that enforcing twice is enforcing once.

use std::borrow::Cow;

pub use super::response::is_clean;
use super::response::{Attribute, AttributeKind, name_of};
use super::{pieces, split_pair, trim};

/// The `SameSite` attribute (RFC 6265bis, section 4.1.2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum SameSite {
    Strict,
    Lax,
    None,
}

impl SameSite {
    /// The attribute's value as it is sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }

    /// Reads the attribute's value, in any case of letters; `None` where it is not known.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let mut all = [Self::Strict, Self::Lax, Self::None].into_iter();
        all.find(|known| value.eq_ignore_ascii_case(known.as_str().as_bytes()))
    }

    /// The one that withholds the cookie from more requests.
    fn stricter(self, other: Self) -> Self {
        match (self, other) {
            (Self::Strict, _) | (_, Self::Strict) => Self::Strict,
            (Self::Lax, _) | (_, Self::Lax) => Self::Lax,
            (Self::None, Self::None) => Self::None,
        }
    }
}

/// What is demanded of a cookie. `None` leaves the application's choice alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Attributes {
    pub secure: Option<bool>,
    pub http_only: Option<bool>,
    /// Set where the application gave none; `Some` never weakens a stricter one it gave, unless it
    /// stands in an exception: that is how one cookie is loosened.
    pub same_site: Option<SameSite>,
}

/// The `cookies:` section: defaults and exceptions by cookie-name (a trailing `*` matches any
/// rest). An exception's `None` falls back to the default.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CookieSettings {
    pub defaults: Attributes,
    pub exceptions: Vec<(String, Attributes)>,
}

/// Cookies that pages read with script by design: they carry a token which script sends back in a
/// header or field (Egg; Django; Angular, axios and Laravel; Tornado).
pub const READ_BY_SCRIPT: [&str; 4] = ["csrfToken", "csrftoken", "XSRF-TOKEN", "_xsrf"];

impl CookieSettings {
    /// Cookies leave as they came, but for what browsers demand of them.
    pub fn left_alone() -> Self {
        Self { defaults: Attributes::default(), exceptions: Vec::new() }
    }

    /// Adds the well-known exceptions: what those that are there leave open about such a cookie,
    /// by its name or by a pattern, is that script can read it.
    #[must_use]
    pub fn with_well_known(mut self) -> Self {
        for name in READ_BY_SCRIPT {
            let mut attributes = self.exception(name.as_bytes()).copied().unwrap_or_default();
            attributes.http_only = attributes.http_only.or(Some(false));
            self.exceptions.retain(|(given, _)| given != name);
            self.exceptions.push((name.to_owned(), attributes));
        }
        self
    }

    /// Enforces the attributes of one `Set-Cookie` field.
    ///
    /// `https` is the scheme that the browser used. Without it `Secure` is never added, since the
    /// browser would refuse the cookie, and so is nothing that demands `Secure`.
    ///
    /// Beyond what is configured, a cookie gets what browsers demand of it anyway: `Secure` with
    /// `SameSite=None`, with `Partitioned` and with a `__Secure-` or `__Host-` name, and for the latter
    /// `Path=/` and no `Domain`. The field must be free of control characters
    /// ([`is_clean`]).
    pub fn rewrite<'a>(&self, field: &'a [u8], https: bool) -> Cow<'a, [u8]> {
        let pair = pieces(field).next().unwrap_or(field);
        if matches!(split_pair(pair), Some((b"", b""))) || trim(pair).is_empty() {
            // Browsers ignore it.
            return Cow::Borrowed(field);
        }
        self.demand(name_of(field)).rewrite(field, https)
    }

    /// What defaults and exceptions demand of the cookie of this name.
    fn demand(&self, name: &[u8]) -> Demand<'static> {
        let exception = self.exception(name);
        let either = |of: fn(&Attributes) -> Option<bool>| {
            exception.and_then(of).or_else(|| of(&self.defaults))
        };
        let loosened = exception.and_then(|exception| exception.same_site);
        Demand {
            secure: either(|attributes| attributes.secure),
            http_only: either(|attributes| attributes.http_only),
            same_site: match (loosened, self.defaults.same_site) {
                (Some(loosened), _) => Wish::Exactly(loosened),
                (None, Some(default)) => Wish::AtLeast(default),
                (None, None) => Wish::Own,
            },
            ..Demand::default()
        }
    }

    /// The exception for a cookie: by its very name, else by the longest pattern.
    fn exception(&self, name: &[u8]) -> Option<&Attributes> {
        let fit = |pattern: &str| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start.as_bytes()).then_some(start.len()),
            None => (name == pattern.as_bytes()).then_some(usize::MAX),
        };
        self.exceptions
            .iter()
            .filter_map(|(pattern, attributes)| Some((fit(pattern)?, attributes)))
            .max_by_key(|(fit, _)| *fit)
            .map(|(_, attributes)| attributes)
    }
}

/// What is demanded of `SameSite`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Wish {
    /// What the application chose, or nothing.
    #[default]
    Own,
    /// This one, or a stricter one that the application chose.
    AtLeast(SameSite),
    Exactly(SameSite),
}

/// What is demanded of one cookie. The default changes nothing but what browsers demand anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Demand<'a> {
    /// `None` leaves the application's choice alone.
    pub secure: Option<bool>,
    pub http_only: Option<bool>,
    pub same_site: Wish,
    /// Add `Partitioned`, where the cookie can be `Secure`.
    pub partitioned: bool,
    /// In place of the application's.
    pub domain: Option<&'a str>,
}

impl Demand<'_> {
    /// Enforces the demand; [`CookieSettings::rewrite`] says how. The field has a name or a value.
    pub fn rewrite<'f>(&self, field: &'f [u8], https: bool) -> Cow<'f, [u8]> {
        self.plan(field, https).apply(field)
    }

    /// Works out what has to change.
    fn plan(&self, field: &[u8], https: bool) -> Plan<'_> {
        let found = Found::read(field);
        let prefix = Prefix::of(name_of(field));
        let can_be_secure = https || found.secure;

        let same_site = match self.same_site {
            Wish::Own => None,
            Wish::AtLeast(least) => {
                Some(found.same_site.map_or(least, |given| given.stricter(least)))
            }
            Wish::Exactly(wanted) => Some(wanted),
        };
        let same_site = same_site
            .filter(|wanted| *wanted != SameSite::None || can_be_secure)
            .or(found.same_site);
        let partitioned = found.partitioned || (self.partitioned && can_be_secure);

        let must_be_secure =
            same_site == Some(SameSite::None) || partitioned || prefix != Prefix::Plain;
        let secure = match self.secure {
            _ if must_be_secure => can_be_secure,
            Some(true) => can_be_secure,
            Some(false) => false,
            None => found.secure,
        };
        let http_only = self.http_only.unwrap_or(found.http_only);
        let is_host = prefix == Prefix::Host;

        Plan {
            secure: Edit::between(found.secure, secure),
            http_only: Edit::between(found.http_only, http_only),
            partitioned: Edit::between(found.partitioned, partitioned),
            same_site: match same_site {
                Some(wanted) if found.same_site != Some(wanted) => Rewrite::Write(wanted.as_str()),
                _ => Rewrite::Keep,
            },
            path: match is_host && !found.root_path {
                true => Rewrite::Write("/"),
                false => Rewrite::Keep,
            },
            domain: match self.domain {
                _ if is_host => Rewrite::Remove,
                Some(domain) => Rewrite::Write(domain),
                None => Rewrite::Keep,
            },
        }
    }
}

/// What a cookie-name demands (RFC 6265bis, section 4.1.3), in any case of letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    Plain,
    /// `Secure`.
    Secure,
    /// `Secure`, `Path=/` and no `Domain`.
    Host,
}

impl Prefix {
    /// The prefix that a name carries.
    pub fn of(name: &[u8]) -> Self {
        let begins = |prefix: Self| {
            let prefix = prefix.as_str().as_bytes();
            name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        [Self::Host, Self::Secure].into_iter().find(|prefix| begins(*prefix)).unwrap_or(Self::Plain)
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Secure => "__Secure-",
            Self::Host => "__Host-",
        }
    }
}

/// What the application gave, as a browser reads it.
#[derive(Default)]
struct Found {
    secure: bool,
    http_only: bool,
    same_site: Option<SameSite>,
    partitioned: bool,
    root_path: bool,
}

impl Found {
    fn read(field: &[u8]) -> Self {
        let mut found = Self::default();
        for attribute in pieces(field).skip(1).map(Attribute::read) {
            match attribute.kind {
                AttributeKind::Secure => found.secure = true,
                AttributeKind::HttpOnly => found.http_only = true,
                AttributeKind::SameSite => found.same_site = SameSite::read(attribute.value),
                AttributeKind::Partitioned => found.partitioned = true,
                AttributeKind::Path => found.root_path = attribute.value == b"/",
                AttributeKind::Domain
                | AttributeKind::MaxAge
                | AttributeKind::Expires
                | AttributeKind::Other => {}
            }
        }
        found
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Edit {
    Keep,
    Add,
    Remove,
}

impl Edit {
    fn between(found: bool, wanted: bool) -> Self {
        match (found, wanted) {
            (false, true) => Self::Add,
            (true, false) => Self::Remove,
            _ => Self::Keep,
        }
    }
}

/// What becomes of an attribute that has a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rewrite<'a> {
    Keep,
    Remove,
    /// In place of the one that is there, else at the end.
    Write(&'a str),
}

/// What has to change in a field.
struct Plan<'a> {
    secure: Edit,
    http_only: Edit,
    partitioned: Edit,
    same_site: Rewrite<'a>,
    path: Rewrite<'a>,
    domain: Rewrite<'a>,
}

impl Plan<'_> {
    fn apply<'f>(&self, field: &'f [u8]) -> Cow<'f, [u8]> {
        let Self { secure, http_only, partitioned, same_site, path, domain } = *self;
        let mut valued = [
            (AttributeKind::Domain, "Domain=", domain),
            (AttributeKind::Path, "Path=", path),
            (AttributeKind::SameSite, "SameSite=", same_site),
        ];
        let switches = [
            (AttributeKind::Secure, "Secure", secure),
            (AttributeKind::HttpOnly, "HttpOnly", http_only),
            (AttributeKind::Partitioned, "Partitioned", partitioned),
        ];
        let adds = switches.iter().any(|(.., edit)| *edit == Edit::Add)
            || valued.iter().any(|(.., rewrite)| matches!(rewrite, Rewrite::Write(_)));
        if !adds && !pieces(field).skip(1).any(|piece| self.removes(Attribute::read(piece).kind)) {
            return Cow::Borrowed(field);
        }
        let mut written = Written::beside(field);
        for (at, piece) in pieces(field).enumerate() {
            if at == 0 {
                written.bytes.extend_from_slice(piece);
                continue;
            }
            let kind = Attribute::read(piece).kind;
            match valued.iter_mut().find(|(of, ..)| *of == kind) {
                Some((_, name, due @ Rewrite::Write(_))) => written.replace(piece, name, due),
                Some((.., Rewrite::Remove)) => {}
                None if self.removes(kind) => {}
                None | Some((.., Rewrite::Keep)) => written.piece(piece),
            }
        }
        // In the order that people are used to.
        let [domain, path, same_site] = valued;
        let [secure, http_only, partitioned] = switches;
        for (_, name, rewrite) in [domain, path] {
            written.append_valued(name, rewrite);
        }
        for (_, name, edit) in [secure, http_only] {
            written.append_switch(name, edit);
        }
        written.append_valued(same_site.1, same_site.2);
        written.append_switch(partitioned.1, partitioned.2);
        Cow::Owned(written.bytes)
    }

    fn removes(&self, kind: AttributeKind) -> bool {
        match kind {
            AttributeKind::Secure => self.secure == Edit::Remove,
            AttributeKind::HttpOnly => self.http_only == Edit::Remove,
            AttributeKind::Partitioned => self.partitioned == Edit::Remove,
            AttributeKind::SameSite => self.same_site == Rewrite::Remove,
            AttributeKind::Path => self.path == Rewrite::Remove,
            AttributeKind::Domain => self.domain == Rewrite::Remove,
            AttributeKind::MaxAge | AttributeKind::Expires | AttributeKind::Other => false,
        }
    }
}

struct Written {
    bytes: Vec<u8>,
}

impl Written {
    fn beside(field: &[u8]) -> Self {
        // Room for all that may be added.
        Self {
            bytes: Vec::with_capacity(
                field.len() + "; Path=/; Secure; HttpOnly; SameSite=Strict".len(),
            ),
        }
    }

    fn piece(&mut self, piece: &[u8]) {
        self.bytes.push(b';');
        self.bytes.extend_from_slice(piece);
    }

    /// Writes an attribute where another was, once: further ones of its kind are dropped, as which
    /// of them counts is not the same in all browsers.
    fn replace(&mut self, piece: &[u8], name: &str, due: &mut Rewrite<'_>) {
        // What was written is only removed from then on.
        if let Rewrite::Write(value) = std::mem::replace(due, Rewrite::Remove) {
            let indent = piece.len() - piece.trim_ascii_start().len();
            self.piece(&piece[..indent]);
            self.bytes.extend_from_slice(name.as_bytes());
            self.bytes.extend_from_slice(value.as_bytes());
        }
    }

    fn append_valued(&mut self, name: &str, due: Rewrite<'_>) {
        if let Rewrite::Write(value) = due {
            self.append(name);
            self.bytes.extend_from_slice(value.as_bytes());
        }
    }

    fn append_switch(&mut self, name: &str, edit: Edit) {
        if edit == Edit::Add {
            self.append(name);
        }
    }

    /// Writes an attribute at the end, where perhaps a semicolon is already.
    fn append(&mut self, due: &str) {
        let separator = match trim(&self.bytes) {
            [.., b';'] if self.bytes.ends_with(b";") => " ",
            [.., b';'] => "",
            _ => "; ",
        };
        self.bytes.extend_from_slice(separator.as_bytes());
        self.bytes.extend_from_slice(due.as_bytes());
    }
}

#[cfg(test)]
#[path = "enforce_tests.rs"]
mod tests;
