//! A Redis Cluster: which master has which slot, connections to all of them, and where calls go.
//!
//! Each master has a [`Fleet`] of its own, supervised as a single server is, so that what the cache
//! relies on holds for each connection by itself. Requests read the table that the task in
//! `topology` left and follow redirects; none of them asks for the table, and none waits for it
//! unless its master has just gone, or sent it to one that is not known yet.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use redis::RedisError;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::connection::{Connections, Purpose, Terms};
use super::endpoint::Endpoint;
use super::probe::Probe;
use super::servers::Route;
use super::slots::{Address, Redirect, SlotMap, View};
use super::supervisor::Fleet;
use super::target::Target;
use super::topology;
use crate::store::health::{Health, Signal};

/// How long after a master went calls wait for the one that takes its place.
const SETTLING: Duration = Duration::from_millis(500);
/// Before keys that are in two places are tried again, and where redirects go in a circle.
const PAUSE: Duration = Duration::from_millis(5);
/// Redirects in one call that are followed at once.
const AT_ONCE: u32 = 4;
/// Servers that slots are on their way to and that have none yet. They are forgotten after a while.
const GUESTS_MAX: usize = 16;
const GUESTS_STAY: Duration = Duration::from_secs(60);

/// A cluster.
pub(super) struct Cluster {
    pub(super) endpoint: Endpoint,
    pub(super) terms: Terms,
    name: String,
    known: ArcSwap<Known>,
    /// Held while what is known, or who is to know it, changes.
    members: Mutex<Members>,
    pub(super) health: Signal,
    /// Told when the table may be out of date.
    pub(super) doubts: Arc<Notify>,
    /// How often it was read, or could not be.
    reads: watch::Sender<u64>,
    pub(super) closed: watch::Receiver<()>,
}

/// What the cluster looks like.
#[derive(Default)]
struct Known {
    slots: SlotMap,
    /// In the order of `slots.masters()`, and then guests.
    masters: Vec<Arc<Master>>,
    /// Masters and replicas.
    nodes: Vec<Address>,
}

#[derive(Default)]
struct Members {
    runtimes: Vec<Handle>,
    guests: Vec<(Address, Instant)>,
    /// Whether some runtime reads the table.
    is_read: bool,
}

struct Master {
    address: Address,
    fleet: Arc<Fleet>,
    /// Dropped with the master, which ends its supervisors.
    _open: watch::Sender<()>,
}

impl Known {
    fn fleet(&self, slot: u16) -> Option<&Arc<Fleet>> {
        let index = self.slots.owner(slot)?;
        self.masters.get(index).map(|master| &master.fleet)
    }

    fn fleet_at(&self, address: &Address) -> Option<&Arc<Fleet>> {
        self.masters.iter().find(|master| master.address == *address).map(|master| &master.fleet)
    }
}

impl Cluster {
    /// Connects nothing. `closed` ends everything when its sender is dropped.
    pub(super) fn new(
        endpoint: Endpoint,
        terms: Terms,
        name: String,
        closed: watch::Receiver<()>,
    ) -> Self {
        Self {
            endpoint,
            terms,
            health: Signal::new(name.clone(), Health::Starting),
            name,
            known: ArcSwap::default(),
            members: Mutex::default(),
            doubts: Arc::default(),
            reads: watch::Sender::new(0),
            closed,
        }
    }

    /// Makes the calling runtime one that has connections to every master, and waits a moment for
    /// them. The first runtime also reads the table, for as long as it lives.
    pub(super) async fn join(self: &Arc<Self>, patience: Duration) {
        let reads_here = {
            let mut members = self.members();
            let here = Handle::current();
            if members.runtimes.iter().all(|runtime| runtime.id() != here.id()) {
                members.runtimes.push(here);
            }
            !std::mem::replace(&mut members.is_read, true)
        };
        if reads_here {
            let reader = Reader(self.clone());
            tokio::spawn(async move {
                let mut closed = reader.0.closed.clone();
                tokio::select! {
                    _ = closed.changed() => {}
                    never = topology::follow(&reader.0) => match never {},
                }
            });
        }
        let joined = async {
            let mut reads = self.reads.subscribe();
            // Fails when the cluster is dropped, which we prevent.
            let _ = reads.wait_for(|reads| *reads > 0).await;
            let known = self.known.load_full();
            let mut joins = tokio::task::JoinSet::new();
            for master in &known.masters {
                let fleet = master.fleet.clone();
                joins.spawn(async move { fleet.join(patience).await });
            }
            joins.join_all().await;
        };
        // Down or slow: calls answer `Unavailable` until it is up.
        let _ = timeout(patience, joined).await;
    }

    /// Working connections to the master of a slot. Waits, for at most `patience`, where the master
    /// is new or has just gone.
    pub(super) async fn route(
        &self,
        slot: u16,
        purpose: Purpose,
        patience: Duration,
    ) -> Option<Route> {
        let is_unsettled = {
            let known = self.known.load();
            match known.fleet(slot) {
                None => self.health.current() == Health::Starting,
                Some(fleet) => match fleet.pick(purpose) {
                    Some(connections) => return Some(route(fleet, connections)),
                    None => {
                        fleet.pick(purpose.other()).is_some()
                            || fleet.health.down_for().is_none_or(|outage| outage < SETTLING)
                    }
                },
            }
        };
        if !is_unsettled {
            return None;
        }
        self.doubts.notify_one();
        timeout(patience, self.wait_for(slot, purpose, None)).await.ok()
    }

    /// Waits for connections to the master of a slot, whichever that will be: others than those
    /// that just broke.
    pub(super) async fn wait_for(
        &self,
        slot: u16,
        purpose: Purpose,
        broken: Option<&Route>,
    ) -> Route {
        let mut reads = self.reads.subscribe();
        loop {
            let fleet = self.known.load().fleet(slot).cloned();
            let found = async {
                let Some(fleet) = &fleet else { return std::future::pending().await };
                let is_same = |broken: &&Route| Arc::ptr_eq(&broken.fleet, fleet);
                let broken = broken.filter(is_same).map_or(0, |broken| broken.connections.id);
                route(fleet, fleet.pick_other(purpose, broken).await)
            };
            tokio::select! {
                route = found => return route,
                // Fails when the cluster is dropped, which the caller prevents.
                _ = reads.changed() => {}
            }
        }
    }

    /// Whether an error sends us elsewhere.
    pub(super) fn redirect(&self, error: &RedisError, from: &Route) -> Option<Redirect> {
        let known = self.known.load();
        let asked = known.masters.iter().find(|master| Arc::ptr_eq(&master.fleet, &from.fleet));
        Redirect::of(error, asked.map_or("", |master| &master.address.host))
    }

    /// Goes where a redirect says, for the `nth` time in a call: where that is known, at once, else
    /// once the table has been read. The caller has a deadline.
    pub(super) async fn follow(
        &self,
        slot: u16,
        purpose: Purpose,
        redirect: &Redirect,
        nth: u32,
    ) -> Option<Route> {
        let mut reads = self.reads.subscribe();
        if nth >= AT_ONCE {
            tokio::time::sleep(PAUSE).await;
        }
        match redirect {
            Redirect::Moved(_, address) => {
                self.doubts.notify_one();
                match address.as_ref().and_then(|address| self.fleet_at(address)) {
                    Some(fleet) => tokio::select! {
                        connections = fleet.pick_other(purpose, 0) => {
                            return Some(route(&fleet, connections));
                        }
                        // It may be gone again.
                        _ = reads.changed() => {}
                    },
                    None => _ = reads.changed().await,
                }
                Some(self.wait_for(slot, purpose, None).await)
            }
            Redirect::Ask(address) => {
                if self.fleet_at(address).is_none() {
                    self.invite(address);
                    let _ = reads.changed().await;
                }
                let fleet = self.fleet_at(address)?;
                tokio::select! {
                    connections = fleet.pick_other(purpose, 0) => {
                        Some(Route { is_asking: true, ..route(&fleet, connections) })
                    }
                    _ = reads.changed() => Some(self.wait_for(slot, purpose, None).await),
                }
            }
            Redirect::TryAgain => {
                tokio::time::sleep(PAUSE).await;
                Some(self.wait_for(slot, purpose, None).await)
            }
            Redirect::Down => {
                self.doubts.notify_one();
                None
            }
        }
    }

    fn fleet_at(&self, address: &Address) -> Option<Arc<Fleet>> {
        self.known.load().fleet_at(address).cloned()
    }

    /// Has connections made to a server that a slot is on its way to, before it has one.
    fn invite(&self, address: &Address) {
        let mut members = self.members();
        members.guests.retain(|(guest, _)| guest != address);
        if members.guests.len() < GUESTS_MAX {
            members.guests.push((address.clone(), Instant::now()));
        }
        drop(members);
        self.doubts.notify_one();
    }

    /// Every address that may be asked about the cluster: first the masters' as far as they are
    /// known, then others.
    pub(super) fn addresses(&self) -> (Vec<Address>, Vec<Address>) {
        let known = self.known.load();
        let masters = known.slots.masters().to_vec();
        let seeds = self.endpoint.addresses().iter().map(|(host, port)| Address::new(host, *port));
        let mut others: Vec<Address> = Vec::new();
        for other in known.nodes.iter().cloned().chain(seeds) {
            if !masters.contains(&other) && !others.contains(&other) {
                others.push(other);
            }
        }
        (masters, others)
    }

    /// Replaces what is known of the cluster. What was cached of a slot that has another master now
    /// was heard of over a link that says nothing of it any more.
    ///
    /// # Errors
    /// Where it is too large for us.
    pub(super) fn adopt(self: &Arc<Self>, view: View) -> Result<(), &'static str> {
        let slots = SlotMap::of(&view)?;
        let mut members = self.members();
        members.guests.retain(|(guest, since)| {
            since.elapsed() < GUESTS_STAY && !slots.masters().contains(guest)
        });
        let before = self.known.load_full();
        let mut newcomers = Vec::new();
        let guests = members.guests.iter().map(|(guest, _)| guest);
        let masters: Vec<Arc<Master>> = slots
            .masters()
            .iter()
            .chain(guests)
            .map(|address| {
                let known = before.masters.iter().find(|master| master.address == *address);
                known.cloned().unwrap_or_else(|| {
                    let master = self.master(address);
                    newcomers.push(master.clone());
                    master
                })
            })
            .collect();
        for (index, master) in masters.iter().enumerate() {
            if let Probe::Master(probe) = &*master.fleet.terms.probe {
                match slots.masters().get(index) {
                    Some(_) => {
                        probe.choose(&self.terms.namespace, |slot| slots.owner(slot) == Some(index))
                    }
                    None => probe.choose_none(),
                }
            }
        }
        let moved = slots.moved_since(&before.slots);
        self.known.store(Arc::new(Known { slots, masters, nodes: view.nodes }));
        if moved > 0 {
            self.terms.changes.all();
            tracing::info!(store = %self.name, slots = moved, "slots have other masters");
        }
        for master in &newcomers {
            for runtime in &members.runtimes {
                let fleet = master.fleet.clone();
                runtime.spawn(async move { fleet.join(Duration::ZERO).await });
            }
        }
        Ok(())
    }

    fn master(self: &Arc<Self>, address: &Address) -> Arc<Master> {
        let (open, closed) = watch::channel(());
        let target = Target::At(self.endpoint.client(&address.host, address.port));
        let probe = Arc::new(Probe::of_master(self.doubts.clone()));
        let terms = Terms { probe, ..self.terms.clone() };
        let name = format!("{}, master {address}", self.name);
        let fleet = Arc::new(Fleet::new(target, terms, name, closed));
        tokio::spawn(watch_master(Arc::downgrade(self), fleet.health.subscribe()));
        Arc::new(Master { address: address.clone(), fleet, _open: open })
    }

    /// Ends a reading of the table.
    pub(super) fn note_read(&self) {
        self.note_health();
        self.reads.send_modify(|reads| *reads += 1);
    }

    /// The cluster is up as long as one of its masters serves: the others' sessions are unavailable
    /// then, on every node alike, so that taking this one out of service would help nobody.
    fn note_health(&self) {
        // Held so that the edges come in order.
        let _members = self.members();
        let known = self.known.load();
        let mut states = known.masters.iter().map(|master| master.fleet.health.current());
        if states.clone().any(|state| state == Health::Up) {
            self.health.up();
        } else if !known.masters.is_empty() && states.all(|state| state == Health::Down) {
            self.health.down(&"no master of the cluster serves");
        }
    }

    /// Whether every slot has a master that serves.
    pub(super) fn is_settled(&self) -> bool {
        let known = self.known.load();
        known.slots.uncovered() == 0
            && known.masters.iter().all(|master| master.fleet.health.current() == Health::Up)
    }

    pub(super) fn is_known(&self) -> bool {
        !self.known.load().masters.is_empty()
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn route(fleet: &Arc<Fleet>, connections: Arc<Connections>) -> Route {
    Route { fleet: fleet.clone(), connections, is_asking: false }
}

/// Passes on that a master went or came, for as long as there is such a master.
async fn watch_master(cluster: Weak<Cluster>, mut health: watch::Receiver<Health>) {
    while health.changed().await.is_ok() {
        let Some(cluster) = cluster.upgrade() else { return };
        cluster.note_health();
        cluster.doubts.notify_one();
    }
}

/// The task that reads the table. Another runtime may take over when this one ends.
struct Reader(Arc<Cluster>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.members().is_read = false;
    }
}
