//! The adapter to Pingora: the only module that names `pingora*`. One file per hook; what is
//! decided, is decided in `session`, `routing` and `upstream`.

mod admit;
mod body_filters;
mod bridge;
mod context;
pub mod cut;
pub mod error;
mod fail_to_proxy;
pub mod gate;
pub mod hooks;
mod lease;
pub mod limit;
pub mod logging;
mod login_again;
pub mod mass_logout;
pub mod merging;
#[cfg(test)]
mod model;
mod modes;
pub mod open_streams;
pub mod own_sessions;
mod patient;
pub mod replaced_seals;
mod reply;
mod request_filter;
mod response_filter;
pub mod serve;
mod session_limit;
pub mod settings;
mod settle;
pub mod shared;
mod stream;
mod streams;
pub mod successions;
pub mod ticket_cache;
pub mod touches;
mod turn;
pub mod upstream_peer;
mod upstream_request_filter;
