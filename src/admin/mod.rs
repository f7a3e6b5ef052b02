//! The private listener: probes and metrics (`/metrics`, `/livez`, `/readyz`, `/keys`), and what operators ask and
//! order (`/sessions`, `/status`, `/upstreams`, …; `openapi.json` has all of it).
//!
//! For probes, scrapers and operators on the same machine or a private network. Whoever can connect to a unix
//! socket is an operator; over TCP one shows a token. Other sites' pages get nowhere through an operator's browser
//! (`browsers`). It is an HTTP server of its own (hyper) on the control runtime, so that it answers while every
//! worker is busy.

mod answers;
mod browsers;
pub mod history;
mod keys;
mod listener;
mod operators;
mod pages;
mod process;
mod server;
mod sessions;
mod status;
mod status_page;
mod token;

pub use listener::{BindError, Listener, bind};
pub use operators::Operators;
pub use pages::{PagesState, Readiness};
pub use process::{Certificate, Process, Reloading, StoreState};
pub use server::serve;
pub use sessions::Sessions;
pub use token::{NoToken, Token};

/// Describes all that is answered (OpenAPI 3.1).
const OPENAPI: &str = include_str!("openapi.json");

/// What is answered beside what operators have.
#[cfg(test)]
const OTHER_ROUTES: &[(&str, &str)] = &[
    ("/", "GET"),
    ("/livez", "GET"),
    ("/readyz", "GET"),
    ("/metrics", "GET"),
    ("/keys", "GET"),
    ("/openapi.json", "GET"),
    ("/sessions", "GET"),
    ("/sessions/revoke", "POST"),
];

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
    /// What operators show over TCP.
    pub token: Option<Token>,
}
