//! Cloakroom: a session-aware reverse proxy.
//!
//! The application's session cookies stay at the counter, the browser carries one sealed ticket.
//! ARCHITECTURE.md has the bird's-eye view; the modules below point down only (a test checks it).

pub mod access;
pub mod acme;
pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod cookie;
pub mod crypto;
pub mod demo;
pub mod downstream;
pub mod files;
pub mod headers;
pub mod import;
pub mod listen;
pub mod proxy;
pub mod rewrite;
pub mod routing;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod transport;
pub mod uniform;
pub mod upstream;
pub mod variables;
pub mod wire;
