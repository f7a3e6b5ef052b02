//! A resolver: what is kept of answers, and who waits for one. Whoever asks first has the servers asked;
//! everybody else waits for the same answer.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::ask::Servers;
use super::message::{Said, Service, Wanted};
use super::{ResolverSettings, Unresolved};
use crate::clock::{Clock, UnixMillis};

/// Names that are kept.
const NAMES_MAX: usize = 4096;
/// Names that are looked up at a time.
const AT_ONCE: usize = 512;
/// Names that one name may lead to, each by an answer of its own (nginx follows 50).
const ALIASES_MAX: usize = 16;
/// Hosts that one service may have.
const HOSTS_MAX: usize = 64;
/// For so long it is kept at most that there is nothing.
const NOTHING_MAX: Duration = Duration::from_secs(10);

/// A resolver. All workers share what it keeps.
#[derive(Debug)]
pub struct Resolver {
    settings: ResolverSettings,
    servers: Servers,
    clock: Clock,
    known: Mutex<HashMap<Key, Known>>,
    room: Arc<Semaphore>,
}

/// A name, and whether it is a service's.
type Key = (String, bool);

#[derive(Debug)]
enum Known {
    Kept(Resolved),
    /// On its way.
    Asked(watch::Receiver<Option<Resolved>>),
}

/// What a name was resolved to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub found: Result<Arc<[Found]>, Unresolved>,
    /// Until then it counts.
    pub until: UnixMillis,
}

/// One thing that a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Address(IpAddr),
    Service(Service),
}

/// An endpoint that a service has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    pub address: SocketAddr,
    /// At least 1.
    pub weight: u32,
    /// Others come before it.
    pub is_backup: bool,
}

impl Resolver {
    /// What it was made from.
    pub fn settings(&self) -> &ResolverSettings {
        &self.settings
    }

    pub fn new(settings: ResolverSettings, clock: Clock) -> Self {
        let servers = Servers::new(settings.servers.clone());
        let room = Arc::new(Semaphore::new(AT_ONCE));
        Self { settings, servers, clock, known: Mutex::default(), room }
    }

    /// The addresses of a name; whoever waits for longer than `patience` has none.
    pub async fn addresses(self: &Arc<Self>, name: &str, patience: Duration) -> Resolved {
        self.resolve(name, false, patience).await
    }

    /// The hosts of a service (RFC 2782): those with the least priority in number come first, all others
    /// are backups.
    pub async fn services(
        self: &Arc<Self>,
        name: &str,
        patience: Duration,
    ) -> (Result<Vec<Host>, Unresolved>, UnixMillis) {
        let Resolved { found, mut until } = self.resolve(name, true, patience).await;
        let found = match found {
            Ok(found) => found,
            Err(why) => return (Err(why), until),
        };
        let is_service = |found: &Found| match found {
            Found::Service(service) => Some(service.clone()),
            Found::Address(_) => None,
        };
        let mut services: Vec<Service> = found.iter().filter_map(is_service).collect();
        services.sort_by_key(|service| service.priority);
        services.truncate(HOSTS_MAX);
        let first = services.first().map_or(0, |service| service.priority);
        let mut looking = JoinSet::new();
        for (place, service) in services.into_iter().enumerate() {
            let this = self.clone();
            looking.spawn(async move {
                let resolved = this.addresses(&service.target, patience).await;
                (place, service, resolved)
            });
        }
        let mut looked = looking.join_all().await;
        looked.sort_by_key(|(place, ..)| *place);
        let (mut hosts, mut failure) = (Vec::new(), None);
        for (_, service, resolved) in looked {
            until = until.min(resolved.until);
            match resolved.found {
                Ok(found) => hosts.extend(found.iter().filter_map(|found| match found {
                    Found::Address(ip) => Some(Host {
                        address: SocketAddr::new(*ip, service.port),
                        weight: u32::from(service.weight).max(1),
                        is_backup: service.priority > first,
                    }),
                    Found::Service(_) => None,
                })),
                Err(why) => failure = Some(why),
            }
        }
        match (hosts.is_empty(), failure) {
            (true, why) => (Err(why.unwrap_or(Unresolved::NOT_FOUND)), until),
            (false, _) => (Ok(hosts), until),
        }
    }

    async fn resolve(
        self: &Arc<Self>,
        name: &str,
        is_service: bool,
        patience: Duration,
    ) -> Resolved {
        let key = (name.to_ascii_lowercase(), is_service);
        let mut waiting = match self.known_or_asked(key) {
            Ok(resolved) => return resolved,
            Err(waiting) => waiting,
        };
        let answered = timeout(patience, waiting.wait_for(Option::is_some)).await;
        let resolved = answered.ok().and_then(Result::ok).and_then(|resolved| resolved.clone());
        resolved.unwrap_or_else(|| self.failed(Unresolved::TimedOut))
    }

    /// What is kept; else where the answer will be.
    fn known_or_asked(
        self: &Arc<Self>,
        key: Key,
    ) -> Result<Resolved, watch::Receiver<Option<Resolved>>> {
        let now = self.clock.now();
        let mut known = self.lock();
        match known.get(&key) {
            Some(Known::Kept(resolved)) if now < resolved.until => return Ok(resolved.clone()),
            // Whoever asks may have ended with its thread.
            Some(Known::Asked(answer)) if answer.has_changed().is_ok() => {
                return Err(answer.clone());
            }
            _ => {}
        }
        let Ok(permit) = self.room.clone().try_acquire_owned() else {
            return Ok(self.failed(Unresolved::TooMany));
        };
        make_room(&mut known, now);
        let (sender, answer) = watch::channel(None);
        known.insert(key.clone(), Known::Asked(answer.clone()));
        drop(known);
        tokio::spawn(self.clone().look_up(key, sender, permit));
        Err(answer)
    }

    async fn look_up(
        self: Arc<Self>,
        key: Key,
        answer: watch::Sender<Option<Resolved>>,
        _permit: OwnedSemaphorePermit,
    ) {
        let (found, kept) = match key.1 {
            true => self.ask(&key.0, Wanted::Services).await,
            false => {
                let [ipv4, ipv6] = [
                    self.settings.ipv4.then(|| self.ask(&key.0, Wanted::Ipv4)),
                    self.settings.ipv6.then(|| self.ask(&key.0, Wanted::Ipv6)),
                ];
                match (ipv4, ipv6) {
                    (Some(ipv4), Some(ipv6)) => {
                        let (ipv4, ipv6) = tokio::join!(ipv4, ipv6);
                        together(ipv4, ipv6)
                    }
                    (Some(asked), None) | (None, Some(asked)) => asked.await,
                    (None, None) => (Err(Unresolved::NOT_FOUND), Duration::ZERO),
                }
            }
        };
        let kept = match (&found, self.settings.valid) {
            (Ok(_), Some(valid)) => valid,
            (Ok(_), None) => kept,
            (Err(_), valid) => kept.min(NOTHING_MAX).min(valid.unwrap_or(NOTHING_MAX)),
        };
        let until = self.clock.now().plus(kept);
        let resolved = Resolved { found: found.map(Arc::from), until };
        self.lock().insert(key, Known::Kept(resolved.clone()));
        answer.send_replace(Some(resolved));
    }

    /// What there is of one kind, and how long that may be kept.
    async fn ask(&self, name: &str, wanted: Wanted) -> Asked {
        let mut name = name.to_owned();
        let mut kept = Duration::MAX;
        for _ in 0..ALIASES_MAX {
            let (found, ttl) = match self.servers.ask(&name, wanted).await {
                Ok(Said::Alias(target, ttl)) => {
                    (name, kept) = (target, kept.min(ttl));
                    continue;
                }
                Ok(Said::Addresses(found, ttl)) => {
                    (Ok(found.into_iter().map(Found::Address).collect()), ttl)
                }
                Ok(Said::Services(found, ttl)) => {
                    (Ok(found.into_iter().map(Found::Service).collect()), ttl)
                }
                Ok(Said::Nothing(ttl)) => (Err(Unresolved::NOT_FOUND), ttl.unwrap_or_default()),
                Ok(Said::Failed(why)) | Err(why) => (Err(why), Duration::ZERO),
                // It is asked for over TCP.
                Ok(Said::Truncated) => (Err(Unresolved::Code(2)), Duration::ZERO),
            };
            return (found, kept.min(ttl));
        }
        (Err(Unresolved::NOT_FOUND), Duration::ZERO)
    }

    fn failed(&self, why: Unresolved) -> Resolved {
        Resolved { found: Err(why), until: self.clock.now() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Known>> {
        // What a panic left behind is whole: every change is one step.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was found of one kind, and how long that may be kept.
type Asked = (Result<Vec<Found>, Unresolved>, Duration);

/// One family is enough; where neither has anything, a server that failed may have had something.
fn together(one: Asked, other: Asked) -> Asked {
    match (one, other) {
        ((Ok(mut found), kept), (Ok(more), its)) => {
            found.extend(more);
            (Ok(found), kept.min(its))
        }
        ((Ok(found), kept), (Err(_), _)) | ((Err(_), _), (Ok(found), kept)) => (Ok(found), kept),
        ((Err(Unresolved::NOT_FOUND), kept), (Err(Unresolved::NOT_FOUND), its)) => {
            (Err(Unresolved::NOT_FOUND), kept.min(its))
        }
        ((Err(why), kept), (Err(Unresolved::NOT_FOUND), _)) | (_, (Err(why), kept)) => {
            (Err(why), kept)
        }
    }
}

/// Forgets what does not count any more; where all of it does, half of it.
fn make_room(known: &mut HashMap<Key, Known>, now: UnixMillis) {
    if known.len() < NAMES_MAX {
        return;
    }
    let counts = |known: &Known| match known {
        Known::Kept(resolved) => now < resolved.until,
        Known::Asked(_) => true,
    };
    known.retain(|_, known| counts(known));
    let mut is_kept = false;
    if known.len() > NAMES_MAX / 2 {
        known.retain(|_, known| {
            is_kept = !is_kept;
            is_kept || matches!(known, Known::Asked(_))
        });
    }
}
