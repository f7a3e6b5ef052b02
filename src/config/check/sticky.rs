//! `upstreams.*.sticky`, in nginx's words.

use std::time::Duration;

use super::Checker;
use super::cursor::At;
use crate::config::value::name::cookie;
use crate::config::value::unit::{Zero, duration, size};
use crate::config::value::{Flaw, Parsed};
use crate::proxy::sticky::{StickyCookie, StickyKind, StickySettings};

/// nginx's.
const TIMEOUT: Duration = Duration::from_secs(600);
/// What a session takes, about.
const SESSION_BYTES: u64 = 128;
const SESSIONS_MAX: u64 = 1 << 20;
/// `expires=max`, as nginx writes it.
const FOR_EVER: Duration = Duration::from_secs(315_360_000);

const HELP: &str = "write `cookie NAME [expires=1h] [domain=…] [path=/] [secure] [httponly] [samesite=lax]`, \
                    `route $variable …`, or `learn create=$variable lookup=$variable zone=NAME:1m [timeout=1h]`";

impl Checker<'_> {
    pub(super) fn sticky(&mut self, at: &At<'_, String>) -> Option<StickySettings> {
        let words: Vec<&str> = at.value.split_ascii_whitespace().collect();
        let read = match words.split_first() {
            Some((&"cookie", rest)) => self.sticky_cookie(at, rest),
            Some((&"route", rest)) if !rest.is_empty() => Ok(StickySettings {
                lookup: rest.iter().filter_map(|it| self.text_of(at, &(*it).to_owned())).collect(),
                kind: StickyKind::Route,
            }),
            Some((&"learn", rest)) => self.sticky_learn(at, rest),
            _ => Err(Flaw::new("says nothing that clients could be known by", HELP)),
        };
        read.map_err(|flaw| self.error_at(at, flaw)).ok()
    }

    fn sticky_cookie(&mut self, at: &At<'_, String>, words: &[&str]) -> Parsed<StickySettings> {
        let Some((name, words)) = words.split_first() else {
            return Err(Flaw::new("has no name for the cookie", HELP));
        };
        let mut made = StickyCookie {
            name: cookie(name)?,
            expires: None,
            domain: None,
            is_http_only: false,
            is_secure: false,
            same_site: None,
            path: None,
        };
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("httponly", "") => made.is_http_only = true,
                ("secure", "") => made.is_secure = true,
                ("expires", "max") => made.expires = Some(FOR_EVER),
                ("expires", text) => made.expires = Some(duration(text, Zero::Refused)?),
                ("domain", text) if !text.is_empty() => {
                    made.domain = self.text_of(at, &text.to_owned())
                }
                ("samesite", text) if !text.is_empty() => {
                    made.same_site = self.text_of(at, &text.to_owned())
                }
                ("path", text) if text.starts_with('/') && !text.contains(';') => {
                    made.path = Some(text.to_owned());
                }
                _ => return Err(Flaw::new(format!("`{word}` means nothing here"), HELP)),
            }
        }
        let lookup = self.text_of(at, &format!("$cookie_{name}")).into_iter().collect();
        Ok(StickySettings { lookup, kind: StickyKind::Cookie(made) })
    }

    fn sticky_learn(&mut self, at: &At<'_, String>, words: &[&str]) -> Parsed<StickySettings> {
        let (mut create, mut lookup) = (Vec::new(), Vec::new());
        let (mut timeout, mut sessions_max) = (TIMEOUT, 0);
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("create", text) => create.extend(self.text_of(at, &text.to_owned())),
                ("lookup", text) => lookup.extend(self.text_of(at, &text.to_owned())),
                ("timeout", text) => timeout = duration(text, Zero::Refused)?,
                ("zone", text) => {
                    let (_, bytes) = text.rsplit_once(':').unwrap_or((text, ""));
                    sessions_max = (size(bytes)? / SESSION_BYTES).clamp(1, SESSIONS_MAX);
                }
                // It is learnt with the head in any case; nothing here is shared with other nodes.
                ("header" | "sync", "") => {}
                _ => return Err(Flaw::new(format!("`{word}` means nothing here"), HELP)),
            }
        }
        if create.is_empty() || lookup.is_empty() || sessions_max == 0 {
            return Err(Flaw::new("needs `create`, `lookup` and `zone`", HELP));
        }
        let sessions_max = usize::try_from(sessions_max).unwrap_or(usize::MAX);
        Ok(StickySettings { lookup, kind: StickyKind::Learn { create, timeout, sessions_max } })
    }
}
