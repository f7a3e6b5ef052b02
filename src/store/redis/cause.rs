//! Why a connection is not used, and what an error of a command says of it: the only place that
//! judges errors.

use std::fmt;

use redis::{ErrorKind, RedisError};

/// Why there is no connection, or no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Disconnected,
    Unresponsive,
    /// What the server is instead.
    NotMaster(&'static str),
    /// READONLY, LOADING, MASTERDOWN, UNBLOCKED: the server stopped serving as a master, or does
    /// not serve yet.
    NotServing(String),
    TooOld,
    /// The server knows us not, or not by this password; or there is no password to tell.
    Login(String),
    /// Fewer replicas than this confirmed a write.
    Unconfirmed(u32),
    /// The master is another server now.
    Moved(String),
    Failed(String),
}

impl Cause {
    /// What a failed attempt to connect, or to ask on a new connection, says.
    pub(super) fn of(error: &RedisError) -> Self {
        match (error.kind(), not_serving(error)) {
            (ErrorKind::RESP3NotSupported, _) => Self::TooOld,
            (_, Some(code)) => Self::NotServing(code.to_owned()),
            (_, None) => Self::Failed(error.to_string()),
        }
    }

    /// Whether an error of a command means that its connections must be replaced.
    pub(super) fn of_command(error: &RedisError) -> Option<Self> {
        if let Some(code) = not_serving(error) {
            return Some(Self::NotServing(code.to_owned()));
        }
        // Nothing that is ours times out inside the crate, so that every error of input and
        // output is one of the connection.
        (error.is_unrecoverable_error() || error.is_io_error()).then_some(Self::Disconnected)
    }
}

/// The code of an answer by a server that is not, or no more, a master that serves.
fn not_serving(error: &RedisError) -> Option<&'static str> {
    const CODES: [&str; 4] = ["READONLY", "LOADING", "MASTERDOWN", "UNBLOCKED"];
    let is_code = |code: &&str| error.code() == Some(*code);
    // Before Redis 7, a script's error carries that of its command in its text.
    let is_in_script = |code: &&str| {
        let detail = error.detail().unwrap_or_default();
        error.code() == Some("ERR") && detail.contains(&format!(" -{code} "))
    };
    CODES.into_iter().find(|code| is_code(code) || is_in_script(code))
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected => f.write_str("connection lost"),
            Self::Unresponsive => f.write_str("no answer"),
            Self::NotMaster(what) => write!(f, "the server is {what}, not a master"),
            Self::NotServing(code) => write!(f, "the server answered {code}"),
            Self::TooOld => f.write_str("the server knows no RESP3: Redis 6 or newer is needed"),
            Self::Unconfirmed(replicas) => write!(
                f,
                "not confirmed by {replicas} replicas (require_replicas): attach replicas, or \
                 require fewer"
            ),
            Self::Moved(address) => write!(f, "the master is {address} now"),
            Self::Login(error) | Self::Failed(error) => f.write_str(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_a_demoted_or_loading_server_replace_the_connection_and_others_do_not() {
        let server = |code: &str, detail: &str| {
            redis::make_extension_error(code.to_owned(), Some(detail.to_owned()))
        };
        let broken = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        let timed_out = RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        for (error, expected) in [
            (broken, Some(Cause::Disconnected)),
            (timed_out, Some(Cause::Disconnected)),
            (server("READONLY", "a replica"), Some(Cause::NotServing("READONLY".to_owned()))),
            (server("UNBLOCKED", "demoted"), Some(Cause::NotServing("UNBLOCKED".to_owned()))),
            (
                server("ERR", "Error running script: @user_script:1: -READONLY You can't write"),
                Some(Cause::NotServing("READONLY".to_owned())),
            ),
            (server("OOM", "command not allowed when used memory > 'maxmemory'"), None),
            (server("WRONGTYPE", "not a string"), None),
            (server("MISCONF", "unable to persist on disk"), None),
        ] {
            assert_eq!(Cause::of_command(&error), expected, "{error}");
        }
    }
}
