//! The private listener: `/metrics`, `/livez`, `/readyz`.
//!
//! For probes and scrapers on the same machine or a private network: it only reads, has no
//! authentication, and shows nothing of any session. It is an HTTP server of its own (hyper) on the
//! control runtime, so that it answers while every worker is busy.

mod listener;
mod pages;
mod server;

pub use listener::{BindError, Listener, bind};
pub use pages::{Readiness, State};
pub use server::serve;

/// Where the admin listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Inet(std::net::SocketAddr),
    Unix(std::path::PathBuf),
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub address: Address,
}
