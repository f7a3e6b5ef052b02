//! `geo`: a variable whose value is chosen by an address (nginx 22).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use ipnet::IpNet;

use super::evaluation::Evaluation;
use super::name::Family;
use super::ranges::{Networks, Ranges};
use super::registry::Variable;

/// A `geo`.
#[derive(Clone, Debug)]
pub struct Geo {
    /// The variable with the address; the client's where there is none.
    pub of: Option<Variable>,
    pub places: Places,
    pub default: Bytes,
    /// Whose `X-Forwarded-For` is believed.
    pub proxies: Vec<IpNet>,
    /// The last address that is no proxy's, instead of the last one.
    pub proxy_recursive: bool,
}

/// Values by address.
#[derive(Clone, Debug)]
pub struct Places(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Networks(Networks),
    Ranges(Ranges),
}

/// Why an entry was refused.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadPlace {
    #[error("invalid network \"{0}\"")]
    Network(String),
    #[error("invalid range \"{0}\"")]
    Range(String),
    #[error("range \"{0}\" overlaps \"{1}-{2}\"")]
    Overlaps(String, Ipv4Addr, Ipv4Addr),
}

impl Geo {
    pub(super) fn value(&self, evaluation: &mut Evaluation<'_>) -> Bytes {
        // As nginx has it: what is no address counts as this one, a unix socket too.
        let address = self.address(evaluation).unwrap_or(IpAddr::V4(Ipv4Addr::BROADCAST));
        self.places.find(address).unwrap_or(&self.default).clone()
    }

    fn address(&self, evaluation: &mut Evaluation<'_>) -> Option<IpAddr> {
        let address = match self.of {
            None => evaluation.facts.client(),
            Some(variable) => {
                let mut text = Vec::new();
                let found = evaluation.append(variable, &mut text);
                std::str::from_utf8(&text).ok().filter(|_| found)?.parse().ok()
            }
        }?;
        if self.proxies.is_empty() {
            return Some(address);
        }
        let mut forwarded = Vec::new();
        evaluation.facts.member(Family::Http, b"x_forwarded_for", &mut forwarded);
        Some(self.forwarded(address, &forwarded))
    }

    /// Who stands in `X-Forwarded-For`, as far as proxies are believed.
    fn forwarded(&self, mut address: IpAddr, mut forwarded: &[u8]) -> IpAddr {
        let is_proxy = |address: &IpAddr| {
            let address = address.to_canonical();
            self.proxies.iter().any(|network| network.contains(&address))
        };
        let is_between = |byte: &u8| matches!(byte, b' ' | b',');
        while is_proxy(&address) {
            let end = forwarded.iter().rposition(|byte| !is_between(byte)).map_or(0, |at| at + 1);
            forwarded = &forwarded[..end];
            let begin = forwarded.iter().rposition(is_between).map_or(0, |at| at + 1);
            let Some(before) = parse_address(&forwarded[begin..]) else { return address };
            address = before;
            forwarded = &forwarded[..begin];
            if !self.proxy_recursive {
                return address;
            }
        }
        address
    }
}

/// An address with or without a port.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = bracketed.unwrap_or(text).parse();
    address.ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}

impl Places {
    /// Networks, of which the longest prefix counts.
    pub fn networks() -> Self {
        Self(Kind::Networks(Networks::default()))
    }

    /// Ranges of IPv4 addresses.
    pub fn ranges() -> Self {
        Self(Kind::Ranges(Ranges::default()))
    }

    /// Adds an entry. Gives back the value that it replaces.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn insert(&mut self, place: &str, value: Bytes) -> Result<Option<Bytes>, BadPlace> {
        match &mut self.0 {
            Kind::Networks(networks) => Ok(networks.insert(network(place)?, value)),
            Kind::Ranges(ranges) => {
                let (begin, end) = range(place)?;
                let overlaps = |(begin, end)| BadPlace::Overlaps(place.to_owned(), begin, end);
                ranges.insert(begin, end, value).map_err(overlaps)?;
                Ok(None)
            }
        }
    }

    /// Takes an entry out. Says whether it was there.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn remove(&mut self, place: &str) -> Result<bool, BadPlace> {
        match &mut self.0 {
            Kind::Networks(networks) => Ok(networks.remove(network(place)?)),
            Kind::Ranges(ranges) => {
                let (begin, end) = range(place)?;
                Ok(ranges.remove(begin, end))
            }
        }
    }

    fn find(&self, address: IpAddr) -> Option<&Bytes> {
        match (&self.0, address.to_canonical()) {
            (Kind::Networks(networks), address) => networks.find(address),
            (Kind::Ranges(ranges), IpAddr::V4(address)) => ranges.find(address),
            (Kind::Ranges(ranges), IpAddr::V6(_)) => ranges.find(Ipv4Addr::BROADCAST),
        }
    }
}

/// A network, or one address; bits beyond the prefix do not count.
pub fn network(text: &str) -> Result<IpNet, BadPlace> {
    let network = text.parse::<IpNet>().ok();
    let network = network.or_else(|| Some(text.parse::<IpAddr>().ok()?.into()));
    network.ok_or_else(|| BadPlace::Network(text.to_owned()))
}

fn range(text: &str) -> Result<(Ipv4Addr, Ipv4Addr), BadPlace> {
    let bounds = text.split_once('-').and_then(|(begin, end)| {
        Some((begin.parse::<Ipv4Addr>().ok()?, end.parse::<Ipv4Addr>().ok()?))
    });
    bounds.filter(|(begin, end)| begin <= end).ok_or_else(|| BadPlace::Range(text.to_owned()))
}
