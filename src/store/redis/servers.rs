//! Which server has what: one server, or a cluster whose masters share the slots.

use std::sync::Arc;
use std::time::Duration;

use redis::RedisError;
use tokio::sync::watch;
use tokio::time::timeout;

use super::cluster::Cluster;
use super::connection::{Connections, Line, Purpose};
use super::layout::Namespace;
use super::slots::{Redirect, slot_of};
use super::supervisor::Fleet;
use super::wire::Wire;
use crate::store::About;
use crate::store::health::Health;

/// The servers of a store.
pub(super) enum Servers {
    One(Arc<Fleet>),
    Many(Arc<Cluster>),
}

/// What a call is made over.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) fleet: Arc<Fleet>,
    pub(super) connections: Arc<Connections>,
    /// Whether the slot is still on its way to this server.
    pub(super) is_asking: bool,
}

impl Route {
    pub(super) fn over(&self, line: &Line) -> Wire {
        Wire::new(line.connection(), self.is_asking)
    }
}

impl Servers {
    /// Working connections to the server that has the keys that a call is about. Where it is down
    /// there are none at once. Waits for at most `patience` where only those for this purpose are
    /// missing, and where what is known of a cluster is about to be replaced.
    pub(super) async fn route(
        &self,
        names: &Namespace,
        about: About,
        purpose: Purpose,
        patience: Duration,
    ) -> Option<Route> {
        match self {
            Self::One(fleet) => {
                let connections = match fleet.pick(purpose) {
                    Some(connections) => connections,
                    None => {
                        let rest = fleet.pick(purpose.other())?;
                        let others = fleet.pick_other(purpose, rest.id);
                        timeout(patience, others).await.ok()?
                    }
                };
                Some(Route { fleet: fleet.clone(), connections, is_asking: false })
            }
            Self::Many(cluster) => cluster.route(slot(names, about), purpose, patience).await,
        }
    }

    /// The same after connections broke: others.
    pub(super) async fn reroute(
        &self,
        names: &Namespace,
        about: About,
        purpose: Purpose,
        broken: &Route,
    ) -> Route {
        match self {
            Self::One(fleet) => {
                let connections = fleet.pick_other(purpose, broken.connections.id).await;
                Route { fleet: fleet.clone(), connections, is_asking: false }
            }
            Self::Many(cluster) => {
                cluster.wait_for(slot(names, about), purpose, Some(broken)).await
            }
        }
    }

    /// Whether an error sends us elsewhere.
    pub(super) fn redirect(&self, error: &RedisError, route: &Route) -> Option<Redirect> {
        match self {
            Self::One(_) => None,
            Self::Many(cluster) => cluster.redirect(error, route),
        }
    }

    /// Goes where a redirect says; for the `nth` time in this call, from 0.
    pub(super) async fn follow(
        &self,
        names: &Namespace,
        about: About,
        purpose: Purpose,
        redirect: &Redirect,
        nth: u32,
    ) -> Option<Route> {
        match self {
            Self::One(_) => None,
            Self::Many(cluster) => cluster.follow(slot(names, about), purpose, redirect, nth).await,
        }
    }

    /// Makes the calling runtime one of those that have connections, and waits a moment for them.
    pub(super) async fn join(&self, patience: Duration) {
        match self {
            Self::One(fleet) => fleet.join(patience).await,
            Self::Many(cluster) => cluster.join(patience).await,
        }
    }

    pub(super) fn health(&self) -> watch::Receiver<Health> {
        match self {
            Self::One(fleet) => fleet.health.subscribe(),
            Self::Many(cluster) => cluster.health.subscribe(),
        }
    }
}

fn slot(names: &Namespace, about: About) -> u16 {
    match about {
        About::Record(key) => slot_of(names.epoch(key.tag).as_bytes()),
        About::Tag(tag) => slot_of(names.epoch(tag).as_bytes()),
        About::Era => slot_of(names.era().as_bytes()),
        About::Nodes => slot_of(names.nodes().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::outcome::RecordKey;

    #[test]
    fn a_call_is_about_the_slot_that_all_its_keys_lie_in() {
        let names = Namespace::parse("test").expect("a valid namespace");
        let key = RecordKey { tag: [0xfb; 8], id: [7; 16], has_subject: true };
        for (about, keys) in [
            (
                About::Record(key),
                vec![names.key(key), names.lease(key), names.index(key.tag), names.epoch(key.tag)],
            ),
            (About::Tag(key.tag), vec![names.index(key.tag), names.epoch(key.tag)]),
            (About::Era, vec![names.era()]),
            (About::Nodes, vec![names.nodes()]),
        ] {
            for name in keys {
                assert_eq!(slot_of(name.as_bytes()), slot(&names, about), "{name}");
            }
        }
    }
}
