//! Addresses: of listeners, endpoints, the admin listener, networks.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::{Flaw, Parsed};
use crate::listen::Address;

/// Where something listens, as it is written: perhaps with a name that is to be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Inet(SocketAddr),
    Unix(PathBuf),
    /// A host name and a port.
    Named(String, u16),
}

/// Reads the address of a listener.
///
/// # Errors
/// Anything but an IP address and a port, or `unix:` and an absolute path.
pub fn listener(text: &str) -> Parsed<Address> {
    if let Ok(address) = text.parse() {
        return Ok(Address::Tcp(address));
    }
    if text.starts_with("unix:")
        && let Place::Unix(path) = endpoint(text)?
    {
        return Ok(Address::Unix(path));
    }
    let help = match text.strip_prefix("*:").unwrap_or(text).parse::<u16>() {
        Ok(port) => {
            format!("write `0.0.0.0:{port}`, and `[::]:{port}` as a second listener for IPv6")
        }
        Err(_) if text.parse::<IpAddr>().is_ok() => {
            "add the port, such as `0.0.0.0:443`".to_owned()
        }
        Err(_) => "write an IP address and a port, such as `0.0.0.0:443` or `[::]:443`".to_owned(),
    };
    Err(Flaw::new(format!("`{text}` is no address to listen on"), help))
}

/// Reads the address of an endpoint or of the admin listener: `unix:/path`, `ip:port`, `host:port`.
///
/// # Errors
/// Anything else; port 0; a socket path that is relative or longer than the system takes.
pub fn endpoint(text: &str) -> Parsed<Place> {
    /// `sun_path` holds 108 bytes with its closing zero.
    const SOCKET_PATH_BYTES_MAX: usize = 107;
    const HELP: &str =
        "write `127.0.0.1:7001`, `[::1]:7001`, `app.internal:7001` or `unix:/run/app.sock`";
    let flaw = || Flaw::new(format!("`{text}` is no address"), HELP);
    if let Some(path) = text.strip_prefix("unix:") {
        let fits =
            path.starts_with('/') && path.len() <= SOCKET_PATH_BYTES_MAX && !path.contains('\0');
        return if fits {
            Ok(Place::Unix(PathBuf::from(path)))
        } else {
            Err(Flaw::new(
                format!("`{text}` is no socket"),
                "write `unix:` and an absolute path of at most 107 bytes",
            ))
        };
    }
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split('/').next().unwrap_or_default();
        return Err(Flaw::new(
            format!("`{text}` is a URL"),
            format!("write `{host}` with its port; `tls:` beside `endpoints` makes it TLS"),
        ));
    }
    let place = match text.parse::<SocketAddr>() {
        Ok(address) => Place::Inet(address),
        Err(_) => {
            let (host, port) = text.rsplit_once(':').ok_or_else(flaw)?;
            let port: u16 = port.parse().map_err(|_| flaw())?;
            Place::Named(super::name::host(host).map_err(|_| flaw())?, port)
        }
    };
    match place {
        Place::Inet(address) if address.port() == 0 => Err(flaw()),
        Place::Named(_, 0) => Err(flaw()),
        place => Ok(place),
    }
}

/// Reads a network (`10.0.0.0/8`) or a single address. Says too whether bits beyond the prefix
/// were set, which are cleared.
///
/// # Errors
/// Anything else.
pub fn network(text: &str) -> Parsed<(IpNet, bool)> {
    let net: IpNet =
        text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
            Flaw::new(
                format!("`{text}` is no network"),
                "write an address and a prefix length, such as `10.0.0.0/8` or `fd00::/8`",
            )
        })?;
    let cut = net.trunc();
    Ok((cut, cut != net))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_has_an_address_and_a_port() {
        for text in ["0.0.0.0:443", "[::]:80", "127.0.0.1:0"] {
            assert_eq!(
                listener(text),
                Ok(Address::Tcp(text.parse().expect("an address"))),
                "{text}"
            );
        }
        for (text, help) in [
            ("443", "write `0.0.0.0:443`, and `[::]:443` as a second listener for IPv6"),
            ("*:443", "write `0.0.0.0:443`, and `[::]:443` as a second listener for IPv6"),
            ("127.0.0.1", "add the port, such as `0.0.0.0:443`"),
            ("localhost:80", "write an IP address and a port, such as `0.0.0.0:443` or `[::]:443`"),
            (
                "0.0.0.0:70000",
                "write an IP address and a port, such as `0.0.0.0:443` or `[::]:443`",
            ),
        ] {
            assert_eq!(listener(text).map_err(|flaw| flaw.help), Err(help.to_owned()), "{text}");
        }
    }

    #[test]
    fn an_endpoint_is_an_address_a_name_or_a_socket() {
        let named = |host: &str, port| Some(Place::Named(host.to_owned(), port));
        for (text, expected) in [
            ("127.0.0.1:7001", Some(Place::Inet(([127, 0, 0, 1], 7001).into()))),
            ("unix:/run/app.sock", Some(Place::Unix(PathBuf::from("/run/app.sock")))),
            ("App:7001", named("app", 7001)),
            ("app", None),
            ("app:0", None),
            ("127.0.0.1:0", None),
            ("127.0.0.1", None),
            ("unix:app.sock", None),
            ("http://app:7001", None),
            (":7001", None),
        ] {
            assert_eq!(endpoint(text).ok(), expected, "{text}");
        }
        let long = format!("unix:/{}", "a".repeat(107));
        assert!(endpoint(&long).is_err(), "the system takes 107 bytes");
        assert!(endpoint(&long[..long.len() - 1]).is_ok(), "the system takes 107 bytes");
    }

    #[test]
    fn bits_beyond_the_prefix_are_cleared_and_told() {
        let net = |text: &str| text.parse::<IpNet>().expect("a network");
        assert_eq!(network("10.0.0.0/8"), Ok((net("10.0.0.0/8"), false)));
        assert_eq!(network("10.1.2.3/8"), Ok((net("10.0.0.0/8"), true)));
        assert_eq!(network("10.1.2.3"), Ok((net("10.1.2.3/32"), false)));
        assert_eq!(network("fd00::/8"), Ok((net("fd00::/8"), false)));
        assert!(network("10.0.0.0/33").is_err());
        assert!(network("proxy.internal").is_err());
    }
}
