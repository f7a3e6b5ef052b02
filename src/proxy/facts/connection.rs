//! What variables say of a connection, TLS included.

use std::net::IpAddr;

use super::{Told, certificate, put, seconds, show};
use crate::listen::{Info, Protocol};
use crate::variables::name::Builtin;

pub(super) fn builtin(info: &Info, name: Builtin, out: &mut Vec<u8>) -> Told {
    let (peer, local) = (info.peer(), info.local());
    if let Some(path) = info.unix() {
        match name {
            Builtin::RemoteAddr | Builtin::RealipRemoteAddr | Builtin::BinaryRemoteAddr => {
                return Some(put(out, Some(b"unix:")));
            }
            Builtin::ServerAddr => {
                return Some(put(out, Some(format!("unix:{}", path.display()).as_bytes())));
            }
            Builtin::RemotePort | Builtin::RealipRemotePort | Builtin::ServerPort => {
                return Some(put(out, Some(b"")));
            }
            _ => {}
        }
    }
    Some(match name {
        Builtin::RemoteAddr | Builtin::RealipRemoteAddr => show(out, peer.ip().to_canonical()),
        Builtin::BinaryRemoteAddr => match peer.ip().to_canonical() {
            IpAddr::V4(address) => put(out, Some(&address.octets())),
            IpAddr::V6(address) => put(out, Some(&address.octets())),
        },
        Builtin::RemotePort | Builtin::RealipRemotePort => show(out, peer.port()),
        Builtin::ServerAddr => show(out, local.ip().to_canonical()),
        Builtin::ServerPort => show(out, local.port()),
        Builtin::Connection => show(out, info.id()),
        Builtin::ConnectionRequests => show(out, info.requests().max(1)),
        Builtin::ConnectionTime => seconds(out, info.begun().elapsed()),
        Builtin::Scheme => put(out, Some(if info.is_secure() { b"https" } else { b"http" })),
        Builtin::Https => put(out, Some(if info.is_secure() { b"on" } else { b"" })),
        Builtin::Http2 => {
            let value: &[u8] = match (info.is_http2(), info.is_secure()) {
                (true, true) => b"h2",
                (true, false) => b"h2c",
                (false, _) => b"",
            };
            put(out, Some(value))
        }
        Builtin::ProxyProtocolAddr
        | Builtin::ProxyProtocolPort
        | Builtin::ProxyProtocolServerAddr
        | Builtin::ProxyProtocolServerPort => {
            let Some((source, target)) = info.proxied().and_then(|proxied| proxied.ends) else {
                return Some(false);
            };
            match name {
                Builtin::ProxyProtocolAddr => show(out, source.ip()),
                Builtin::ProxyProtocolPort => show(out, source.port()),
                Builtin::ProxyProtocolServerAddr => show(out, target.ip()),
                _ => show(out, target.port()),
            }
        }
        _ => return of_tls(info, name, out),
    })
}

fn of_tls(info: &Info, name: Builtin, out: &mut Vec<u8>) -> Told {
    if !name.is_of_tls() {
        return None;
    }
    let Some(tls) = info.tls() else { return Some(false) };
    Some(match name {
        Builtin::SslProtocol => put(out, Some(tls.version.as_bytes())),
        Builtin::SslCipher => put(out, Some(openssl_name(tls.cipher).as_bytes())),
        Builtin::SslCurve => put(out, Some(openssl_curve(tls.curve).as_bytes())),
        Builtin::SslServerName => put(out, tls.server_name.as_deref().map(str::as_bytes)),
        Builtin::SslSessionReused => put(out, Some(if tls.resumed { b"r" } else { b"." })),
        Builtin::SslAlpnProtocol if !tls.by_alpn => false,
        Builtin::SslAlpnProtocol => put(
            out,
            Some(match tls.protocol {
                Protocol::Http1 => b"http/1.1",
                Protocol::Http2 => b"h2",
            }),
        ),
        Builtin::SslClientVerify => match tls.client.as_ref().map(|client| client.verdict) {
            None => put(out, Some(b"NONE")),
            Some(Ok(())) => put(out, Some(b"SUCCESS")),
            Some(Err(flaw)) => put(out, Some(format!("FAILED:{}", flaw.text()).as_bytes())),
        },
        _ => match &tls.client {
            Some(client) => certificate::builtin(&client.der, name, out),
            None => false,
        },
    })
}

/// A group of key exchange as OpenSSL, and so nginx, spells it.
fn openssl_curve(name: &str) -> &str {
    match name {
        "secp256r1" => "prime256v1",
        name => name,
    }
}

/// A cipher suite as OpenSSL, and so nginx, spells it.
fn openssl_name(cipher: &str) -> String {
    if let Some(rest) = cipher.strip_prefix("TLS13_") {
        return format!("TLS_{rest}");
    }
    let name = cipher.strip_prefix("TLS_").unwrap_or(cipher).replace("_WITH_", "_");
    let name = name.replace("AES_128", "AES128").replace("AES_256", "AES256");
    // OpenSSL leaves the hash out where the suite allows one alone.
    let name =
        name.strip_suffix("POLY1305_SHA256").map_or(name.clone(), |n| format!("{n}POLY1305"));
    name.replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ciphers_are_spelled_as_openssl_spells_them() {
        for (rustls, openssl) in [
            ("TLS13_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
            ("TLS13_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
            ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
            ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
            ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
        ] {
            assert_eq!(openssl_name(rustls), openssl);
        }
    }
}
