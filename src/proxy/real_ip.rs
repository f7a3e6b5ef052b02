//! Puts the client in its proxy's place, where `set_real_ip_from` says so.

use std::sync::Arc;

use crate::access::real_ip::{Found, Header, RealIp};
use crate::downstream::Request;
use crate::headers::forwarded::{Client, Connection};
use crate::proxy::context::Context;
use crate::wire::name::Name;

/// Who asks, by what a server or a route believes. Once it is found it stays.
pub fn find(real_ip: Option<&Arc<RealIp>>, request: &Request, ctx: &mut Context) -> Option<Client> {
    let real_ip = real_ip.filter(|_| !ctx.has_real_ip)?;
    let connection = Connection {
        peer: ctx.connection.peer().ip(),
        tls: ctx.connection.is_secure(),
        port: ctx.connection.local().port(),
    };
    let peer = connection.peer.to_canonical();
    if !real_ip.trusts(peer) {
        return None;
    }
    let fields = request.fields();
    let found = match &real_ip.header {
        Header::ForwardedFor => real_ip.find(peer, fields.all(Name::XForwardedFor)),
        Header::Field(name) => {
            let is_named = |field: &[u8]| field.eq_ignore_ascii_case(name.as_bytes());
            let value = fields.iter().find(|field| is_named(field.name)).map(|field| field.value);
            real_ip.find(peer, value.into_iter())
        }
        Header::ProxyProtocol => {
            let ends = ctx.connection.proxied().and_then(|proxied| proxied.ends);
            let source = ends.map(|(source, _)| source.to_string());
            real_ip.find(peer, source.iter().map(|source| source.as_bytes()))
        }
    };
    let Found { ip, port, passed } = found?;
    ctx.has_real_ip = true;
    ctx.real_port = Some(port);
    let client = Client::told(connection, fields, ip, passed);
    ctx.is_from(&client);
    Some(client)
}
