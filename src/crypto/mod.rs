//! Keys and sealing. Knows nothing of tickets or records: it seals bytes for a purpose.

pub mod base64;
mod jwks;
pub mod keyfile;
pub mod keyring;
pub mod random;
pub mod ring_source;
pub mod seal;
