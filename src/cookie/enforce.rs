//! Attributes that every cookie has on its way out.
//!
//! One field in, one field out: attributes are added, taken away or replaced, and the rest stays
//! byte for byte and in its order. What the result must be is worked out first (`Settings::plan`)
//! and written afterwards, so that enforcing twice is enforcing once.

use std::borrow::Cow;

pub use super::response::is_clean;
use super::response::{Attribute, Kind, name_of};
use super::{pieces, split_pair, trim};

/// The `SameSite` attribute (RFC 6265bis, section 4.1.2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
pub struct Settings {
    pub defaults: Attributes,
    pub exceptions: Vec<(String, Attributes)>,
}

/// Cookies that pages read with script by design: they carry a token which script sends back in a
/// header or field (Egg; Django; Angular, axios and Laravel; Tornado).
pub const READ_BY_SCRIPT: [&str; 4] = ["csrfToken", "csrftoken", "XSRF-TOKEN", "_xsrf"];

impl Settings {
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
        self.plan(field, https).apply(field)
    }

    /// Works out what has to change.
    fn plan(&self, field: &[u8], https: bool) -> Plan {
        let found = Found::read(field);
        let name = name_of(field);
        let prefix = Prefix::of(name);
        let exception = self.exception(name);
        let demand = |of: fn(&Attributes) -> Option<bool>| {
            exception.and_then(of).or_else(|| of(&self.defaults))
        };
        let can_be_secure = https || found.secure;

        let loosened = exception.and_then(|exception| exception.same_site);
        let default = self
            .defaults
            .same_site
            .map(|default| found.same_site.map_or(default, |given| given.stricter(default)));
        let same_site = loosened
            .or(default)
            .filter(|wanted| *wanted != SameSite::None || can_be_secure)
            .or(found.same_site);

        let must_be_secure =
            same_site == Some(SameSite::None) || found.partitioned || prefix != Prefix::Plain;
        let secure = match demand(|attributes| attributes.secure) {
            _ if must_be_secure => can_be_secure,
            Some(true) => can_be_secure,
            Some(false) => false,
            None => found.secure,
        };
        let http_only = demand(|attributes| attributes.http_only).unwrap_or(found.http_only);

        Plan {
            secure: Edit::between(found.secure, secure),
            http_only: Edit::between(found.http_only, http_only),
            same_site: same_site.filter(|wanted| found.same_site != Some(*wanted)),
            host_only: prefix == Prefix::Host && (found.domain || !found.root_path),
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

/// What a cookie-name demands (RFC 6265bis, section 4.1.3), in any case of letters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prefix {
    Plain,
    Secure,
    Host,
}

impl Prefix {
    fn of(name: &[u8]) -> Self {
        let begins = |prefix: &[u8]| {
            name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        if begins(b"__Host-") {
            Self::Host
        } else if begins(b"__Secure-") {
            Self::Secure
        } else {
            Self::Plain
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
    domain: bool,
    root_path: bool,
}

impl Found {
    fn read(field: &[u8]) -> Self {
        let mut found = Self::default();
        for attribute in pieces(field).skip(1).map(Attribute::read) {
            match attribute.kind {
                Kind::Secure => found.secure = true,
                Kind::HttpOnly => found.http_only = true,
                Kind::SameSite => found.same_site = SameSite::read(attribute.value),
                Kind::Partitioned => found.partitioned = true,
                Kind::Domain => found.domain = true,
                Kind::Path => found.root_path = attribute.value == b"/",
                Kind::MaxAge | Kind::Expires | Kind::Other => {}
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

/// What has to change in a field.
struct Plan {
    secure: Edit,
    http_only: Edit,
    /// The value to write, in place of the one that is there.
    same_site: Option<SameSite>,
    /// Take `Domain` away and write `Path=/`.
    host_only: bool,
}

impl Plan {
    fn apply<'a>(&self, field: &'a [u8]) -> Cow<'a, [u8]> {
        let Self { secure, http_only, same_site, host_only } = *self;
        if secure == Edit::Keep && http_only == Edit::Keep && same_site.is_none() && !host_only {
            return Cow::Borrowed(field);
        }
        let same_site = same_site.map(|value| ["SameSite=", value.as_str()].concat());
        let (mut same_site_due, mut path_due) =
            (same_site.as_deref(), host_only.then_some("Path=/"));
        let mut written = Written::beside(field);
        for (at, piece) in pieces(field).enumerate() {
            if at == 0 {
                written.bytes.extend_from_slice(piece);
                continue;
            }
            match Attribute::read(piece).kind {
                Kind::Secure if secure == Edit::Remove => {}
                Kind::HttpOnly if http_only == Edit::Remove => {}
                Kind::Domain if host_only => {}
                Kind::SameSite if same_site.is_some() => {
                    written.replace(piece, same_site_due.take());
                }
                Kind::Path if host_only => written.replace(piece, path_due.take()),
                _ => written.piece(piece),
            }
        }
        let secure = (secure == Edit::Add).then_some("Secure");
        let http_only = (http_only == Edit::Add).then_some("HttpOnly");
        for due in [path_due, secure, http_only, same_site_due].into_iter().flatten() {
            written.append(due);
        }
        Cow::Owned(written.bytes)
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
    fn replace(&mut self, piece: &[u8], due: Option<&str>) {
        if let Some(due) = due {
            let indent = piece.len() - piece.trim_ascii_start().len();
            self.piece(&piece[..indent]);
            self.bytes.extend_from_slice(due.as_bytes());
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
