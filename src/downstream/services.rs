//! What serves the requests of one worker runtime at the moment: it can be replaced whole, from any thread.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Service;
use crate::listen::Info;

/// The service of now. A request keeps the one that it began with.
pub struct Services<S> {
    current: ArcSwap<S>,
}

impl<S: Service> Services<S> {
    pub fn new(service: S) -> Self {
        Self { current: ArcSwap::from_pointee(service) }
    }

    /// Puts another one in its place, for all requests from now on.
    pub fn replace(&self, service: S) {
        self.current.store(Arc::new(service));
    }

    /// What a connection begins with.
    pub fn begin(&self) -> Arc<S> {
        self.current.load_full()
    }

    /// What serves the next request of a connection. One that the service of now does not take over ends
    /// with this request, as it began.
    pub fn renew(&self, serving: &mut Arc<S>, connection: &Info) {
        let current = self.current.load();
        if Arc::ptr_eq(&current, serving) {
            return;
        }
        if current.takes_over(connection) {
            *serving = current.clone();
        } else {
            connection.end_soon();
        }
    }
}

impl<S> fmt::Debug for Services<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}
