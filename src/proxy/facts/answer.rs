//! What variables say of the answer, and of the workers that were asked for it.

use super::text::{put, show, took};
use super::{RequestFacts, Told, cookies};
use crate::proxy::endpoint;
use crate::proxy::finish::status;
use crate::proxy::tried::Tried;
use crate::variables::name::Builtin;
use crate::variables::parts;
use crate::wire::name::Name;
use crate::wire::write::Announce;

impl RequestFacts<'_, '_> {
    pub(super) fn of_answer(&self, name: Builtin, out: &mut Vec<u8>) -> Told {
        let client = self.client;
        Some(match name {
            Builtin::Status => match (client.status(), &self.ctx.sent) {
                // On its way, as fields that are added are told.
                (None, Some((head, _))) => show(out, head.status.as_u16()),
                // Nothing has been said yet, but perhaps of the error that this stands for.
                (None, None) if !self.ctx.is_over => match self.ctx.shown {
                    Some(status) => show(out, status.as_u16()),
                    None => put(out, Some(b"000")),
                },
                _ => show(out, status(client)),
            },
            Builtin::BytesSent => show(out, client.head_sent() + client.sent_on_wire()),
            Builtin::BodyBytesSent => show(out, client.sent_on_wire()),
            Builtin::RequestCompletion => {
                let is_whole = client.has_finished();
                put(out, Some(if is_whole { b"OK" } else { b"" }))
            }
            Builtin::UpstreamAddr => self.upstream_addr(out),
            Builtin::UpstreamStatus => self.of_each(out, |tried, out| match tried.status {
                Some(status) => show(out, status),
                None => false,
            }),
            Builtin::UpstreamConnectTime => {
                self.of_each(out, |tried, out| took(tried.connected, out))
            }
            Builtin::UpstreamHeaderTime => {
                self.of_each(out, |tried, out| took(tried.answered, out))
            }
            Builtin::UpstreamResponseTime => self.of_each(out, |tried, out| took(tried.ended, out)),
            Builtin::UpstreamResponseLength => {
                self.of_each(out, |tried, out| show(out, tried.length))
            }
            Builtin::UpstreamQueueTime => self.of_each(out, |tried, out| took(tried.waited, out)),
            Builtin::UpstreamBytesReceived => {
                self.of_each(out, |tried, out| show(out, tried.moved.received))
            }
            Builtin::UpstreamBytesSent => {
                self.of_each(out, |tried, out| show(out, tried.moved.sent))
            }
            // As in nginx, what is logged is not under way any more.
            Builtin::ConnectionsWriting if self.ctx.is_over => {
                show(out, self.shared.gate.doings().writing.saturating_sub(1))
            }
            Builtin::GzipRatio => self.ctx.packed.is_some_and(|packed| ratio(packed, out)),
            Builtin::ProxyHost | Builtin::ProxyPort => self.proxied_to(name, out),
            _ => return None,
        })
    }

    /// Whom the configuration names as asked.
    fn proxied_to(&self, name: Builtin, out: &mut Vec<u8>) -> bool {
        let Some((target, upstream)) = endpoint::upstream(self.shared, self.ctx) else {
            return false;
        };
        if let Some(to) = &target.passed {
            return match name {
                Builtin::ProxyPort => show(out, to.port),
                _ => put(out, Some(to.host.as_bytes())),
            };
        }
        let settings = upstream.group.settings();
        match name {
            Builtin::ProxyPort => match port_of(settings.known_as()) {
                Some(port) => put(out, Some(port.as_bytes())),
                None => show(out, if settings.tls.is_some() { 443 } else { 80 }),
            },
            _ => put(out, Some(settings.known_as().as_bytes())),
        }
    }

    /// Something of each attempt at an endpoint, in nginx's form: `a, b : c`, with `-` for what never
    /// was.
    fn of_each(&self, out: &mut Vec<u8>, say: impl Fn(&Tried, &mut Vec<u8>) -> bool) -> bool {
        let mut has_any = false;
        for tried in self.ctx.tried.iter() {
            if std::mem::replace(&mut has_any, true) {
                out.extend_from_slice(if tried.begins_turn { b" : " } else { b", " });
            }
            if !say(tried, out) {
                out.push(b'-');
            }
        }
        has_any
    }

    fn upstream_addr(&self, out: &mut Vec<u8>) -> bool {
        self.of_each(out, |tried, out| put(out, Some(tried.endpoint.text.as_bytes())))
    }

    /// A field of the answer as it was sent.
    pub(super) fn sent(&self, name: &[u8], out: &mut Vec<u8>) -> bool {
        let Some((head, announce)) = &self.ctx.sent else { return false };
        match (name, announce) {
            (b"content_length", Announce::Length(length)) => show(out, *length),
            (b"transfer_encoding", Announce::Chunked) => put(out, Some(b"chunked")),
            (b"content_length" | b"transfer_encoding", _) => false,
            (b"set_cookie", _) => cookies::set_cookies(self.shared, &head.fields, out),
            (b"connection", _) if !head.fields.has(Name::Connection) => {
                put(out, Some(b"keep-alive"))
            }
            _ => parts::field(&head.fields, name, out),
        }
    }
}

/// How many times smaller something became, as nginx rounds it.
fn ratio((taken, made): (u64, u64), out: &mut Vec<u8>) -> bool {
    if made == 0 {
        return false;
    }
    let hundredths = (taken.saturating_mul(1000) / made + 5) / 10;
    show(out, format_args!("{}.{:02}", hundredths / 100, hundredths % 100))
}

/// The port of `app:8080`, `[::1]:8080`.
fn port_of(host: &str) -> Option<&str> {
    let (name, port) = host.rsplit_once(':')?;
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    (is_port && (!name.contains(':') || name.ends_with(']'))).then_some(port)
}
