//! What the user of a server must be allowed: the one list of it, from which come the line for
//! `ACL SETUSER` and the test of what is refused.
//!
//! HELLO and AUTH are allowed to everybody. Commands within scripts need the user's rights as well
//! as the script itself.

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use tokio::task::JoinSet;

use super::layout::Namespace;

/// A command, and a use of it that changes nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Right {
    /// As `ACL SETUSER` takes it.
    pub(super) rule: &'static str,
    /// Needed in clusters only.
    in_cluster: bool,
    /// `KEY` stands for a key of ours that never exists.
    harmless: &'static [&'static str],
}

const KEY: &str = "KEY";

/// Everything that we ever send or have a script do, in the order of the documentation.
pub(super) const RIGHTS: [Right; 25] = [
    right("ping", &["PING"]),
    right("get", &["GET", KEY]),
    right("set", &["SET", KEY, "x", "XX", "PX", "1"]),
    right("getrange", &["GETRANGE", KEY, "0", "0"]),
    right("exists", &["EXISTS", KEY]),
    right("unlink", &["UNLINK", KEY]),
    right("pttl", &["PTTL", KEY]),
    right("pexpire", &["PEXPIRE", KEY, "1"]),
    right("time", &["TIME"]),
    right("zadd", &["ZADD", KEY, "XX", "0", "x"]),
    right("zrem", &["ZREM", KEY, "x"]),
    right("zcard", &["ZCARD", KEY]),
    right("zscore", &["ZSCORE", KEY, "x"]),
    right("zrange", &["ZRANGE", KEY, "0", "0"]),
    right("zrangebyscore", &["ZRANGEBYSCORE", KEY, "0", "0"]),
    // No script has this digest.
    right("evalsha", &["EVALSHA", "0000000000000000000000000000000000000000", "0"]),
    right("script|load", &["SCRIPT", "LOAD", "return 1"]),
    right("role", &["ROLE"]),
    right("wait", &["WAIT", "0", "1"]),
    right("info", &["INFO", "server"]),
    // No name of a connection has a space.
    right("client|setname", &["CLIENT", "SETNAME", "not a name"]),
    // The connection that asks is not tracked.
    right("client|tracking", &["CLIENT", "TRACKING", "OFF"]),
    in_cluster("cluster|info", &["CLUSTER", "INFO"]),
    in_cluster("cluster|slots", &["CLUSTER", "SLOTS"]),
    in_cluster("asking", &["ASKING"]),
];

const fn right(rule: &'static str, harmless: &'static [&'static str]) -> Right {
    Right { rule, in_cluster: false, harmless }
}

const fn in_cluster(rule: &'static str, harmless: &'static [&'static str]) -> Right {
    Right { rule, in_cluster: true, harmless }
}

/// What follows `ACL SETUSER NAME on >PASSWORD` on a server that holds data.
pub(super) fn acl_rules(namespace: &Namespace) -> Vec<String> {
    let keys = format!("~{}", namespace.pattern());
    let commands = RIGHTS.iter().map(|right| format!("+{}", right.rule));
    ["resetkeys".to_owned(), keys, "resetchannels".to_owned(), "-@all".to_owned()]
        .into_iter()
        .chain(commands)
        .collect()
}

/// The same on a Sentinel.
#[cfg(test)]
pub(super) const SENTINEL_RULES: [&str; 8] = [
    "resetkeys",
    "resetchannels",
    "&+switch-master",
    "&+elected-leader",
    "-@all",
    "+sentinel|get-master-addr-by-name",
    "+sentinel|master",
    "+subscribe",
];

/// What a user is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) commands: Vec<&'static str>,
    /// Whether keys of the namespace are.
    pub(super) keys: bool,
}

/// Tries every command, on a key of ours that this server has the slot of and nobody writes. What
/// the server says to those that are allowed does not matter.
pub(super) async fn refused(
    connection: &MultiplexedConnection,
    key: &str,
    is_cluster: bool,
) -> Refused {
    let mut tries = JoinSet::new();
    let wanted = RIGHTS.iter().enumerate().filter(|(_, right)| is_cluster || !right.in_cluster);
    for (number, right) in wanted {
        let (mut connection, key) = (connection.clone(), key.to_owned());
        tries.spawn(async move {
            let mut pipeline = redis::pipe();
            let command = pipeline.cmd(right.harmless[0]);
            for argument in &right.harmless[1..] {
                command.arg(if *argument == KEY { &key } else { *argument });
            }
            if right.rule == "asking" {
                // It holds for the next command, which must not be another's.
                pipeline.cmd("TIME");
            }
            let outcome = pipeline.exec_async(&mut connection).await;
            (number, outcome.err().and_then(|error| refusal(&error)))
        });
    }
    let mut outcomes = tries.join_all().await;
    outcomes.sort_by_key(|(number, _)| *number);
    let mut refused = Refused::default();
    for (number, refusal) in outcomes {
        match refusal {
            Some(Refusal::Command) => refused.commands.push(RIGHTS[number].rule),
            Some(Refusal::Key) => refused.keys = true,
            None => {}
        }
    }
    refused
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Command,
    Key,
}

/// Whether an access list stands behind an error. The words differ from version to version, but
/// what is said of a command calls it one, and what is said of a key does not.
fn refusal(error: &RedisError) -> Option<Refusal> {
    let is_refusal = error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm);
    let text = error.to_string();
    match text.contains("' command") {
        _ if !is_refusal && !text.contains("NOPERM") => None,
        true => Some(Refusal::Command),
        false => Some(Refusal::Key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(namespace: &str) -> String {
        acl_rules(&Namespace::parse(namespace).expect("a valid namespace")).join(" ")
    }

    #[test]
    fn the_line_has_the_namespace_and_nothing_twice() {
        let rules = rules("shop");
        assert!(rules.starts_with("resetkeys ~shop:* resetchannels -@all +ping +get "), "{rules}");
        let mut names: Vec<_> = RIGHTS.iter().map(|right| right.rule).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RIGHTS.len());
    }

    #[test]
    fn the_documentation_has_the_lines() {
        let path =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations/redis.md");
        let text = std::fs::read_to_string(path).expect("the documentation is there");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for line in [
            format!("ACL SETUSER cloakroom on >… {}", rules("cloakroom")),
            format!("ACL SETUSER cloakroom on >… {}", SENTINEL_RULES.join(" ")),
        ] {
            assert!(text.contains(&line), "docs/operations/redis.md lacks: {line}");
        }
    }

    #[test]
    fn refusals_of_commands_and_of_keys_are_told_apart() {
        let server = |code: &str, detail: &str| {
            redis::make_extension_error(code.to_owned(), Some(detail.to_owned()))
        };
        for (error, expected) in [
            (
                server("NOPERM", "this user has no permissions to run the 'get' command"),
                Some(Refusal::Command),
            ),
            (
                server("NOPERM", "User a has no permissions to run the 'client|id' command"),
                Some(Refusal::Command),
            ),
            (
                server(
                    "NOPERM",
                    "this user has no permissions to run the 'client' command or its subcommand",
                ),
                Some(Refusal::Command),
            ),
            (
                server(
                    "NOPERM",
                    "this user has no permissions to access one of the keys used as arguments",
                ),
                Some(Refusal::Key),
            ),
            (server("NOPERM", "No permissions to access a key"), Some(Refusal::Key)),
            (server("NOSCRIPT", "No matching script"), None),
            (server("MOVED", "1 127.0.0.1:7000"), None),
            (server("ERR", "unknown command"), None),
        ] {
            assert_eq!(refusal(&error), expected, "{error}");
        }
    }
}
