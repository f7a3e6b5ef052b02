//! HTTP/2 to workers (RFC 9113), by the `h2` crate: connections that many requests share.
//!
//! A task for each connection moves its frames; whoever has a stream polls it. What a worker sends
//! and nobody takes is bounded for each stream, and a connection has room for all of its streams: one
//! slow client holds up no other.
//!
//! | file | holds |
//! | --- | --- |
//! | `dial` | a new connection, up to the worker's settings |
//! | `connection` | one connection, and the places on it |
//! | `pool` | the connections of one worker runtime |
//! | `head` | a request's head |
//! | `stream` | one request, and its answer |

mod connection;
mod dial;
mod head;
mod pool;
mod stream;

#[cfg(test)]
mod tests;

pub use head::{Head, Unsendable};
pub use stream::Stream;

pub(super) use pool::Connections;

/// Requests that may share a connection, where the worker allows as many.
const STREAMS_MAX: usize = 100;
/// Bytes of one answer that may be on their way here, or wait for their client.
const STREAM_WINDOW: u32 = 128 * 1024;
/// The same for all answers of one connection together: none waits for another's client.
const CONNECTION_WINDOW: u32 = STREAMS_MAX as u32 * STREAM_WINDOW;
/// Bytes of one request that wait for the connection.
const SEND_BUFFER_MAX: usize = 64 * 1024;
/// Bytes of a request handed to the connection at a time.
const SEND_MAX: usize = 16 * 1024;
/// Bytes that the head of an answer may have.
const HEAD_MAX: u32 = 128 * 1024;
