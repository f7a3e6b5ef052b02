//! Byte-level cookie text (RFC 6265bis): reading `Cookie` and `Set-Cookie`, enforcing attributes.
//!
//! Works on bytes: SP and HTAB are the only white space, nothing is unquoted or decoded, and what
//! is not ours leaves byte for byte as it came. Knows nothing of sessions.

pub mod date;
pub mod enforce;
pub mod request;
pub mod response;
