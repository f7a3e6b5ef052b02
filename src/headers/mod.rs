//! Headers that Cloakroom adds on the way to a worker, and those that it never lets through.
//!
//! Pure: reads and writes the fields of a head. What is written for a worker is written *after* the
//! fields nominated by `Connection` were discarded (rule 30); otherwise a client could nominate
//! `X-Session-Subject` and have our own header taken out.

pub mod accepts;
pub mod added;
pub mod compression;
pub mod cross_site;
pub mod fetch;
pub mod forwarded;
pub mod identity;
mod spelling;
