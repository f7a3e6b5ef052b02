//! Ties a session to the client that it was made for (`bind`): a ticket that was carried off is
//! then worth nothing elsewhere, as far as the thief cannot show the same facts.
//!
//! The record holds no fact about the client, only a MAC over those that its policy names, keyed
//! with the record's own seed. What a session was bound by when it was made stays until its end:
//! a change of the policy counts from the next login on, and a policy without `bind` frees all.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::crypto::seal;
use crate::session::record::Seed;

/// What a policy binds its sessions to, and what becomes of a request that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind {
    pub ties: Ties,
    pub on_mismatch: OnMismatch,
}

/// What a request from another client leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMismatch {
    /// The session ends: somebody has a copy of its ticket.
    End,
    /// 403 for this request; the session goes on for its owner.
    Deny,
}

/// The facts that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ties {
    pub user_agent: bool,
    pub network: Option<Network>,
    pub client_certificate: bool,
}

/// Prefix lengths in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub v4: u8,
    pub v6: u8,
}

/// What a browser looks like that shares the owner's machine, or stands next to it (rule 15).
pub const LOOKS: Ties =
    Ties { user_agent: true, network: Some(Network { v4: 24, v6: 56 }), client_certificate: false };

/// Whoever presents a ticket, as far as a policy may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// SHA-256 of `User-Agent`; absent where there is none.
    user_agent: Option<[u8; 32]>,
    ip: IpAddr,
    /// SHA-256 of the certificate of TLS, DER.
    certificate: Option<[u8; 32]>,
}

impl Bearer {
    /// `user_agent` is the field's value, `certificate` its SHA-256.
    pub fn new(user_agent: Option<&[u8]>, ip: IpAddr, certificate: Option<[u8; 32]>) -> Self {
        let user_agent = user_agent.map(|value| Sha256::digest(value).into());
        // ::ffff:192.0.2.1 is a dual-stack socket's way to write an IPv4 address.
        Self { user_agent, ip: ip.to_canonical(), certificate }
    }
}

/// What a record keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    ties: Ties,
    mac: [u8; 16],
}

impl Binding {
    /// Binds a record with this seed to a bearer.
    pub fn of(ties: Ties, seed: &Seed, bearer: &Bearer) -> Self {
        Self { ties, mac: ties.mac(seed, bearer) }
    }

    /// Whether this is the bearer that the record was bound to; in constant time.
    pub fn holds(&self, seed: &Seed, bearer: &Bearer) -> bool {
        seal::same(&self.mac, &self.ties.mac(seed, bearer))
    }
}

impl Ties {
    /// `HMAC-SHA-256(seed, fields)`, 16 bytes. The fields are longer than a counter, so no MAC is
    /// a ticket's secret (PROTOCOL.md 2). What does not count is empty, what is absent differs
    /// from what is empty.
    fn mac(self, seed: &Seed, bearer: &Bearer) -> [u8; 16] {
        let digest = |counts: bool, digest: &Option<[u8; 32]>| match (counts, digest) {
            (false, _) => Vec::new(),
            (true, None) => vec![0],
            (true, Some(digest)) => digest.to_vec(),
        };
        let user_agent = digest(self.user_agent, &bearer.user_agent);
        let network = self.network.map(|network| network.of(bearer.ip)).unwrap_or_default();
        let certificate = digest(self.client_certificate, &bearer.certificate);
        let fields = [&b"binding"[..], &user_agent, &network, &certificate];
        seal::hmac_sha256_16(seed.bytes(), &seal::length_prefixed(&fields))
    }
}

impl Network {
    /// The network's own address, 4 or 16 bytes: so the families never meet.
    fn of(self, ip: IpAddr) -> Vec<u8> {
        match ip {
            IpAddr::V4(ip) => masked(&ip.octets(), self.v4),
            IpAddr::V6(ip) => masked(&ip.octets(), self.v6),
        }
    }
}

fn masked(address: &[u8], bits: u8) -> Vec<u8> {
    let keep = |index: usize| usize::from(bits).saturating_sub(index * 8).min(8);
    // Widened, since a shift by all 8 bits does not fit.
    let mask = |index: usize| (0xff00_u16 >> keep(index)).to_be_bytes()[1];
    address.iter().enumerate().map(|(index, byte)| byte & mask(index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed() -> Seed {
        Seed::new([7; 32])
    }
    const ALL: Ties = Ties {
        user_agent: true,
        network: Some(Network { v4: 24, v6: 56 }),
        client_certificate: true,
    };
    const NONE: Ties = Ties { user_agent: false, network: None, client_certificate: false };

    fn bearer(agent: &str, ip: &str, certificate: Option<u8>) -> Bearer {
        let ip = ip.parse().expect("an address");
        Bearer::new(Some(agent.as_bytes()), ip, certificate.map(|byte| [byte; 32]))
    }

    #[track_caller]
    fn check(ties: Ties, one: Bearer, other: Bearer, expected: bool) {
        let holds = Binding::of(ties, &seed(), &one).holds(&seed(), &other);
        assert_eq!(holds, expected, "{ties:?} {one:?} {other:?}");
    }

    #[test]
    fn only_the_ties_count() {
        let alice = bearer("Firefox", "192.0.2.7", Some(1));
        for (other, agent, network, certificate) in [
            (bearer("Chrome", "192.0.2.7", Some(1)), false, true, true),
            (bearer("firefox", "192.0.2.7", Some(1)), false, true, true),
            (bearer("Firefox", "192.0.2.200", Some(1)), true, true, true),
            (bearer("Firefox", "192.0.3.7", Some(1)), true, false, true),
            (bearer("Firefox", "192.0.2.7", Some(2)), true, true, false),
            (bearer("Firefox", "192.0.2.7", None), true, true, false),
        ] {
            check(NONE, alice, other, true);
            check(Ties { user_agent: true, ..NONE }, alice, other, agent);
            check(Ties { network: ALL.network, ..NONE }, alice, other, network);
            check(Ties { client_certificate: true, ..NONE }, alice, other, certificate);
            check(ALL, alice, other, agent && network && certificate);
        }
    }

    #[test]
    fn networks_are_prefixes_of_one_family() {
        for (one, other, v4, v6, expected) in [
            ("192.0.2.1", "192.0.2.254", 24, 56, true),
            ("192.0.2.1", "192.0.2.2", 32, 56, false),
            ("192.0.2.1", "192.0.2.2", 31, 56, false),
            ("192.0.2.2", "192.0.2.3", 31, 56, true),
            ("10.1.2.3", "10.200.2.3", 8, 56, true),
            ("10.127.0.0", "10.128.0.0", 9, 56, false),
            ("2001:db8:0:aa00::1", "2001:db8:0:aaff::2", 24, 56, true),
            ("2001:db8:0:aa00::1", "2001:db8:0:ab00::1", 24, 56, false),
            ("2001:db8::1", "2001:db8::2", 24, 128, false),
            ("192.0.2.1", "2001:db8::1", 1, 1, false),
            // A dual-stack socket writes IPv4 addresses like this.
            ("192.0.2.1", "::ffff:192.0.2.77", 24, 128, true),
            ("::ffff:192.0.2.1", "::ffff:192.0.3.1", 24, 1, false),
        ] {
            let ties = Ties { network: Some(Network { v4, v6 }), ..NONE };
            check(ties, bearer("", one, None), bearer("", other, None), expected);
        }
    }

    #[test]
    fn what_is_absent_is_not_what_is_empty() {
        let ip: IpAddr = "192.0.2.7".parse().expect("an address");
        let (none, empty) = (Bearer::new(None, ip, None), Bearer::new(Some(b""), ip, None));
        check(ALL, none, none, true);
        check(ALL, none, empty, false);
        check(ALL, empty, none, false);
    }

    #[test]
    fn a_binding_belongs_to_its_record() {
        let alice = bearer("Firefox", "192.0.2.7", Some(1));
        let binding = Binding::of(ALL, &seed(), &alice);
        assert!(!binding.holds(&Seed::new([8; 32]), &alice));
    }
}
