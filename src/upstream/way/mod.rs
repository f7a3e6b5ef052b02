//! The way to a worker: connections over TCP, unix sockets and TLS, and the pool that keeps them.
//!
//! Of HTTP/1 bytes only: what they mean is `wire`'s to read. HTTP/2 has a folder of its own. Deadlines
//! of reading and writing are the exchange's, and so is what follows from a failure
//! (`upstream::verdict`).

mod by_endpoint;
mod connect;
pub mod http2;
mod identity;
mod link;
mod pool;
mod stash;
mod trust;
mod ways;

pub use connect::ConnectError;
pub use identity::IdentityError;
pub use link::{Link, Moved};
pub use pool::Pool;
pub use trust::TrustError;
pub use ways::{WayError, WayFlaw, Ways};

#[cfg(test)]
mod tests;
