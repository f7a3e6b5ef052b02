//! How answers of HTTP/1 are carried, and how connections end behind them, as the place says that answered
//! (nginx `send_timeout`, `chunked_transfer_encoding`, `lingering_close` and its like,
//! `reset_timedout_connection`).

use std::time::Duration;

pub use crate::listen::conn::{Linger, Lingers};

/// What is said of deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Without a byte that the client takes; nothing: as `limits` say.
    pub send_timeout: Option<Duration>,
    /// A body without a known length comes in chunks; else it ends with its connection.
    pub chunks: bool,
    pub linger: Linger,
    /// A connection that is cut, or gets no answer, is reset.
    pub resets: bool,
}
