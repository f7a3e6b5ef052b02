//! `resolver`: who is asked for names while the process runs (nginx).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Checker;
use super::cursor::{At, Finds};
use crate::config::schema::{Texts, key};
use crate::config::value::unit::{Zero, duration};
use crate::config::value::{Flaw, Parsed};
use crate::upstream::ResolvedBy;
use crate::upstream::names::ResolverSettings;

/// nginx's `resolver_timeout`.
const TIMEOUT: Duration = Duration::from_secs(30);

const HELP: &str = "write addresses of name servers, and what holds for their answers: \
                    `resolver: [127.0.0.53, \"[::1]:5353\", valid=30s, ipv6=off]`";

impl Checker<'_> {
    /// Who resolves names at a place; nothing where nobody does.
    pub(super) fn resolved_by<'f>(&mut self, place: &impl Finds<'f>) -> Option<ResolvedBy> {
        let resolver = place.find(&key::resolver)?;
        let timeout = place.find(&key::resolver_timeout);
        self.resolver(&resolver.at, timeout.map(|found| found.at).as_ref())
    }

    pub(super) fn resolver(
        &mut self,
        resolver: &At<'_, Texts>,
        timeout: Option<&At<'_, String>>,
    ) -> Option<ResolvedBy> {
        let timeout = self.read(timeout, |text| duration(text, Zero::Refused));
        let timeout = timeout.unwrap_or(TIMEOUT);
        let settings = self.servers_of(&resolver.value.0);
        let settings = settings.map_err(|flaw| self.error_at(resolver, flaw)).ok()?;
        let known = self.resolvers.iter().position(|known| *known == settings);
        let resolver = known.unwrap_or_else(|| {
            self.resolvers.push(settings);
            self.resolvers.len() - 1
        });
        Some(ResolvedBy { resolver, timeout })
    }

    fn servers_of(&self, words: &[String]) -> Parsed<ResolverSettings> {
        let mut settings =
            ResolverSettings { servers: Vec::new(), valid: None, ipv4: true, ipv6: true };
        for word in words {
            match word.split_once('=') {
                None => settings.servers.extend(self.name_servers(word)?),
                Some(("valid", text)) => settings.valid = Some(duration(text, Zero::Refused)?),
                Some(("ipv4", text)) => settings.ipv4 = switch(word, text)?,
                Some(("ipv6", text)) => settings.ipv6 = switch(word, text)?,
                // Nothing here counts by zone.
                Some(("status_zone", zone)) if !zone.is_empty() => {}
                Some(_) => return Err(Flaw::new(format!("`{word}` means nothing here"), HELP)),
            }
        }
        if settings.servers.is_empty() {
            return Err(Flaw::new("names no server", HELP));
        }
        if !(settings.ipv4 || settings.ipv6) {
            let help = "leave one of the two out: else no name has an address";
            return Err(Flaw::new("has both ipv4=off and ipv6=off", help));
        }
        Ok(settings)
    }

    /// The addresses of a name server, which may have a name itself.
    fn name_servers(&self, text: &str) -> Parsed<Vec<SocketAddr>> {
        const PORT: u16 = 53;
        if let Ok(address) = text.parse() {
            return Ok(vec![address]);
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        if let Ok(ip) = bare.unwrap_or(text).parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, PORT)]);
        }
        let flaw = || Flaw::new(format!("`{text}` is no address of a name server"), HELP);
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, port.parse().map_err(|_| flaw())?),
            None => (text, PORT),
        };
        let name = crate::config::value::name::host(name).map_err(|_| flaw())?;
        match self.environment.system.resolve(&name, port) {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) | Err(_) => {
                let help = "this name is looked up once, by the system: write an address";
                Err(Flaw::new(format!("host not found in resolver `{text}`"), help))
            }
        }
    }
}

fn switch(word: &str, text: &str) -> Parsed<bool> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Flaw::new(format!("`{word}` is neither on nor off"), HELP)),
    }
}
