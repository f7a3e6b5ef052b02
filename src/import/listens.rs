//! The addresses of all servers: what they may not say twice.

use std::collections::HashMap;
use std::net::IpAddr;

use super::value::address::Host;
use super::value::listen::Listen;

/// The port of `listen` without one.
const PORT: u16 = 80;

/// Ranges of ports are long. After so many, nothing is compared any more.
const COMPARED_MAX: usize = 1_000_000;

/// What has been said of addresses so far.
#[derive(Default)]
pub struct Listens {
    /// By how nginx writes the address, and whether it is QUIC's.
    sockets: HashMap<(String, bool), Socket>,
    /// Servers are told apart by their number.
    server: usize,
    compared: usize,
}

/// An address.
struct Socket {
    /// Which server named it last.
    server: usize,
    /// Its socket has options.
    options: bool,
    default_server: bool,
}

impl Listens {
    /// The next `listen` is that of another server.
    pub fn next_server(&mut self) {
        self.server += 1;
    }

    /// Adds a `listen` of the current server.
    ///
    /// # Errors
    /// nginx's message, without the place.
    pub fn add(&mut self, listen: &Listen) -> Result<(), String> {
        let first = listen.address.port.unwrap_or(PORT);
        for port in first..=listen.address.last_port.unwrap_or(first) {
            // Names are looked up by who knows how.
            let Some(text) = written(&listen.address.host, port) else {
                return Ok(());
            };
            if self.compared == COMPARED_MAX {
                return Ok(());
            }
            self.compared += 1;
            self.at(text, listen)?;
        }
        Ok(())
    }

    fn at(&mut self, text: String, listen: &Listen) -> Result<(), String> {
        let (server, options) = (self.server, has_options(listen));
        let key = (text, listen.quic);
        let Some(socket) = self.sockets.get_mut(&key) else {
            let default_server = listen.default_server;
            self.sockets.insert(key, Socket { server, options, default_server });
            return Ok(());
        };
        let text = &key.0;
        if std::mem::replace(&mut socket.server, server) == server {
            return Err(format!("a duplicate listen {text}"));
        }
        if options && std::mem::replace(&mut socket.options, true) {
            return Err(format!("duplicate listen options for {text}"));
        }
        if listen.default_server && std::mem::replace(&mut socket.default_server, true) {
            return Err(format!("a duplicate default server for {text}"));
        }
        Ok(())
    }
}

fn written(host: &Host, port: u16) -> Option<String> {
    match host {
        Host::Ip(IpAddr::V4(ip)) => Some(format!("{ip}:{port}")),
        Host::Ip(IpAddr::V6(ip)) => Some(format!("[{ip}]:{port}")),
        Host::Unix(path) => Some(format!("unix:{path}")),
        Host::Name(_) => None,
    }
}

/// Whether a `listen` says something of its socket.
fn has_options(listen: &Listen) -> bool {
    let numbers = [listen.backlog, listen.rcvbuf, listen.sndbuf, listen.fastopen];
    listen.bind
        || listen.deferred
        || listen.reuseport
        || listen.multipath
        || listen.ipv6only.is_some()
        || listen.so_keepalive.is_some()
        || numbers.iter().any(Option::is_some)
}
