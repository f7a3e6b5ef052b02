//! The private listener: `/metrics`, `/livez`, `/readyz`.

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
