//! Workers that a text with variables names (nginx: `proxy_pass http://$backend`).

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use crate::downstream::{Client, Request};
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::reach::wait;
use crate::proxy::returned::evaluated;
use crate::proxy::shared::Shared;
use crate::upstream::group::Group;
use crate::upstream::names::Found;
use crate::upstream::verdict::Failure;
use crate::upstream::{Address, EndpointSettings, ResolvedBy};
use crate::variables::template::Template;

/// A URL with variables: an upstream's name or an address, and what is asked for there.
#[derive(Clone, Debug)]
pub struct Passed {
    pub url: Template,
    /// The upstream that addresses without one count as, by its index.
    pub direct: usize,
    /// Who finds the addresses of names that no upstream has.
    pub resolved_by: Option<ResolvedBy>,
}

/// What a URL came to.
#[derive(Clone, Debug)]
pub struct PassedTo {
    /// By its index.
    pub upstream: usize,
    /// Endpoints that no upstream has.
    pub direct: Option<Arc<Group>>,
    /// As it was written, without the scheme's own port (`$proxy_host`).
    pub host: String,
    pub port: u16,
}

/// Finds out whom a request goes to, and what is asked for there.
///
/// # Errors
/// 500 for what is no URL, as in nginx; 502 for a name without an address.
pub async fn resolve(
    shared: &Shared,
    request: &Request,
    client: &mut Client<'_>,
    ctx: &mut Context,
    passed: &Passed,
) -> Result<(), RequestError> {
    let text = evaluated(shared, request, client, ctx, &passed.url);
    let shown = || String::from_utf8_lossy(&text);
    let Some(url) = Url::read(&text) else {
        tracing::error!(url = %shown(), "a request is passed to what is no URL");
        return Err(RequestError::Internal);
    };
    let known = shared.upstreams.iter().position(|upstream| {
        let settings = upstream.group.settings();
        let is_named = settings.name.eq_ignore_ascii_case(url.host) && url.port.is_none();
        settings.tls.is_some() == url.is_https
            && (is_named || settings.known_as().eq_ignore_ascii_case(&url.known_as()))
    });
    if known.is_none() && url.is_https {
        tracing::error!(url = %shown(), "no upstream of this name speaks TLS");
        return Err(RequestError::BadGateway);
    }
    let (host, port) = (url.known_as(), url.port_or_usual());
    let to = PassedTo { upstream: known.unwrap_or(passed.direct), direct: None, host, port };
    let sent = match url.rest {
        b"" => None,
        rest if rest.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) => {
            return Err(RequestError::BadRequest);
        }
        [b'?', ..] => Some([b"/", url.rest].concat().into()),
        rest => Some(rest.into()),
    };
    let Some(target) = &mut ctx.target else { return Err(RequestError::Internal) };
    target.sent = sent;
    target.passed = Some(Box::new(to));
    if known.is_none() {
        let addresses = match (url.address(), passed.resolved_by) {
            (Some(address), _) => vec![address],
            (None, Some(by)) => {
                let resolving = addresses(shared, by, url.host, url.port_or_usual());
                wait(resolving, request, client, ctx).await.map_err(failed)?
            }
            (None, None) => {
                tracing::error!("no resolver defined to resolve {}", url.host);
                return Err(RequestError::BadGateway);
            }
        };
        let endpoints = addresses.into_iter().map(EndpointSettings::new).collect();
        if let Some(to) = ctx.target.as_mut().and_then(|target| target.passed.as_mut()) {
            to.direct = Some(Arc::new(Group::direct(endpoints)));
        }
    }
    Ok(())
}

/// The addresses of a name, from any of them on: each of many requests begins elsewhere.
async fn addresses(
    shared: &Shared,
    by: ResolvedBy,
    host: &str,
    port: u16,
) -> Result<Vec<Address>, Failure> {
    let resolver = shared.resolvers.get(by.resolver).ok_or(Failure::Refused(0))?;
    let found = resolver.addresses(host, by.timeout).await.found.map_err(|why| {
        tracing::error!("{host} could not be resolved ({why})");
        Failure::Refused(0)
    })?;
    let mut addresses: Vec<Address> = found
        .iter()
        .filter_map(|found| match found {
            Found::Address(ip) => Some(Address::Inet(SocketAddr::new(*ip, port))),
            Found::Service(_) => None,
        })
        .collect();
    let begin = rand::random_range(0..addresses.len().max(1));
    addresses.rotate_left(begin);
    Ok(addresses)
}

/// Why a name was not waited for to the end.
fn failed(failure: Failure) -> RequestError {
    match failure {
        Failure::ClientGone => RequestError::ClientGone,
        Failure::Cut => RequestError::Cut,
        _ => RequestError::BadGateway,
    }
}

/// A URL of workers.
#[derive(Debug, PartialEq, Eq)]
struct Url<'a> {
    is_https: bool,
    /// A name, an address (IPv6 in brackets), or `unix:/PATH`.
    host: &'a str,
    port: Option<u16>,
    /// What is asked for, in place of the path; may be empty.
    rest: &'a [u8],
}

impl<'a> Url<'a> {
    fn read(text: &'a [u8]) -> Option<Self> {
        let scheme = |scheme: &str| {
            let (begin, rest) = text.split_at_checked(scheme.len())?;
            begin.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
        };
        let (is_https, text) = match (scheme("http://"), scheme("https://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return None,
        };
        if let Some(socket) = text.strip_prefix(b"unix:") {
            let end = socket.iter().position(|byte| *byte == b':').unwrap_or(socket.len());
            let host = std::str::from_utf8(text.get(..end + 5)?).ok().filter(|_| end > 0)?;
            let rest = socket.get(end + 1..).unwrap_or_default();
            return Some(Self { is_https, host, port: None, rest });
        }
        let end = text.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
        let (authority, rest) = text.split_at(end.unwrap_or(text.len()));
        let authority = std::str::from_utf8(authority).ok()?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, Some(port.parse().ok().filter(|port| *port > 0)?))
            }
            _ => (authority, None),
        };
        (!host.is_empty()).then_some(Self { is_https, host, port, rest })
    }

    fn port_or_usual(&self) -> u16 {
        self.port.unwrap_or(if self.is_https { 443 } else { 80 })
    }

    fn known_as(&self) -> String {
        match self.port {
            _ if self.host.starts_with("unix:") => "localhost".to_owned(),
            Some(port) if port != if self.is_https { 443 } else { 80 } => {
                format!("{}:{port}", self.host)
            }
            _ => self.host.to_owned(),
        }
    }

    fn address(&self) -> Option<Address> {
        if let Some(path) = self.host.strip_prefix("unix:") {
            return Some(Address::Unix(PathBuf::from(path)));
        }
        let bare = self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let ip: IpAddr = bare.unwrap_or(self.host).parse().ok()?;
        Some(Address::Inet(SocketAddr::new(ip, self.port_or_usual())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_nginx_reads_them() {
        let read = |text: &'static str| {
            let url = Url::read(text.as_bytes())?;
            let address = url.address().map(|address| address.to_string());
            Some((url.known_as(), address, String::from_utf8_lossy(url.rest).into_owned()))
        };
        let some = |known: &str, address: Option<&str>, rest: &str| {
            Some((known.to_owned(), address.map(str::to_owned), rest.to_owned()))
        };
        assert_eq!(read("http://app"), some("app", None, ""));
        assert_eq!(read("HTTP://app:80/x?y"), some("app", None, "/x?y"));
        assert_eq!(read("http://10.0.0.1"), some("10.0.0.1", Some("10.0.0.1:80"), ""));
        assert_eq!(read("http://10.0.0.1:81?a"), some("10.0.0.1:81", Some("10.0.0.1:81"), "?a"));
        assert_eq!(read("https://[::1]:443/"), some("[::1]", Some("[::1]:443"), "/"));
        assert_eq!(read("http://unix:/a.sock:/b"), some("localhost", Some("unix:/a.sock"), "/b"));
        assert_eq!(read("http://unix:/a.sock"), some("localhost", Some("unix:/a.sock"), ""));
        for text in [
            "",
            "app",
            "ftp://a",
            "http://",
            "http:///x",
            "http://a:x",
            "http://a:0",
            "http://unix:",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
