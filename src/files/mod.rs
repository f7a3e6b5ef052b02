//! Files from disk, as nginx serves them: which file a path means, and what the answer's head says.
//!
//! All decisions are pure functions; the disk is one small trait with one implementation. Nothing here
//! knows requests, routes or sessions: `proxy::files` carries these decisions out.
//!
//! | file | holds |
//! | --- | --- |
//! | `place` | the path on disk that a request's path means |
//! | `resolve` | `try_files` and `index` |
//! | `disk` | opening a file, following symbolic links or not |
//! | `conditions` | `If-Match`, `If-None-Match` and their like (RFC 9110 section 13) |
//! | `ranges` | parts of a file (RFC 9110 section 14) |
//! | `validators` | `ETag` and `Last-Modified` |
//! | `types` | media types by the end of a name |
//! | `expires` | how long an answer stays fresh |
//! | `listing` | the content of a directory |
//! | `body` | the bytes of a file, a piece at a time |
//! | `time` | dates as HTTP and listings write them |

pub mod body;
pub mod conditions;
pub mod disk;
pub mod expires;
pub mod listing;
pub mod place;
pub mod ranges;
pub mod resolve;
pub mod time;
pub mod types;
mod types_table;
pub mod validators;
