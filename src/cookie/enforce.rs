//! Attributes that every cookie has on its way out.

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
}

/// What is demanded of a cookie. `None` leaves the application's choice alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Attributes {
    pub secure: Option<bool>,
    pub http_only: Option<bool>,
    /// Set where the application gave none; `Some` never weakens a stricter one it gave.
    pub same_site: Option<SameSite>,
}

/// The `cookies:` section: defaults and exceptions by cookie-name (a trailing `*` matches any
/// rest). An exception's `None` falls back to the default.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Settings {
    pub defaults: Attributes,
    pub exceptions: Vec<(String, Attributes)>,
}
