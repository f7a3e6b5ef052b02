//! Keys and sealing. Knows nothing of tickets or records: it seals bytes for a purpose.

pub mod keyring;
pub mod random;
pub mod seal;
