//! Headers that Cloakroom adds on the way to a worker, and those that it never lets through.
//!
//! Pure: reads a head, returns [`Edits`]. The edits go into the head that is sent to the worker
//! *after* the fields nominated by `Connection` were discarded (rule 30); otherwise a client could
//! nominate `X-Session-Subject` and have our own header taken out. Pingora 0.9.1 discards them
//! before its upstream request filter runs, so setting them there is safe.

pub mod cross_site;
pub mod fetch;
pub mod forwarded;
pub mod identity;
mod spelling;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Changes to the head of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Edits {
    /// Fields to remove, first.
    pub remove: Vec<HeaderName>,
    /// Fields to set then, as they are spelled, each in place of all that have this name.
    pub set: Vec<(&'static str, HeaderValue)>,
}

impl Edits {
    /// Carries the changes out on a plain map.
    pub fn apply(self, headers: &mut HeaderMap) {
        for name in self.remove {
            headers.remove(name);
        }
        for (name, value) in self.set {
            if let Ok(name) = HeaderName::try_from(name) {
                headers.insert(name, value);
            }
        }
    }
}
