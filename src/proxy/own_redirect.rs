//! Redirects that the proxy makes up itself, in nginx's form: absolute, with the port that was asked.

use crate::proxy::context::Context;
use crate::proxy::file_settings::OwnRedirects;
use crate::routing::percent::{self, Part};

/// The value of a `Location` that leads to a path of the same server: decoded, it is escaped here.
/// The query stays as it came.
pub fn location(
    form: OwnRedirects,
    ctx: &Context,
    server_name: Option<&str>,
    path: &[u8],
    query: Option<&[u8]>,
) -> Vec<u8> {
    let mut location = if form.absolute { origin(form, ctx, server_name) } else { Vec::new() };
    // A path of two slashes would name another host.
    if !form.absolute && path.starts_with(b"//") {
        location.extend_from_slice(b"/.");
    }
    percent::escape(path, Part::Path, &mut location);
    if let Some(query) = query {
        location.push(b'?');
        location.extend_from_slice(query);
    }
    location
}

/// The value of a `Location` that somebody else wrote: a path becomes absolute where that is asked for.
pub fn absolute(
    form: OwnRedirects,
    ctx: &Context,
    server_name: Option<&str>,
    mut location: Vec<u8>,
) -> Vec<u8> {
    if form.absolute && location.starts_with(b"/") {
        let mut whole = origin(form, ctx, server_name);
        whole.append(&mut location);
        return whole;
    }
    location
}

/// `https://shop.example:8443`
fn origin(form: OwnRedirects, ctx: &Context, server_name: Option<&str>) -> Vec<u8> {
    let connection = &ctx.connection;
    let local = connection.local();
    let (asked, is_https) = match &ctx.target {
        Some(target) => (target.host.as_str(), target.client.https),
        None => ("", connection.is_secure()),
    };
    let host = match server_name.filter(|_| form.server_name) {
        Some(name) => name.to_owned(),
        None if asked.is_empty() => match local.ip().to_canonical() {
            std::net::IpAddr::V4(ip) => ip.to_string(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        },
        None => asked.to_owned(),
    };
    let (scheme, usual) = if is_https { ("https", 443) } else { ("http", 80) };
    // Who was asked at another scheme was asked at another port too, behind a proxy of ours.
    let is_ours = is_https == connection.is_secure();
    let port = local.port();
    match form.with_port && is_ours && port != usual {
        true => format!("{scheme}://{host}:{port}").into_bytes(),
        false => format!("{scheme}://{host}").into_bytes(),
    }
}
