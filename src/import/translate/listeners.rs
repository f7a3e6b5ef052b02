//! Listeners: an address is one, whoever listens there.

use std::net::IpAddr;

use super::notes::{Matter, Notes};
use super::scope::Scope;
use crate::config::write::{Map, Yaml};
use crate::import::tree::Directive;
use crate::import::value::address::Host;
use crate::import::value::listen::{Listen, SoKeepalive};

/// The listeners of a translation, in the order in which they are met.
#[derive(Default)]
pub struct Listeners(Vec<Listener>);

struct Listener {
    address: String,
    is_tls: bool,
    is_http2: bool,
    proxy_protocol: bool,
    /// What is asked of its socket, by the server that says something of that.
    socket: Map,
}

impl Listeners {
    /// What a server's `listeners` key says.
    pub fn of_server(
        &mut self,
        block: &[Directive],
        scope: &Scope<'_>,
        notes: &mut Notes,
    ) -> Vec<String> {
        let mut named = Vec::new();
        let given: Vec<&Directive> = block.iter().filter(|d| d.name.text == "listen").collect();
        let all_tls = scope.is_on("ssl");
        for directive in &given {
            let Ok(listen) = Listen::read(directive) else { continue };
            for address in addresses(&listen, directive, notes) {
                let default = if listen.default_server { " default_server" } else { "" };
                named.push(format!("{address}{default}"));
                self.add(address, &listen, all_tls, scope);
            }
            if listen.quic {
                notes.say(Matter::Left, directive, "HTTP/3 is not spoken");
            }
            for text in of_no_use(&listen) {
                notes.say(Matter::Meaningless, directive, text);
            }
        }
        if given.is_empty() {
            let address = "0.0.0.0:80".to_owned();
            named.push(address.clone());
            let anywhere = crate::import::value::address::Address {
                host: Host::Ip(IpAddr::from([0, 0, 0, 0])),
                port: Some(80),
                last_port: None,
            };
            self.add(address, &Listen::at(anywhere), all_tls, scope);
        }
        named
    }

    fn add(&mut self, address: String, listen: &Listen, all_tls: bool, scope: &Scope<'_>) {
        let at = match self.0.iter().position(|other| other.address == address) {
            Some(at) => at,
            None => {
                self.0.push(Listener {
                    address,
                    is_tls: false,
                    is_http2: false,
                    proxy_protocol: false,
                    socket: Map::default(),
                });
                self.0.len() - 1
            }
        };
        let Some(listener) = self.0.get_mut(at) else { return };
        listener.is_tls |= listen.ssl || all_tls;
        listener.is_http2 |= listen.http2 || scope.is_on("http2");
        listener.proxy_protocol |= listen.proxy_protocol;
        if listener.socket.is_empty() {
            listener.socket = socket(listen);
        }
    }

    /// Whether one of these, as a server names them, speaks TLS.
    pub fn has_tls(&self, named: &[String]) -> bool {
        let is = |one: &Listener| {
            named.iter().any(|name| name.split(' ').next() == Some(one.address.as_str()))
        };
        self.0.iter().any(|one| one.is_tls && is(one))
    }

    pub fn speak_tls(&self) -> bool {
        self.0.iter().any(|one| one.is_tls)
    }

    pub fn write(self) -> Yaml {
        Yaml::List(self.0.into_iter().map(Listener::write).collect())
    }
}

impl Listener {
    fn write(self) -> Yaml {
        let mut listener = Map::default();
        listener.add("address", Yaml::text(self.address));
        if self.is_tls {
            listener.add("tls", Yaml::Map(Map::default()));
            let protocols: &[&str] =
                if self.is_http2 { &["h2", "http/1.1"] } else { &["http/1.1"] };
            listener.add("protocols", Yaml::texts(protocols.iter().copied()));
        } else if self.is_http2 {
            listener.add("protocols", Yaml::texts(["h2", "http/1.1"]));
        }
        if self.proxy_protocol {
            listener.add("proxy_protocol", Yaml::on(true));
        }
        listener.extend(self.socket);
        Yaml::Map(listener)
    }
}

/// Why what tunes nginx's own sockets is not asked of ours.
fn of_no_use(listen: &Listen) -> impl Iterator<Item = &'static str> {
    [
        (
            listen.reuseport,
            "`reuseport`: one socket serves all workers, and the one that is free takes the connection",
        ),
        (
            listen.deferred,
            "`deferred`: a connection that says nothing holds no worker and is ended in time",
        ),
        (listen.fastopen.is_some(), "`fastopen`: connections are opened in the usual way"),
        (listen.multipath, "`multipath`: TCP is spoken over one path"),
    ]
    .into_iter()
    .filter_map(|(is_asked, text)| is_asked.then_some(text))
}

/// What a `listen` asks of its socket.
fn socket(listen: &Listen) -> Map {
    let mut socket = Map::default();
    if let Some(backlog) = listen.backlog {
        socket.add("backlog", Yaml::Plain(backlog.min(u16::MAX.into()).to_string()));
    }
    for (key, bytes) in [("rcvbuf", listen.rcvbuf), ("sndbuf", listen.sndbuf)] {
        if let Some(bytes) = bytes {
            socket.add(key, Yaml::text(super::keys::bytes(bytes)));
        }
    }
    if listen.ipv6only == Some(false) {
        socket.add("ipv6only", Yaml::on(false));
    }
    match listen.so_keepalive {
        None => {}
        Some(SoKeepalive::Off) => socket.add("so_keepalive", Yaml::text("off")),
        Some(SoKeepalive::On { idle_secs: None, interval_secs: None, count: None }) => {
            socket.add("so_keepalive", Yaml::text("on"));
        }
        Some(SoKeepalive::On { idle_secs, interval_secs, count }) => {
            let secs = |secs: Option<u64>| secs.map(|secs| format!("{secs}s")).unwrap_or_default();
            let count = count.map(|count| count.to_string()).unwrap_or_default();
            let text = format!("{}:{}:{count}", secs(idle_secs), secs(interval_secs));
            socket.add("so_keepalive", Yaml::text(text));
        }
    }
    socket
}

/// The addresses that one `listen` names.
fn addresses(listen: &Listen, directive: &Directive, notes: &mut Notes) -> Vec<String> {
    let address = &listen.address;
    let host = match &address.host {
        Host::Ip(IpAddr::V4(ip)) => ip.to_string(),
        Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
        Host::Name(name) if name == "localhost" => "127.0.0.1".to_owned(),
        Host::Name(_) => {
            let text = "a listener's address is a number here: write the address of that name";
            notes.say(Matter::Left, directive, text);
            return Vec::new();
        }
        Host::Unix(path) if path.starts_with('/') => return vec![format!("unix:{path}")],
        Host::Unix(_) => {
            notes.say(Matter::Left, directive, "the path of a socket has to be absolute here");
            return Vec::new();
        }
    };
    let first = address.port.unwrap_or(80);
    (first..=address.last_port.unwrap_or(first)).map(|port| format!("{host}:{port}")).collect()
}

/// A path as nginx takes it: under the directory of the configuration where it is relative.
pub fn within(prefix: &str, path: &str) -> String {
    if path.starts_with('/') || path.starts_with('$') {
        return path.to_owned();
    }
    format!("{}/{path}", prefix.trim_end_matches('/'))
}
