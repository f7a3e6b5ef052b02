//! Which session took the place of which, on one connection of HTTP/2 (PROTOCOL.md 22).
//!
//! A double click on "log in" sends the form twice with the same ticket, and the browser drops the
//! first answer with the ticket in it. Elsewhere nobody can tell such a request from an attacker's
//! with a copy. Who sends it on the very connection that the new ticket was sent on is whoever was to
//! have that: a connection belongs to one browser, unless a proxy stands in between.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ipnet::IpNet;

use crate::clock::UnixMillis;
use crate::downstream::Protocol;
use crate::listen::Info;
use crate::proxy::ticket_cache::Opened;
use crate::session::outcome::RecordKey;
use crate::session::record::UNSETTLED;
use crate::wire::fields::Fields;
use crate::wire::name::Name;

/// Successions remembered at most, for half a minute each.
const MAX: usize = 4096;
/// What proxies add.
const FORWARDED: [Name; 4] = [Name::Forwarded, Name::XForwardedFor, Name::XRealIp, Name::Via];

/// The last ones on this node.
#[derive(Default)]
pub struct Successions(Mutex<VecDeque<Succession>>);

struct Succession {
    old: RecordKey,
    new: Opened,
    connection: Weak<Info>,
    at: UnixMillis,
}

impl Successions {
    /// Notes that the ticket of `new` is sent on this connection to whom `old` belonged.
    pub fn note(&self, connection: &Arc<Info>, old: RecordKey, new: Opened, now: UnixMillis) {
        let mut all = self.lock();
        all.retain(|known| now.since(known.at) <= UNSETTLED);
        while all.len() >= MAX {
            all.pop_front();
        }
        let connection = Arc::downgrade(connection);
        all.push_back(Succession { old, new, connection, at: now });
    }

    /// What took the place of `old` on this connection a moment ago.
    pub fn of(&self, connection: &Arc<Info>, old: RecordKey, now: UnixMillis) -> Option<Opened> {
        let is_it = |known: &&Succession| {
            known.old == old
                && now.since(known.at) <= UNSETTLED
                && std::ptr::eq(known.connection.as_ptr(), Arc::as_ptr(connection))
        };
        self.lock().iter().rev().find(is_it).map(|known| known.new.clone())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Succession>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a connection belongs to one browser, as far as anybody can tell.
pub fn is_ones_own(
    connection: &Info,
    protocol: Protocol,
    head: &Fields,
    trusted: &[IpNet],
) -> bool {
    let peer = connection.peer().ip().to_canonical();
    protocol == Protocol::Http2
        && !trusted.iter().any(|network| network.contains(&peer))
        && !FORWARDED.iter().any(|name| head.has(*name))
}
