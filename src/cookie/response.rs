//! Reading the `Set-Cookie` field as a browser does (RFC 6265bis, sections 5.6 and 5.7).
//!
//! One field is one cookie: a comma never separates two, since `Expires` has one.

use std::fmt;
use std::time::Duration;

use super::enforce::SameSite;
use super::worker_clock::WorkerClock;
use super::{date, pieces, split_pair, trim};
use crate::clock::UnixMillis;

/// What the name and the value may have together, in bytes.
pub const NAME_VALUE_BYTES_MAX: usize = 4096;
/// What one attribute's value may have; a longer one is ignored.
pub const ATTRIBUTE_BYTES_MAX: usize = 1024;
/// The longest life that a cookie is given.
pub const LIFETIME_MAX: Duration = Duration::from_hours(400 * 24);

/// A cookie that an application sets.
#[derive(Clone, Copy)]
pub struct SetCookie<'a> {
    raw: &'a [u8],
    name: &'a [u8],
    value: &'a [u8],
    domain: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
    max_age: Option<i64>,
    expires: Option<UnixMillis>,
    secure: bool,
    http_only: bool,
    same_site: Option<SameSite>,
    partitioned: bool,
}

/// How long a cookie is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Until the browser thinks that its session is over.
    Session,
    Until(UnixMillis),
    /// Not at all: this is how a cookie is deleted.
    Expired,
}

impl<'a> SetCookie<'a> {
    /// Reads a field; `None` where a browser ignores it: a control character in it, more than
    /// [`NAME_VALUE_BYTES_MAX`], neither name nor value.
    ///
    /// Of several attributes of one name the last counts; those that cannot be read are as if they
    /// were not there.
    pub fn parse(field: &'a [u8]) -> Option<Self> {
        Self::parse_up_to(field, NAME_VALUE_BYTES_MAX)
    }

    /// Reads a field whose name and value together may have as many bytes as given: whoever keeps
    /// cookies in a browser's place may keep larger ones.
    pub fn parse_up_to(field: &'a [u8], name_value_bytes_max: usize) -> Option<Self> {
        if !is_clean(field) {
            return None;
        }
        let pair = pieces(field).next().unwrap_or(field);
        let (name, value) = split_pair(pair).unwrap_or((b"", trim(pair)));
        let len = name.len() + value.len();
        if len == 0 || len > name_value_bytes_max {
            return None;
        }
        let mut cookie = Self {
            raw: field,
            name,
            value,
            domain: None,
            path: None,
            max_age: None,
            expires: None,
            secure: false,
            http_only: false,
            same_site: None,
            partitioned: false,
        };
        for piece in pieces(field).skip(1) {
            cookie.read_attribute(Attribute::read(piece));
        }
        Some(cookie)
    }

    fn read_attribute(&mut self, attribute: Attribute<'a>) {
        let value = attribute.value;
        match attribute.kind {
            AttributeKind::Domain => {
                let domain = value.strip_prefix(b".").unwrap_or(value);
                self.domain = Some(domain).filter(|domain| !domain.is_empty());
            }
            AttributeKind::Path => self.path = Some(value).filter(|path| path.starts_with(b"/")),
            AttributeKind::MaxAge => self.max_age = read_max_age(value).or(self.max_age),
            AttributeKind::Expires => self.expires = date::parse(value).or(self.expires),
            AttributeKind::Secure => self.secure = true,
            AttributeKind::HttpOnly => self.http_only = true,
            AttributeKind::SameSite => self.same_site = SameSite::read(value),
            AttributeKind::Partitioned => self.partitioned = true,
            AttributeKind::Other => {}
        }
    }

    /// The same cookie with its `Expires`, a time of the worker's clock, on ours. To be called once.
    pub(super) fn by(self, clock: WorkerClock) -> Self {
        Self { expires: self.expires.map(|at| clock.in_our_time(at)), ..self }
    }

    /// The whole field, unknown attributes included.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The cookie-name; empty for a nameless cookie.
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// The cookie-value, quotes included.
    pub fn value(&self) -> &'a [u8] {
        self.value
    }

    /// The domain without its leading dot, in the case it was written in; `None` is the host alone.
    pub fn domain(&self) -> Option<&'a [u8]> {
        self.domain
    }

    /// The path; `None` is the default path, the directory of the request.
    pub fn path(&self) -> Option<&'a [u8]> {
        self.path
    }

    /// `Max-Age` in seconds; at the end of the range where the number is longer.
    pub fn max_age(&self) -> Option<i64> {
        self.max_age
    }

    /// `Expires`; 0 for what is before 1970.
    pub fn expires(&self) -> Option<UnixMillis> {
        self.expires
    }

    pub fn secure(&self) -> bool {
        self.secure
    }

    pub fn http_only(&self) -> bool {
        self.http_only
    }

    /// `SameSite`; `None` also where its value is not known, as it then is the browser's default.
    pub fn same_site(&self) -> Option<SameSite> {
        self.same_site
    }

    pub fn partitioned(&self) -> bool {
        self.partitioned
    }

    /// How long the cookie is kept from `now`: `Max-Age` before `Expires`, at most
    /// [`LIFETIME_MAX`].
    pub fn lifetime(&self, now: UnixMillis) -> Lifetime {
        let latest = now.plus(LIFETIME_MAX);
        match (self.max_age, self.expires) {
            (Some(seconds), _) => match u64::try_from(seconds) {
                Err(_) | Ok(0) => Lifetime::Expired,
                Ok(seconds) => Lifetime::Until(now.plus(Duration::from_secs(seconds)).min(latest)),
            },
            (None, Some(expires)) if expires <= now => Lifetime::Expired,
            (None, Some(expires)) => Lifetime::Until(expires.min(latest)),
            (None, None) => Lifetime::Session,
        }
    }
}

impl fmt::Debug for SetCookie<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetCookie")
            .field("name", &format_args!("{}", self.name.escape_ascii()))
            .field("value", &format_args!("[redacted]"))
            .finish_non_exhaustive()
    }
}

/// Whether a field has no control character but HTAB. Others make a browser ignore the cookie, and
/// some end the field early for a careless reader: such a field must not be passed on.
pub fn is_clean(field: &[u8]) -> bool {
    field.iter().all(|byte| !matches!(byte, 0x00..=0x08 | 0x0a..=0x1f | 0x7f))
}

/// The cookie-name of a field, without reading the rest; empty where it has none.
pub fn name_of(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| matches!(byte, b'=' | b';'));
    match end {
        Some(at) if field[at] == b'=' => trim(&field[..at]),
        _ => b"",
    }
}

/// The attributes that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttributeKind {
    Domain,
    Path,
    MaxAge,
    Expires,
    Secure,
    HttpOnly,
    SameSite,
    Partitioned,
    /// Unknown, or ignored for its length.
    Other,
}

/// One piece behind the pair.
#[derive(Clone, Copy)]
pub(super) struct Attribute<'a> {
    pub(super) kind: AttributeKind,
    pub(super) value: &'a [u8],
}

impl<'a> Attribute<'a> {
    pub(super) fn read(piece: &'a [u8]) -> Self {
        const KINDS: [(&[u8], AttributeKind); 8] = [
            (b"domain", AttributeKind::Domain),
            (b"path", AttributeKind::Path),
            (b"max-age", AttributeKind::MaxAge),
            (b"expires", AttributeKind::Expires),
            (b"secure", AttributeKind::Secure),
            (b"httponly", AttributeKind::HttpOnly),
            (b"samesite", AttributeKind::SameSite),
            (b"partitioned", AttributeKind::Partitioned),
        ];
        let (name, value) = split_pair(piece).unwrap_or((trim(piece), b""));
        let kind = KINDS.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
        let kind = match kind {
            Some((_, kind)) if value.len() <= ATTRIBUTE_BYTES_MAX => kind,
            _ => AttributeKind::Other,
        };
        Self { kind, value }
    }
}

/// Reads digits, perhaps behind a minus sign.
fn read_max_age(value: &[u8]) -> Option<i64> {
    let (sign, digits) = match value {
        [b'-', digits @ ..] => (-1, digits),
        digits => (1, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0_i64, |sum, digit| {
        sum.saturating_mul(10).saturating_add(sign * i64::from(digit - b'0'))
    }))
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
