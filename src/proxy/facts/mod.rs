//! What variables say of a request: at any time what is known by then, and all of it when its line is
//! written.
//!
//! Session cookies and tickets are masked whoever asks, so that no map carries one into a log.

mod answer;
mod certificate;
mod connection;
mod cookies;
mod refused;
mod text;

use std::borrow::Cow;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use http::Method;
use sha2::{Digest, Sha256};

use crate::access::credentials::Credentials;
use crate::access::secure_link::{self, Link};
use crate::downstream::{Client, Request};
use crate::files::place::Located;
use crate::proxy::context::Context;
use crate::proxy::document_root;
use crate::proxy::file_settings::Lies;
use crate::proxy::origins::{Origins, SecureLink};
use crate::proxy::shared::Shared;
use crate::routing::host::Host;
use crate::routing::target::without_authority;
use crate::session::outcome::RecordKey;
use crate::telemetry::local_time;
use crate::telemetry::log_writer::hostname;
use crate::variables::name::{Builtin, Family};
use crate::variables::template::Template;
use crate::variables::{Facts, parts};
use crate::wire::fields::Fields;
use crate::wire::name::Name;

pub use self::refused::RefusedFacts;
use self::text::{put, put_all, put_hex, seconds, show};

/// A request on its way, and the client that asks.
pub struct RequestFacts<'a, 'c> {
    pub shared: &'a Shared,
    pub request: &'a Request,
    pub client: &'a Client<'c>,
    pub ctx: &'a Context,
}

impl Facts for RequestFacts<'_, '_> {
    fn builtin(&self, name: Builtin, out: &mut Vec<u8>) -> bool {
        let info = &self.ctx.connection;
        self.of_request(name, out)
            .or_else(|| self.of_client(name, out))
            .or_else(|| self.of_answer(name, out))
            .or_else(|| self.of_session(name, out))
            .or_else(|| connection::builtin(info, name, out))
            .or_else(|| of_process(self.shared, name, out))
            .unwrap_or(false)
    }

    fn member(&self, family: Family, name: &[u8], out: &mut Vec<u8>) -> bool {
        let fields = self.request.fields();
        match family {
            Family::Arg => put(out, parts::argument(self.ctx.args(self.request), name)),
            Family::Cookie => cookies::cookie(self.shared, fields, name, out),
            Family::Http if name == b"cookie" => cookies::line(self.shared, fields, out),
            Family::Http => parts::field(fields, name, out),
            Family::SentHttp => self.sent(name, out),
            Family::SentTrailer => {
                self.ctx.sent_trailers.as_ref().is_some_and(|sent| parts::field(sent, name, out))
            }
            Family::UpstreamHttp => {
                self.ctx.worker_fields.as_ref().is_some_and(|fields| match name {
                    b"set_cookie" => cookies::set_cookies(self.shared, fields, out),
                    _ => parts::field(fields, name, out),
                })
            }
            Family::UpstreamTrailer => {
                let trailers = self.ctx.worker_trailers.as_ref();
                trailers.is_some_and(|trailers| parts::field(trailers, name, out))
            }
            Family::UpstreamCookie => {
                let fields = self.ctx.worker_fields.as_ref();
                fields.is_some_and(|fields| cookies::set_cookie(self.shared, fields, name, out))
            }
            Family::ProxyProtocolTlv => {
                let proxied = self.ctx.connection.proxied();
                let name = std::str::from_utf8(name).unwrap_or_default();
                put(out, proxied.and_then(|proxied| proxied.tlv(name)).as_deref())
            }
        }
    }

    fn directory(&self) -> Option<&Template> {
        let lies = self.ctx.target.as_ref()?.route.lies.as_ref();
        lies.map(Lies::directory)
    }

    fn of_directory(&self, name: Builtin, directory: &[u8], out: &mut Vec<u8>) -> bool {
        let real = |path: &[u8]| std::fs::canonicalize(OsStr::from_bytes(path)).ok();
        match name {
            Builtin::DocumentRoot => put(out, Some(directory)),
            Builtin::RealpathRoot => {
                put(out, real(directory).as_ref().map(|path| path.as_os_str().as_bytes()))
            }
            _ => self.filename(directory, self.ctx.path().unwrap_or_default(), out),
        }
    }

    fn secure_link(&self) -> Option<(&Template, &Template)> {
        match self.place()?.secure_link.as_deref()? {
            SecureLink::Hash { said, hashed } => Some((said, hashed)),
            SecureLink::Secret(_) => None,
        }
    }

    fn judge_link(&self, said: &[u8], hashed: &[u8], out: &mut Vec<u8>) -> bool {
        let now = self.shared.clock.now().0 / 1000;
        match secure_link::judge(said, hashed, now) {
            Some(Link::Good) => put(out, Some(b"1")),
            Some(Link::Over) => put(out, Some(b"0")),
            None => false,
        }
    }

    fn filename(&self, directory: &[u8], path: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(target) = &self.ctx.target else { return false };
        let Some(lies) = &target.route.lies else { return false };
        let place = document_root::place(path, lies, directory, target.is_below).ok();
        let file = place.and_then(|place| place.locate(path).ok());
        put(out, file.as_ref().map(Located::as_bytes))
    }

    fn client(&self) -> Option<IpAddr> {
        Some(self.ctx.client_ip())
    }
}

/// What is not decided here is `None`, what has no value `Some(false)`.
type Told = Option<bool>;

impl RequestFacts<'_, '_> {
    fn of_request(&self, name: Builtin, out: &mut Vec<u8>) -> Told {
        let (request, ctx) = (self.request, self.ctx);
        let field = |name| request.fields().get(name);
        Some(match name {
            Builtin::Request => {
                let came = ctx.came.as_ref();
                let method = came.map_or(&request.method, |came| &came.method).as_str().as_bytes();
                let target = came.map_or(request.target(), |came| &came.target);
                let protocol = request.protocol.as_str().as_bytes();
                put_all(out, &[method, b" ", target, b" ", protocol])
            }
            Builtin::RequestMethod => put(out, Some(self.method().as_str().as_bytes())),
            Builtin::RequestUri => put(out, Some(&self.target())),
            Builtin::ServerProtocol => put(out, Some(request.protocol.as_str().as_bytes())),
            Builtin::Uri | Builtin::DocumentUri => {
                let target = self.target();
                put(out, ctx.path().or_else(|| target.split(|byte| *byte == b'?').next()))
            }
            Builtin::Args | Builtin::QueryString => {
                put(out, Some(ctx.args(request)).filter(|args| !args.is_empty()))
            }
            Builtin::IsArgs => {
                put(out, Some(if ctx.args(request).is_empty() { b"" } else { b"?" }))
            }
            Builtin::Host => self.host(out),
            Builtin::RequestPort | Builtin::IsRequestPort => {
                let host = Host::parse(request.authority().unwrap_or_default()).ok();
                let Some(port) = host.and_then(|host| host.port()) else { return Some(false) };
                if name == Builtin::IsRequestPort {
                    return Some(put(out, Some(b":")));
                }
                show(out, port)
            }
            Builtin::ContentLength => match request.body.known() {
                Some(length) if length > 0 => show(out, length),
                Some(_) => put(out, field(Name::ContentLength)),
                None => show(out, self.client.received()),
            },
            Builtin::RequestBody => put(out, ctx.request_body.as_deref()),
            Builtin::RequestBodyFile => put(out, ctx.request_body_file.as_deref()),
            Builtin::ContentType => put(out, field(Name::ContentType)),
            Builtin::RequestId => put_hex(out, &ctx.request_id()),
            Builtin::RequestLength => {
                show(out, request.head_bytes() + self.client.received_on_wire())
            }
            Builtin::RequestTime => seconds(out, ctx.begun.elapsed()),
            Builtin::Pipe => put(out, Some(if self.client.is_pipelined() { b"p" } else { b"." })),
            _ => return None,
        })
    }

    fn of_client(&self, name: Builtin, out: &mut Vec<u8>) -> Told {
        let (request, ctx) = (self.request, self.ctx);
        Some(match name {
            Builtin::RemoteUser => put(out, basic_user(request.fields()).as_deref()),
            Builtin::RemoteAddr => show(out, ctx.client_ip()),
            Builtin::RemotePort => match ctx.real_port {
                Some(Some(port)) => show(out, port),
                // There is one, and nobody knows which.
                Some(None) => true,
                None => return None,
            },
            Builtin::BinaryRemoteAddr => match ctx.client_ip() {
                IpAddr::V4(address) => put(out, Some(&address.octets())),
                IpAddr::V6(address) => put(out, Some(&address.octets())),
            },
            Builtin::ProxyAddXForwardedFor => {
                if parts::field(request.fields(), b"x_forwarded_for", out) {
                    out.extend_from_slice(b", ");
                }
                show(out, ctx.client_ip())
            }
            Builtin::SecureLink => {
                let Some(SecureLink::Secret(secret)) =
                    self.place().and_then(|place| place.secure_link.as_deref())
                else {
                    return Some(false);
                };
                put(out, secure_link::by_secret(&self.target(), secret.expose()))
            }
            Builtin::InvalidReferer => put(out, Some(self.invalid_referer())),
            Builtin::LimitRate => show(out, ctx.limit_rate.unwrap_or(0)),
            Builtin::LimitReqStatus => put(out, ctx.limited.rates().map(str::as_bytes)),
            Builtin::LimitConnStatus => put(out, ctx.limited.connections().map(str::as_bytes)),
            Builtin::ServerName => {
                let server = self.shared.servers.get(ctx.server.unwrap_or_default());
                put(out, Some(server.map_or(b"", |server| server.name.as_bytes())))
            }
            _ => return None,
        })
    }

    fn of_session(&self, name: Builtin, out: &mut Vec<u8>) -> Told {
        let ctx = self.ctx;
        let session = ctx.exchange.as_ref();
        Some(match name {
            Builtin::SessionPolicy => {
                let policy = ctx.target.as_ref().and_then(|target| target.route.session.as_ref());
                put(out, policy.map(|policy| policy.name.as_bytes()))
            }
            Builtin::SessionEvent => put(out, ctx.session_event().map(str::as_bytes)),
            Builtin::SessionId => match ctx.session() {
                Some(key) => session_id(key, out),
                None => false,
            },
            Builtin::SessionSubject => {
                let record = session.and_then(|session| session.admitted.as_deref());
                let subject = record.and_then(|record| record.whose()?.for_worker());
                put(out, subject.map(str::as_bytes))
            }
            _ => return None,
        })
    }

    /// What the client asked with, whatever is made for it.
    fn method(&self) -> &Method {
        self.ctx.made_for.as_ref().unwrap_or(&self.request.method)
    }

    /// The target as it came, without the authority of an absolute form.
    fn target(&self) -> Cow<'_, [u8]> {
        let came = self.ctx.came.as_ref().map(|came| &*came.target);
        without_authority(came.unwrap_or(self.request.target()))
    }

    fn host(&self, out: &mut Vec<u8>) -> bool {
        if let Some(target) = self.ctx.target.as_ref().filter(|target| !target.host.is_empty()) {
            return put(out, Some(target.host.as_bytes()));
        }
        let host = Host::parse(self.request.authority().unwrap_or_default()).ok();
        match host.as_ref().map(Host::as_str).filter(|host| !host.is_empty()) {
            Some(host) => put(out, Some(host.as_bytes())),
            None => self.builtin(Builtin::ServerName, out),
        }
    }

    /// What the route says of who asks, or the server where none is known yet.
    fn place(&self) -> Option<&Origins> {
        self.ctx.target.as_ref().map(|target| &target.route.origins)
    }

    fn invalid_referer(&self) -> &'static [u8] {
        let referers = self.place().and_then(|place| place.referers.as_ref());
        let referer = self.request.fields().get(Name::Referer);
        if referers.is_some_and(|referers| referers.refuse(referer)) { b"1" } else { b"" }
    }
}

/// The user of HTTP's basic authentication, who may be anybody where nobody asked for the password.
fn basic_user(fields: &Fields) -> Option<Vec<u8>> {
    let credentials = Credentials::read(fields.get(Name::Authorization)?)?;
    Some(credentials.user().to_vec())
}

/// What is the same for all requests of a moment.
fn of_process(shared: &Shared, name: Builtin, out: &mut Vec<u8>) -> Told {
    let now = || shared.clock.now();
    match name {
        Builtin::TimeLocal => local_time::local(now(), out),
        Builtin::TimeIso8601 => local_time::iso8601(now(), out),
        Builtin::DateGmt => local_time::date_gmt(now(), out),
        Builtin::DateLocal => local_time::date_local(now(), out),
        Builtin::Msec => return Some(seconds(out, Duration::from_millis(now().0))),
        Builtin::Hostname => out.extend_from_slice(hostname().as_bytes()),
        Builtin::ConnectionsActive => return Some(show(out, shared.gate.counts().open)),
        Builtin::ConnectionsReading => return Some(show(out, shared.gate.doings().reading)),
        Builtin::ConnectionsWriting => return Some(show(out, shared.gate.doings().writing)),
        Builtin::ConnectionsWaiting => return Some(show(out, shared.gate.doings().waiting)),
        Builtin::Pid => return Some(show(out, std::process::id())),
        Builtin::NginxVersion => out.extend_from_slice(env!("CARGO_PKG_VERSION").as_bytes()),
        _ => return None,
    }
    Some(true)
}

/// Tells sessions apart and is found again in the audit trail, which has the same beginning. Nobody
/// can look the record up by it.
fn session_id(key: RecordKey, out: &mut Vec<u8>) -> bool {
    let begin = format!("{key:?}");
    out.extend_from_slice(begin.trim_end_matches('.').as_bytes());
    let hash = Sha256::digest(key.hex_digits());
    put_hex(out, hash.get(..12).unwrap_or_default())
}
