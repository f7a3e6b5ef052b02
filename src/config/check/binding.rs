//! `sessions.*.bind`: what ties a session to its client.

use crate::config::schema::{self, Given};
use crate::config::value::{Flaw, choice};
use crate::session::binding::{Bind, Network, OnMismatch, Ties};

use super::{Checker, at, on};

/// What a provider usually gives one customer.
const NETWORK: Network = Network { v4: 24, v6: 56 };

impl Checker<'_> {
    pub(super) fn bind(&mut self, given: &Given<schema::Bind>, path: &str) -> Option<Bind> {
        const KINDS: [(&str, OnMismatch); 2] =
            [("end", OnMismatch::End), ("deny", OnMismatch::Deny)];
        let given = given.as_ref()?;
        let bind = &given.value;
        let network = bind.network.as_ref().map(|network| {
            let path = format!("{path}.network");
            Network {
                v4: self.bits(&network.value.v4, &format!("{path}.v4"), NETWORK.v4, 32),
                v6: self.bits(&network.value.v6, &format!("{path}.v6"), NETWORK.v6, 128),
            }
        });
        let ties = Ties {
            user_agent: on(&bind.user_agent),
            network,
            client_certificate: on(&bind.client_certificate),
        };
        let on_mismatch =
            self.or(&bind.on_mismatch, &format!("{path}.on_mismatch"), OnMismatch::End, |text| {
                choice(text, "answer to another client", &KINDS)
            });
        if !ties.user_agent && ties.network.is_none() && !ties.client_certificate {
            let flaw = Flaw::new(
                "binds to nothing",
                "add `user_agent: true`, `network: {}` or `client_certificate: true`, or leave it out",
            );
            self.error(at(given), path, flaw);
        }
        Some(Bind { ties, on_mismatch })
    }

    fn bits(&mut self, given: &Given<u8>, path: &str, default: u8, max: u8) -> u8 {
        let Some(given) = given else { return default };
        if !(1..=max).contains(&given.value) {
            let flaw = Flaw::new(
                format!("`{}` is no prefix length", given.value),
                format!("from 1 to {max} bits"),
            );
            self.error(at(given), path, flaw);
        }
        given.value
    }
}
