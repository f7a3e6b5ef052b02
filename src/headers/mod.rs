//! Headers that Cloakroom adds on the way to a worker, and those that it never lets through.

pub mod forwarded;
pub mod identity;
