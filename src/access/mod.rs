//! Who may come in, as nginx's modules of access and limits decide it: pure functions of addresses,
//! texts, counters and `now`.
//!
//! Knows neither requests nor routes; `proxy/guards` asks.
//!
//! | file | holds |
//! | --- | --- |
//! | `rules` | `allow` and `deny` |
//! | `credentials` | what a client says of itself: name and password |
//! | `user_file` | files of users |
//! | `password` | passwords, and what is kept of them |
//! | `rate` | how many requests in how much time |
//! | `connections` | how many requests at a time |
//! | `real_ip` | who a client is, where a proxy tells it |
//! | `referer` | from which pages requests are welcome |
//! | `secure_link` | links that only who was given them may use |
//! | `pace` | how fast an answer may go |
//! | `lru` | counters in bounded memory |

pub mod connections;
pub mod credentials;
mod lru;
pub mod pace;
pub mod password;
pub mod rate;
pub mod real_ip;
pub mod referer;
pub mod rules;
pub mod secure_link;
pub mod user_file;

/// The methods that nginx knows, and `limit_except` takes.
pub const METHODS: [&str; 14] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "MKCOL",
    "COPY",
    "MOVE",
    "OPTIONS",
    "PROPFIND",
    "PROPPATCH",
    "LOCK",
    "UNLOCK",
    "PATCH",
];
