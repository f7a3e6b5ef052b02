//! Whether an answer is compressed for its client, and what its head says then: nginx's gzip module, with
//! brotli and zstd beside it.

use http::StatusCode;

use super::accepts::takes;
use crate::wire::fields::{Fields, Unwritable};
use crate::wire::name::Name;

/// What a route says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Levels of the codings in use.
    pub gzip: Option<u32>,
    pub brotli: Option<u32>,
    pub zstd: Option<u32>,
    /// Media types, in lower case, beside `text/html`; `*` is any.
    pub types: Vec<String>,
    /// Bytes below which it is not worth it, where the length is known.
    pub min_length: u64,
    pub vary: bool,
    pub proxied: Proxied,
    /// Clients of HTTP/1.0 as well.
    pub http10: bool,
    /// Answers of sessions as well, whatever their type (BREACH).
    pub sessions: bool,
    /// What comes in gzip is unpacked for clients that do not take it.
    pub gunzip: bool,
}

/// What is compressed for other proxies (`Via`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proxied {
    pub any: bool,
    pub expired: bool,
    pub no_cache: bool,
    pub no_store: bool,
    pub private: bool,
    pub no_last_modified: bool,
    pub no_etag: bool,
    pub auth: bool,
}

/// How a body is coded on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip(u32),
    Brotli(u32),
    Zstd(u32),
    /// Out of gzip.
    Gunzip,
}

/// A request and its answer, as far as they matter here.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    pub is_http10: bool,
    pub asked: &'a Fields,
    pub status: StatusCode,
    pub fields: &'a Fields,
    /// Bytes of the body, where that is known.
    pub length: Option<u64>,
    /// Its route has a session policy.
    pub is_of_session: bool,
    /// In seconds since 1970.
    pub now: i64,
    /// Reads a date of HTTP's.
    pub date: fn(&[u8]) -> Option<i64>,
}

/// What is to be done with an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub coding: Option<Coding>,
    /// Its form depends on what the client takes.
    pub varies: bool,
}

impl Compression {
    /// Decides.
    pub fn decide(&self, exchange: &Exchange<'_>) -> Decision {
        if !matches!(exchange.status.as_u16(), 200 | 403 | 404) {
            return Decision::default();
        }
        if let Some(coding) = exchange.fields.get(Name::ContentEncoding).filter(|it| !it.is_empty())
        {
            let unpacks = self.gunzip && coding.eq_ignore_ascii_case(b"gzip");
            let coding = (unpacks && !takes(exchange.asked, b"gzip")).then_some(Coding::Gunzip);
            return Decision { coding, varies: unpacks };
        }
        let is_too_short = exchange.length.is_some_and(|length| length < self.min_length);
        let has_any = self.gzip.is_some() || self.brotli.is_some() || self.zstd.is_some();
        if !has_any || is_too_short || !self.is_listed(exchange) || self.would_tell(exchange) {
            return Decision::default();
        }
        let may = (self.http10 || !exchange.is_http10)
            && (!exchange.asked.has(Name::Via) || self.is_for_proxies(exchange));
        let coding = may.then(|| self.best(exchange.asked)).flatten();
        Decision { coding, varies: self.vary }
    }

    /// The one that packs best among those that the client takes.
    fn best(&self, asked: &Fields) -> Option<Coding> {
        let brotli = self.brotli.filter(|_| takes(asked, b"br")).map(Coding::Brotli);
        let zstd = || self.zstd.filter(|_| takes(asked, b"zstd")).map(Coding::Zstd);
        let gzip = || self.gzip.filter(|_| takes(asked, b"gzip")).map(Coding::Gzip);
        brotli.or_else(zstd).or_else(gzip)
    }

    fn is_listed(&self, exchange: &Exchange<'_>) -> bool {
        let media_type = media_type(exchange.fields).unwrap_or_default();
        let mut types = self.types.iter();
        types.any(|listed| listed == "*" || listed.as_bytes().eq_ignore_ascii_case(media_type))
    }

    /// Whether its length could tell a secret of the session's to who makes the browser ask (BREACH):
    /// scripts, style sheets and their like have none.
    fn would_tell(&self, exchange: &Exchange<'_>) -> bool {
        const WITHOUT_SECRETS: [&[u8]; 6] = [
            b"text/css",
            b"text/javascript",
            b"application/javascript",
            b"application/wasm",
            b"image/svg+xml",
            b"application/manifest+json",
        ];
        let is_harmless = || {
            media_type(exchange.fields).is_some_and(|it| {
                it.starts_with(b"font/")
                    || WITHOUT_SECRETS.iter().any(|harmless| harmless.eq_ignore_ascii_case(it))
            })
        };
        exchange.is_of_session && !self.sessions && !is_harmless()
    }

    fn is_for_proxies(&self, exchange: &Exchange<'_>) -> bool {
        let (rules, fields) = (self.proxied, exchange.fields);
        if rules == Proxied::default() {
            return false;
        }
        if rules.any || (rules.auth && exchange.asked.has(Name::Authorization)) {
            return true;
        }
        if let Some(expires) = fields.get(Name::Expires) {
            let date = fields.get(Name::Date).map_or(Some(exchange.now), exchange.date);
            let expires = (exchange.date)(expires);
            return rules.expired
                && expires.zip(date).is_some_and(|(expires, date)| expires < date);
        }
        if fields.has(Name::CacheControl) {
            let says = |word: &[u8]| {
                let mut elements = fields.all(Name::CacheControl).flat_map(crate::wire::elements);
                elements.any(|element| element.eq_ignore_ascii_case(word))
            };
            return (rules.no_cache && says(b"no-cache"))
                || (rules.no_store && says(b"no-store"))
                || (rules.private && says(b"private"));
        }
        let has_validator = (rules.no_last_modified && fields.has(Name::LastModified))
            || (rules.no_etag && fields.has(Name::ETag));
        !has_validator
    }
}

fn media_type(fields: &Fields) -> Option<&[u8]> {
    let value = fields.get(Name::ContentType)?;
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    value.get(..end).map(<[u8]>::trim_ascii).filter(|it| !it.is_empty())
}

/// Makes a head say what is done with its body.
///
/// # Errors
/// The head has no room for more.
pub fn announce(decision: Decision, fields: &mut Fields) -> Result<(), Unwritable> {
    if decision.varies && !varies_by_coding(fields) {
        fields.push(b"Vary", b"Accept-Encoding")?;
    }
    let name: &[u8] = match decision.coding {
        None => return Ok(()),
        Some(Coding::Gzip(_)) => b"gzip",
        Some(Coding::Brotli(_)) => b"br",
        Some(Coding::Zstd(_)) => b"zstd",
        Some(Coding::Gunzip) => b"",
    };
    fields.remove(Name::ContentEncoding);
    if !name.is_empty() {
        fields.push(b"Content-Encoding", name)?;
    }
    fields.remove(Name::ContentLength);
    fields.remove(Name::AcceptRanges);
    // Another representation, which means the same.
    match fields.get(Name::ETag).map(<[u8]>::to_vec) {
        Some(tag) if tag.starts_with(b"W/") => {}
        Some(tag) if tag.starts_with(b"\"") => fields.set(b"ETag", &[b"W/", &tag[..]].concat())?,
        Some(_) => drop(fields.remove(Name::ETag)),
        None => {}
    }
    Ok(())
}

fn varies_by_coding(fields: &Fields) -> bool {
    let mut named = fields.all(Name::Vary).flat_map(crate::wire::elements);
    named.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Compression = Compression {
        gzip: Some(1),
        brotli: Some(4),
        zstd: Some(3),
        types: Vec::new(),
        min_length: 20,
        vary: false,
        proxied: Proxied {
            any: false,
            expired: false,
            no_cache: false,
            no_store: false,
            private: false,
            no_last_modified: false,
            no_etag: false,
            auth: false,
        },
        http10: false,
        sessions: false,
        gunzip: false,
    };

    fn decided(
        compression: &Compression,
        takes: &str,
        media_type: &str,
        session: bool,
    ) -> Option<Coding> {
        let exchange = Exchange {
            is_http10: false,
            asked: &Fields::of(&[("Accept-Encoding", takes)]),
            status: StatusCode::OK,
            fields: &Fields::of(&[("Content-Type", media_type)]),
            length: Some(100),
            is_of_session: session,
            now: 0,
            date: |_| None,
        };
        compression.decide(&exchange).coding
    }

    #[test]
    fn what_packs_best_is_chosen() {
        let all = Compression { types: vec!["*".to_owned()], ..ALL };
        for (takes, expected) in [
            ("gzip, br, zstd", Some(Coding::Brotli(4))),
            ("gzip, zstd", Some(Coding::Zstd(3))),
            ("gzip, br;q=0", Some(Coding::Gzip(1))),
            ("deflate", None),
        ] {
            assert_eq!(decided(&all, takes, "text/html", false), expected, "{takes}");
        }
    }

    #[test]
    fn of_sessions_only_what_has_no_secrets_is_compressed() {
        let all = Compression { types: vec!["*".to_owned()], ..ALL };
        for (media_type, expected) in [
            ("text/html", false),
            ("application/json; charset=utf-8", false),
            ("TEXT/CSS", true),
            ("application/javascript; charset=utf-8", true),
            ("font/woff2", true),
        ] {
            assert_eq!(decided(&all, "gzip", media_type, true).is_some(), expected, "{media_type}");
            assert!(decided(&all, "gzip", media_type, false).is_some(), "{media_type}");
            let asked_for = Compression { sessions: true, ..all.clone() };
            assert!(decided(&asked_for, "gzip", media_type, true).is_some(), "{media_type}");
        }
    }
}
