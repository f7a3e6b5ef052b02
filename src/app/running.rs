//! An app that runs on a thread of its own, as tests have it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};

use super::BuildError;
use super::in_force::InForce;
use crate::config::Config;
use crate::listen::Shutdown;
use crate::telemetry::metrics::Metrics;

/// Asks for another configuration, or for all that is read anew without one.
pub(super) struct Ask {
    config: Option<Box<Config>>,
    answer: std::sync::mpsc::Sender<Reloaded>,
}

/// Keys of what stays what it was, and where the listeners are now; or what is wrong.
type Reloaded = Result<(Vec<&'static str>, Vec<SocketAddr>), String>;

/// An app that runs on a thread of its own.
pub struct Running {
    pub(super) orders: watch::Sender<Shutdown>,
    pub(super) thread: Option<JoinHandle<Result<(), BuildError>>>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) admin: Option<SocketAddr>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) asks: mpsc::UnboundedSender<Ask>,
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
        &self.metrics
    }

    /// Does what HUP does.
    pub fn reload(&self) {
        // What is wrong has been said.
        let _ = self.ask(None);
    }

    /// Puts another configuration in force. Returns keys of what stays what it was, and where the
    /// listeners are now.
    ///
    /// # Errors
    /// What is wrong with it: nothing has changed.
    pub fn reload_with(&self, config: Config) -> Reloaded {
        self.ask(Some(Box::new(config)))
    }

    fn ask(&self, config: Option<Box<Config>>) -> Reloaded {
        let (answer, answered) = std::sync::mpsc::channel();
        let ended = |_| "it has ended".to_owned();
        self.asks.send(Ask { config, answer }).map_err(|_| ended(()))?;
        answered.recv().map_err(|_| ended(()))?
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

/// Does what is asked for, for as long as anybody may ask.
pub(super) async fn answer(mut asked: mpsc::UnboundedReceiver<Ask>, in_force: Arc<InForce>) {
    while let Some(Ask { config, answer }) = asked.recv().await {
        let reloaded = match config {
            Some(config) => in_force.put_in_force(*config).await,
            None => in_force.reload().await,
        };
        let addresses = in_force.addresses().await;
        // Whoever asked may have gone.
        let _ = answer.send(reloaded.map(|stays| (stays, addresses)));
    }
}
