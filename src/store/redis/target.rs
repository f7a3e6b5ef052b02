//! Where the server is that a fleet connects to: the only place that knows how a topology is told.

use std::convert::Infallible;
use std::sync::Arc;

use super::cause::Cause;
use super::endpoint::{Dialer, Endpoint};
use super::fence::Fence;
use super::sentinel::Sentinels;
use super::url::UrlKind;
use crate::store::StoreError;

/// A server, or a way to find it.
#[derive(Debug)]
pub(super) enum Target {
    /// This server, whatever it is.
    At(Dialer),
    /// Whichever is the master.
    Master(Arc<Sentinels>),
}

impl Target {
    /// What the settings name. Sentinels put up this fence.
    ///
    /// # Errors
    /// `Settings`, where that is a cluster.
    pub(super) fn new(endpoint: Endpoint, fence: Arc<Fence>) -> Result<Self, StoreError> {
        match (endpoint.kind(), endpoint.addresses()) {
            (UrlKind::Single, [(host, port), ..]) => Ok(Self::at(endpoint.clone(), host, *port)),
            (UrlKind::Sentinel { master_name }, [_, ..]) => {
                Ok(Self::Master(Arc::new(Sentinels::new(endpoint.clone(), master_name, fence))))
            }
            // A cluster has a fleet for each of its masters, at an address of its own.
            (UrlKind::Cluster, _) | (_, []) => {
                Err(StoreError::Settings("no single server is named".to_owned()))
            }
        }
    }

    /// One server, which does not move.
    pub(super) fn at(endpoint: Endpoint, host: &str, port: u16) -> Self {
        Self::At(endpoint.client(host, port))
    }

    /// Where the master is now. Asked before every attempt to connect.
    pub(super) async fn locate(&self) -> Result<Dialer, Cause> {
        match self {
            Self::At(client) => Ok(client.clone()),
            Self::Master(sentinels) => sentinels.locate().await,
        }
    }

    /// Keeps up with whoever tells where the master is; on one runtime at a time, the others wait
    /// for their turn.
    pub(super) async fn watch(&self) -> Infallible {
        match self {
            Self::At(_) => std::future::pending().await,
            Self::Master(sentinels) => sentinels.watch().await,
        }
    }

    /// Waits until the master is elsewhere, and says so.
    pub(super) async fn moved(&self, from: &Dialer) -> Cause {
        match self {
            Self::At(_) => std::future::pending().await,
            Self::Master(sentinels) => sentinels.moved(from).await,
        }
    }
}
