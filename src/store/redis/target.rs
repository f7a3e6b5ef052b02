//! Where the server is that a fleet connects to: the only place that knows how a topology is told.

use super::cause::Cause;
use super::endpoint::{Client, Endpoint};
use super::url::Kind;
use crate::store::StoreError;

/// A server, or a way to find it.
#[derive(Debug)]
pub(super) struct Target {
    endpoint: Endpoint,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// This server, whatever it is.
    At(String, u16),
}

impl Target {
    /// What the settings name.
    ///
    /// # Errors
    /// `Settings`, where that is no single server.
    pub(super) fn new(endpoint: Endpoint) -> Result<Self, StoreError> {
        match (endpoint.kind(), endpoint.addresses()) {
            (Kind::Single, [(host, port), ..]) => Ok(Self::at(endpoint.clone(), host, *port)),
            _ => {
                let reason = "Sentinels and clusters are not supported yet: name one server";
                Err(StoreError::Settings(reason.to_owned()))
            }
        }
    }

    /// One server, which does not move.
    pub(super) fn at(endpoint: Endpoint, host: &str, port: u16) -> Self {
        Self { endpoint, place: Place::At(host.to_owned(), port) }
    }

    /// Where the master is now. Asked before every attempt to connect.
    pub(super) async fn locate(&self) -> Result<Client, Cause> {
        match &self.place {
            Place::At(host, port) => Ok(self.endpoint.client(host, *port)),
        }
    }

    /// Waits until the master is elsewhere, and says so.
    pub(super) async fn moved(&self, _from: &Client) -> Cause {
        match &self.place {
            Place::At(..) => std::future::pending().await,
        }
    }
}
