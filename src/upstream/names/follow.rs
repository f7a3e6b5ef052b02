//! The names of upstreams, looked up again and again (nginx `server … resolve`).
//!
//! A server that cannot answer leaves the endpoints as they are. One that says that there is no such name
//! takes them away, as in nginx.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Unresolved;
use super::resolver::{Found, Host, Resolved, Resolver};
use crate::clock::{Clock, UnixMillis};
use crate::upstream::group::Group;
use crate::upstream::{Address, EndpointSettings, NameSettings};

/// How often it is looked whether a name is due.
const EVERY: Duration = Duration::from_millis(200);
/// No name is looked up more often than that.
const SHORTEST: Duration = Duration::from_secs(1);
/// The start waits for the first addresses no longer than that.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// A name of an upstream.
#[derive(Debug)]
pub struct Followed {
    group: Arc<Group>,
    /// Its index in the upstream's names.
    name: usize,
    resolver: Arc<Resolver>,
    patience: Duration,
    due: UnixMillis,
    has_failed: bool,
}

/// What looking a name up came to.
struct Looked {
    found: Result<Vec<EndpointSettings>, Unresolved>,
    until: UnixMillis,
}

impl Followed {
    pub fn new(
        group: Arc<Group>,
        name: usize,
        resolver: Arc<Resolver>,
        patience: Duration,
    ) -> Self {
        Self { group, name, resolver, patience, due: UnixMillis(0), has_failed: false }
    }

    /// Looks the name up, and puts what it has now in place of what it had.
    async fn look(&mut self, clock: &Clock) {
        let Some(settings) = self.group.settings().names.get(self.name) else { return };
        let Looked { found, until } = endpoints(settings, &self.resolver, self.patience).await;
        let now = clock.now();
        let upstream = &*self.group.settings().name;
        match found {
            Ok(found) => {
                if std::mem::take(&mut self.has_failed) {
                    tracing::info!(upstream, name = settings.host, "a name is resolved again");
                }
                self.group.replace(self.name, found);
                self.due = until.max(now.plus(SHORTEST));
            }
            Err(why) => {
                if !std::mem::replace(&mut self.has_failed, true) {
                    tracing::error!(upstream, "{} could not be resolved ({why})", settings.host);
                }
                if why == Unresolved::NOT_FOUND {
                    self.group.replace(self.name, Vec::new());
                }
                self.due =
                    until.max(now.plus(self.patience.clamp(SHORTEST, Duration::from_secs(10))));
            }
        }
    }
}

/// Waits for the first answers to all that hold one end of this, or for no longer than the start may take.
pub async fn first(mut first: mpsc::Receiver<()>) {
    // Nothing is sent: it ends when nobody is left who looks for the first time.
    let _ = timeout(FIRST_WITHIN, first.recv()).await;
}

/// Looks a name up, and again whenever that is due. `first` is let go of with the first answer.
pub async fn follow(mut followed: Followed, clock: Clock, first: mpsc::Sender<()>) {
    followed.look(&clock).await;
    drop(first);
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if clock.now() >= followed.due {
            followed.look(&clock).await;
        }
    }
}

/// What a name has now.
async fn endpoints(
    settings: &NameSettings,
    resolver: &Arc<Resolver>,
    patience: Duration,
) -> Looked {
    let NameSettings { host, port, service, endpoint } = settings;
    let at = |address: SocketAddr| EndpointSettings {
        address: Address::Inet(address),
        ..endpoint.clone()
    };
    if let Some(service) = service {
        let name = service_name(service, host);
        let (found, until) = resolver.services(&name, patience).await;
        let of_host = |host: Host| EndpointSettings {
            weight: host.weight,
            is_backup: host.is_backup || endpoint.is_backup,
            ..at(host.address)
        };
        return Looked {
            found: found.map(|hosts| hosts.into_iter().map(of_host).collect()),
            until,
        };
    }
    let Resolved { found, until } = resolver.addresses(host, patience).await;
    let of_found = |found: &Found| match found {
        Found::Address(ip) => Some(at(SocketAddr::new(*ip, *port))),
        Found::Service(_) => None,
    };
    Looked { found: found.map(|found| found.iter().filter_map(of_found).collect()), until }
}

/// The name of a service of a host, as nginx makes it.
fn service_name(service: &str, host: &str) -> String {
    match service.contains('.') {
        true => format!("{service}.{host}"),
        false => format!("_{service}._tcp.{host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::service_name;

    #[test]
    fn services_have_names_of_their_own() {
        assert_eq!(service_name("http", "a.example"), "_http._tcp.a.example");
        assert_eq!(service_name("_http._tcp", "a.example"), "_http._tcp.a.example");
        assert_eq!(service_name("blue.web", "a.example"), "blue.web.a.example");
    }
}
