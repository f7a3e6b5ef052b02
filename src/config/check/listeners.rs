//! `listeners`: addresses that do not collide, certificates that can be used.

use std::net::SocketAddr;
use std::path::Path;

use serde_saphyr::Spanned;

use crate::config::schema::{self, File, Given, Listener, ListenerTls, Text};
use crate::config::value::{Flaw, address, choice};
use crate::listen::{
    Address, Certificates, ClientCertificates, ListenerSettings, OwnTls, Protocol, ServerTls,
    TlsSettings, TlsVersion,
};
use crate::proxy::settings::Server;

use super::cursor::{At, RouteAt, routes};
use super::{Checker, acme, at, items, on};

/// What `redirect_to_https` says.
#[derive(Clone, Copy)]
enum Redirect {
    No,
    /// To the port of the TLS listener.
    ToOurs,
    To(u16),
}

/// What a listener has to do with servers.
struct OnListener<'a> {
    /// Those that say something of TLS.
    servers: Vec<ServerTls>,
    /// All names of all servers, for a certificate of our own.
    names: &'a [String],
    /// Those of servers here that have no certificate of their own.
    to_order: Vec<String>,
}

impl Checker<'_> {
    pub(super) fn listeners(
        &mut self,
        file: &File,
        servers: &[Server],
        state: &Path,
    ) -> Vec<ListenerSettings> {
        let given = items(&file.listeners);
        if given.is_empty() {
            let place = file.listeners.as_ref().and_then(at);
            self.error(
                place,
                "listeners",
                Flaw::new("there is none", "add `listeners: [{ address: 0.0.0.0:80 }]`"),
            );
        }
        let names = certificate_names(servers);
        let ports = tls_ports(given);
        let mut listeners: Vec<(ListenerSettings, usize)> = Vec::new();
        for (index, listener) in given.iter().enumerate() {
            let path = format!("listeners[{index}]");
            let own = OnListener {
                servers: of_servers(servers, index),
                names: &names,
                to_order: acme::names_on(servers, index),
            };
            let Some(settings) = self.listener(listener, &path, own, &ports, state) else {
                continue;
            };
            let address = settings.address.clone();
            if let Some((other, line)) =
                listeners.iter().find(|(other, _)| collide(&other.address, &address))
            {
                let flaw = Flaw::new(
                    format!(
                        "`{address}` is taken by the listener on line {line} (`{}`)",
                        other.address
                    ),
                    "one address, one listener: leave one of the two out, or give it another port",
                );
                self.error(
                    listener.value.address.as_ref().and_then(at),
                    &format!("{path}.address"),
                    flaw,
                );
            }
            let line = listener.value.address.as_ref().and_then(at).map_or(0, |place| place.line);
            listeners.push((settings, line));
        }
        listeners.into_iter().map(|(settings, _)| settings).collect()
    }

    fn listener(
        &mut self,
        given: &Spanned<Listener>,
        path: &str,
        own: OnListener<'_>,
        tls_ports: &[u16],
        state: &Path,
    ) -> Option<ListenerSettings> {
        let listener = &given.value;
        let address = self.required(
            &listener.address,
            at(given),
            &format!("{path}.address"),
            "0.0.0.0:443",
            address::listener,
        );
        let tls = listener
            .tls
            .as_ref()
            .map(|tls| self.listener_tls(tls, &format!("{path}.tls"), own, state));
        let protocols = self.protocols(listener, &format!("{path}.protocols"));
        let redirect_to_https =
            self.redirect(&listener.redirect_to_https, tls.is_some(), tls_ports, path);
        let proxy_protocol = on(&listener.proxy_protocol);
        let socket = self.socket(listener, path);
        let address = address?;
        Some(ListenerSettings {
            address,
            tls,
            protocols,
            proxy_protocol,
            redirect_to_https,
            socket,
        })
    }

    fn listener_tls(
        &mut self,
        given: &Spanned<ListenerTls>,
        path: &str,
        own: OnListener<'_>,
        state: &Path,
    ) -> TlsSettings {
        const VERSIONS: [(&str, TlsVersion); 2] =
            [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
        let tls = &given.value;
        let mut files = Vec::new();
        for (index, certificate) in items(&tls.certificates).iter().enumerate() {
            let path = format!("{path}.certificates[{index}]");
            let example = ["/etc/cloakroom/tls/site.pem", "/etc/cloakroom/tls/site.key"];
            files.extend(self.key_pair(certificate, &path, example));
        }
        let OnListener { servers: of_servers, names, to_order } = own;
        let self_signed = tls.self_signed.as_ref().filter(|switch| switch.value);
        let at_tls = At::new(path, given);
        let ordered = at_tls.key("acme", &tls.acme).map(|acme| {
            let files = (!items(&tls.certificates).is_empty()).then_some("certificates");
            let beside = files.or(self_signed.map(|_| "self_signed"));
            self.acme(&acme, &to_order, beside)
        });
        match self_signed {
            None if tls.acme.is_some() => {}
            None if items(&tls.certificates).is_empty() && !of_servers.is_empty() => {}
            None if items(&tls.certificates).is_empty() => self.error(at(given), path, Flaw::new(
                "has no certificate",
                "add `certificates: [{ chain: …, key: … }]` or `acme: { … }`, or `self_signed: true` for a first look",
            )),
            Some(switch) if !items(&tls.certificates).is_empty() => self.error(
                at(switch),
                &format!("{path}.self_signed"),
                Flaw::new("stands beside `certificates`", "keep one of the two"),
            ),
            Some(switch) => self.warning(at(switch), &format!("{path}.self_signed"), Flaw::new(
                "no browser trusts a certificate that nobody issued",
                "for a first look and for tests: put `certificates` in its place",
            )),
            None => {}
        }
        let certificates = if let Some(Some(ordered)) = ordered {
            Certificates::Ordered(ordered)
        } else if self_signed.is_some() {
            Certificates::SelfSigned { names: names.to_vec(), directory: state.to_owned() }
        } else {
            Certificates::Files(files)
        };
        let min_version =
            self.or(&tls.min_version, &format!("{path}.min_version"), TlsVersion::Tls12, |text| {
                choice(text, "version of TLS that is spoken", &VERSIONS)
            });
        let client_certificates = self
            .client_certificates(&tls.client_certificates, &format!("{path}.client_certificates"));
        TlsSettings { certificates, of_servers, min_version, client_certificates }
    }

    fn client_certificates(
        &mut self,
        given: &Given<schema::ClientCertificates>,
        path: &str,
    ) -> Option<ClientCertificates> {
        let clients = &given.as_ref()?.value;
        let require = on(&clients.require);
        let ca_path = format!("{path}.ca");
        let Some(ca) = &clients.ca else {
            if require {
                let place = clients.require.as_ref().and_then(at);
                let help = "add `ca:`, the file with the authorities that issue them";
                self.error(place, &ca_path, Flaw::new("is missing", help));
            }
            return None;
        };
        let authorities = self.path(&ca.value);
        self.authorities(&authorities, at(ca), &ca_path);
        Some(ClientCertificates { authorities, require })
    }

    /// A session that is bound to a certificate which nobody asks for.
    pub(super) fn certificates_asked_for(&mut self, file: &File, listeners: &[ListenerSettings]) {
        let asks = |listener: &ListenerSettings| {
            listener.tls.as_ref().is_some_and(|tls| tls.client_certificates.is_some())
        };
        if listeners.iter().any(asks) {
            return;
        }
        for (name, session) in file.sessions.iter().flat_map(|named| &named.0) {
            let bind = session.value.bind.as_ref().map(|bind| &bind.value);
            let given = bind.and_then(|bind| bind.client_certificate.as_ref());
            if let Some(given) = given.filter(|given| given.value) {
                let flaw = Flaw::new(
                    "has no effect: no listener asks for a client's certificate",
                    "add `client_certificates: { ca: FILE }` to the listener's `tls`",
                );
                let path = format!("sessions.{}.bind.client_certificate", name.value);
                self.warning(at(given), &path, flaw);
            }
        }
    }

    fn protocols(&mut self, listener: &Listener, path: &str) -> Vec<Protocol> {
        const PROTOCOLS: [(&str, Protocol); 2] =
            [("h2", Protocol::Http2), ("http/1.1", Protocol::Http1)];
        let Some(list) = &listener.protocols else {
            return match listener.tls {
                Some(_) => vec![Protocol::Http2, Protocol::Http1],
                None => vec![Protocol::Http1],
            };
        };
        if list.value.is_empty() {
            self.error(
                at(list),
                path,
                Flaw::new("is empty", "write `[h2, http/1.1]`, or leave it out"),
            );
        }
        let mut protocols = Vec::new();
        for (index, given) in list.value.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match choice(&given.value, "protocol", &PROTOCOLS) {
                Err(flaw) => self.error(at(given), &path, flaw),
                Ok(protocol) if protocols.contains(&protocol) => {
                    self.error(at(given), &path, Flaw::new("is listed twice", "keep one"));
                }
                Ok(protocol) => protocols.push(protocol),
            }
        }
        protocols
    }

    fn redirect(
        &mut self,
        given: &Text,
        has_tls: bool,
        tls_ports: &[u16],
        path: &str,
    ) -> Option<u16> {
        let path = format!("{path}.redirect_to_https");
        let place = given.as_ref().and_then(at);
        let redirect = self.or(given, &path, Redirect::No, |text| match text {
            "true" => Ok(Redirect::ToOurs),
            "false" => Ok(Redirect::No),
            _ => text.parse().ok().filter(|port| *port > 0).map(Redirect::To).ok_or_else(|| {
                Flaw::new(
                    format!("`{text}` is neither a switch nor a port"),
                    "write `true`, or the port, such as 443",
                )
            }),
        });
        if has_tls && !matches!(redirect, Redirect::No) {
            self.error(
                place,
                &path,
                Flaw::new(
                    "this listener speaks TLS itself, and would redirect in a circle",
                    "leave it out here: it belongs to the plain listener",
                ),
            );
        }
        match redirect {
            Redirect::No => None,
            Redirect::To(port) => Some(port),
            Redirect::ToOurs => match tls_ports {
                [] => Some(443),
                [port] => Some(*port),
                ports if ports.contains(&443) => Some(443),
                ports => {
                    let help = format!("name the port: `redirect_to_https: {}`", ports[0]);
                    self.error(
                        place,
                        &path,
                        Flaw::new("there are several TLS listeners to redirect to", help),
                    );
                    None
                }
            },
        }
    }

    /// Tickets are `Secure`: over a plain connection a browser neither keeps nor sends them.
    pub(super) fn unreachable_tickets(&mut self, file: &File, listeners: &[ListenerSettings]) {
        let only_reports = |name: &str| {
            let mut named = file.sessions.iter().flat_map(|named| &named.0);
            named.any(|(other, session)| other.value == name && on(&session.value.report_only))
        };
        let sessions = routes(file)
            .iter()
            .filter_map(RouteAt::session)
            .any(|session| !only_reports(session.at.value));
        let proxies = !items(&file.trusted_proxies).is_empty();
        if !sessions || proxies || on(&file.insecure_cookies) {
            return;
        }
        for (index, given) in items(&file.listeners).iter().enumerate() {
            let Some(address) = &given.value.address else { continue };
            let serves = |listener: &&ListenerSettings| {
                address::listener(&address.value).ok().as_ref() == Some(&listener.address)
                    && listener.tls.is_none()
                    && listener.redirect_to_https.is_none()
            };
            if listeners.iter().any(|listener| serves(&listener)) {
                self.warning(at(address), &format!("listeners[{index}].address"), Flaw::new(
                    "serves sessions over plain HTTP, where browsers neither keep nor send a ticket",
                    "add `tls:` or `redirect_to_https: true`, list the proxy in front in `trusted_proxies`, or, for development, set `insecure_cookies: true`",
                ));
            }
        }
    }
}

/// Whether two listening addresses cannot be had at once.
pub(super) fn collide(a: &Address, b: &Address) -> bool {
    let (Some(a), Some(b)) = (a.tcp(), b.tcp()) else { return a == b };
    let same_family = a.is_ipv4() == b.is_ipv4();
    let same_ip = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && same_family && same_ip
}

/// What servers that answer on a listener say of TLS.
fn of_servers(servers: &[Server], listener: usize) -> Vec<ServerTls> {
    let listens = |server: &Server| {
        let named = server.listeners.as_ref();
        named.is_none_or(|named| named.iter().any(|one| one.listener == listener))
    };
    let servers = servers.iter().enumerate();
    let says = |one: &Server| {
        !one.certificates.is_empty() || one.ordered.is_some() || one.tls != OwnTls::default()
    };
    servers
        .filter(|(_, one)| says(one) && listens(one))
        .map(|(server, one)| ServerTls {
            server,
            certificates: one.certificates.clone(),
            ordered: one.ordered.clone(),
            own: one.tls.clone(),
        })
        .collect()
}

/// The names that a certificate of our own is made for, beside those of this machine.
fn certificate_names(servers: &[Server]) -> Vec<String> {
    let is_host = |name: &&String| {
        !matches!(name.as_str(), "" | "_") && !name.starts_with('~') && !name.ends_with('*')
    };
    let mut names: Vec<String> = Vec::new();
    let given = servers.iter().flat_map(|server| &server.names).filter(is_host);
    for name in given.map(|name| name.trim_start_matches('.')) {
        if !names.iter().any(|other| other == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn tls_ports(given: &[Spanned<Listener>]) -> Vec<u16> {
    let with_tls = given.iter().filter(|listener| listener.value.tls.is_some());
    let addresses = with_tls.filter_map(|listener| listener.value.address.as_ref());
    let mut ports: Vec<u16> =
        addresses.filter_map(|text| Some(text.value.parse::<SocketAddr>().ok()?.port())).collect();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_all_covers_the_ones_of_its_family() {
        for (a, b, expected) in [
            ("0.0.0.0:80", "0.0.0.0:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "0.0.0.0:81", false),
            ("0.0.0.0:80", "[::]:80", false),
            ("[::]:80", "[::1]:80", true),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("unix:/a", "unix:/a", true),
            ("unix:/a", "unix:/b", false),
            ("unix:/a", "0.0.0.0:80", false),
        ] {
            let parse = |text: &str| address::listener(text).expect("an address");
            assert_eq!(collide(&parse(a), &parse(b)), expected, "{a} {b}");
            assert_eq!(collide(&parse(b), &parse(a)), expected, "{b} {a}");
        }
    }
}
