//! `set_real_ip_from` and `valid_referers`: who asks, and where from.

use std::sync::Arc;

use ipnet::IpNet;

use crate::access::real_ip::{Header, RealIp};
use crate::access::referer::Referers;
use crate::access::rules::Whom;
use crate::config::schema::key;
use crate::config::value::Flaw;
use crate::proxy::origins::{Origins, Secret, SecureLink};

use super::Checker;
use super::cursor::{Finds, RouteAt, ServerAt};

impl Checker<'_> {
    /// Notes what a server says of who asks: its routes are looked at beside it.
    pub(super) fn server_origins(&mut self, server: &ServerAt<'_>, names: &[String]) {
        self.names_of_server = names.to_vec();
        self.real_ip_of_server = self.real_ip(server);
    }

    /// What a route says of who asks. That is what its server says, in most files.
    pub(super) fn origins(&mut self, route: &RouteAt<'_>) -> Origins {
        let real_ip = self.real_ip(route);
        Origins {
            real_ip: real_ip.filter(|own| Some(own) != self.real_ip_of_server.as_ref()),
            referers: self.referers(route),
            secure_link: self.secure_link(route),
        }
    }

    fn real_ip<'f>(&mut self, at: &impl Finds<'f>) -> Option<Arc<RealIp>> {
        let found = at.find(&key::set_real_ip_from)?;
        let mut from = Vec::new();
        for text in &found.at.value.0 {
            match Whom::parse(text) {
                Some(Whom::Everybody) | None => match self.resolve(text) {
                    Some(addresses) => from.extend(addresses),
                    None => {
                        let help = "write an address, a network such as 10.0.0.0/8, `unix:`, or a \
                                    host's name that this machine can look up";
                        let message = format!("host not found in set_real_ip_from \"{text}\"");
                        self.error_at(&found.at, Flaw::new(message, help));
                    }
                },
                Some(whom) => from.push(whom),
            }
        }
        let header = at.find(&key::real_ip_header).map(|found| found.at);
        let header = match header.as_ref().map(|header| header.value.to_ascii_lowercase()) {
            None => Header::Field("x-real-ip".into()),
            Some(name) if name == "x-forwarded-for" => Header::ForwardedFor,
            Some(name) if name == "proxy_protocol" => Header::ProxyProtocol,
            Some(name) => Header::Field(name.into()),
        };
        let recursive = at.find(&key::real_ip_recursive).is_some_and(|found| *found.at.value);
        Some(Arc::new(RealIp { from, header, recursive }))
    }

    fn referers(&mut self, at: &RouteAt<'_>) -> Option<Arc<Referers>> {
        let found = at.find(&key::valid_referers)?;
        let mut referers = Referers::default();
        for word in &found.at.value.0 {
            let mut added = Ok(());
            if word == "server_names" {
                for name in self.names_of_server.iter().filter(|name| !name.is_empty()) {
                    added = added.and(referers.add_server_name(name));
                }
            } else {
                added = referers.add(word);
            }
            if let Err(bad) = added {
                let help = "write `none`, `blocked`, `server_names`, a host, or `~` and a pattern";
                self.error_at(&found.at, Flaw::new(format!("`{word}`: {bad}"), help));
            }
        }
        if referers.is_empty() {
            let flaw = Flaw::new(
                "welcomes no site",
                "add one, or `server_names`: `none` and `blocked` alone say nothing",
            );
            self.error_at(&found.at, flaw);
        }
        Some(Arc::new(referers))
    }

    fn secure_link(&mut self, at: &RouteAt<'_>) -> Option<Arc<SecureLink>> {
        let said = at.find(&key::secure_link).map(|found| found.at);
        let hashed = at.find(&key::secure_link_md5).map(|found| found.at);
        let secret = at.find(&key::secure_link_secret).map(|found| found.at);
        match (said, hashed, secret) {
            (None, None, None) => None,
            (None, None, Some(secret)) => {
                Some(Arc::new(SecureLink::Secret(Secret::new(secret.value.as_str()))))
            }
            (Some(said), Some(hashed), None) => {
                let (said, hashed) = (self.template(&said)?, self.template(&hashed)?);
                Some(Arc::new(SecureLink::Hash { said, hashed }))
            }
            // One of them alone means nothing, as in nginx.
            (Some(_), None, None) | (None, Some(_), None) => None,
            (_, _, Some(secret)) => {
                let flaw = Flaw::new(
                    "cannot be mixed with `secure_link` and `secure_link_md5`",
                    "leave it out: these two are the newer way",
                );
                self.error_at(&secret, flaw);
                None
            }
        }
    }

    /// The addresses of a host, as nginx looks them up when it starts.
    fn resolve(&self, name: &str) -> Option<Vec<Whom>> {
        let is_name = !name.is_empty() && !name.contains('/') && name != "all";
        let found = self.environment.system.resolve(name, 0).ok().filter(|_| is_name)?;
        let found: Vec<_> = found.iter().map(|to| Whom::Network(IpNet::from(to.ip()))).collect();
        (!found.is_empty()).then_some(found)
    }
}
