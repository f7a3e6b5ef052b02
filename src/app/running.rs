//! An app that runs on a thread of its own, as tests have it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::BuildError;
use crate::listen::Shutdown;
use crate::proxy::shared::Shared;
use crate::telemetry::metrics::Metrics;

/// An app that runs on a thread of its own.
pub struct Running {
    pub(super) orders: watch::Sender<Shutdown>,
    pub(super) thread: Option<JoinHandle<Result<(), BuildError>>>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) admin: Option<SocketAddr>,
    pub(super) shared: Arc<Shared>,
    pub(super) reload: super::Reload,
}

impl Running {
    /// Where the listeners are, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the admin listener is, if it is on TCP.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// What the app counts.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Does what HUP does.
    pub fn reload(&self) {
        self.reload.run();
    }

    /// Lets requests finish and waits for the end.
    ///
    /// # Errors
    /// As [`App::run`](super::App::run).
    pub fn drain(mut self) -> Result<(), BuildError> {
        self.end(Shutdown::Draining)
    }

    /// Stops at once and waits for the end.
    ///
    /// # Errors
    /// As [`App::run`](super::App::run).
    pub fn stop(mut self) -> Result<(), BuildError> {
        self.end(Shutdown::Stopped)
    }

    fn end(&mut self, order: Shutdown) -> Result<(), BuildError> {
        self.orders.send_replace(order);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(BuildError::one("the control thread panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.end(Shutdown::Stopped) {
            tracing::error!(%error, "the app ended badly");
        }
    }
}
