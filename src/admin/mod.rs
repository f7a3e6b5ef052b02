//! The private listener: `/metrics`, `/livez`, `/readyz`, `/keys`, `/sessions`.
//!
//! For probes, scrapers and operators on the same machine or a private network. It has no
//! authentication: whoever can connect may list and end sessions. Browsers may not. It is an HTTP server of its own (hyper) on the
//! control runtime, so that it answers while every worker is busy.

mod browsers;
mod keys;
mod listener;
mod pages;
mod server;
mod sessions;

pub use listener::{BindError, Listener, bind};
pub use pages::{PagesState, Readiness};
pub use server::serve;
pub use sessions::Sessions;

/// Where the admin listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Inet(std::net::SocketAddr),
    Unix(std::path::PathBuf),
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    pub address: Address,
    /// Names beside its addresses that it may be called by, in lower case.
    pub names: Vec<String>,
}
