//! The access list: the contract under exactly the user of the documentation, and the check of
//! what a user is refused.

use super::*;
use crate::store::credentials::{Password, Secret};
use crate::store::redis::advice::tests::wanted;
use crate::store::redis::rights::{RIGHTS, Refused, acl_rules, refused};

/// A server that nobody may use but `cloakroom`, with these rules, and an operator.
struct Guarded {
    server: Server,
}

impl Guarded {
    fn start(options: &'static [&'static str], rules: &[String]) -> Self {
        let server = Server::start(options);
        let operator =
            server.cli(&["ACL", "SETUSER", "operator", "on", ">op", "~*", "&*", "+@all"]);
        assert_eq!(operator, "OK");
        let guarded = Self { server };
        guarded.allow(rules);
        assert_eq!(guarded.cli(&["ACL", "SETUSER", "default", "off"]), "OK");
        guarded
    }

    fn cli(&self, arguments: &[&str]) -> String {
        let login = ["--user", "operator", "--pass", "op", "--no-auth-warning"];
        self.server.cli(&[&login, arguments].concat())
    }

    /// Gives the user these rules and no others.
    fn allow(&self, rules: &[String]) {
        let mut line = vec!["ACL", "SETUSER", "cloakroom", "reset", "on", ">hunter2"];
        line.extend(rules.iter().map(String::as_str));
        assert_eq!(self.cli(&line), "OK", "{line:?}");
    }

    /// What was refused, but for the one question that a server may refuse.
    fn noted(&self) -> Vec<String> {
        let log = self.cli(&["ACL", "LOG"]);
        let lines = log.lines().zip(log.lines().skip(1));
        let objects = lines.filter(|(field, _)| *field == "object").map(|(_, value)| value);
        objects.filter(|object| *object != "config|get").map(str::to_owned).collect()
    }

    fn settings(&self) -> RedisSettings {
        let mut settings = settings(&self.server.url());
        settings.login.username = Some("cloakroom".to_owned());
        settings.login.password = Some(Secret::Given(Password::new("hunter2".to_owned())));
        settings
    }

    fn store(&self) -> RedisStore {
        RedisStore::open(&self.settings(), LEASE).expect("valid settings").patient()
    }

    async fn connection(&self) -> redis::aio::MultiplexedConnection {
        let endpoint = Endpoint::new(&self.settings()).expect("valid settings");
        let client = endpoint.client("127.0.0.1", self.server.port);
        client.open(redis::AsyncConnectionConfig::new()).await.expect("the server answers")
    }
}

fn rules() -> Vec<String> {
    acl_rules(&Namespace::parse("test").expect("a valid namespace"))
}

async fn bench() -> Bench {
    let guarded = Guarded::start(IN_MEMORY, &rules());
    let store = guarded.store();
    store.start().await;
    Bench { store: Arc::new(store), elapse: Elapse::Really, keep_alive: Box::new(guarded.server) }
}

mod suite {
    crate::store::contract::suite!(super::bench);
}

/// With a replica durable writes wait, and with one that must confirm the heartbeat writes.
#[tokio::test]
async fn replicas_are_waited_for_under_the_access_list() {
    let (guarded, replica) = (Guarded::start(IN_MEMORY, &rules()), Server::start(IN_MEMORY));
    replica.cli(&["CONFIG", "SET", "masteruser", "operator"]);
    replica.cli(&["CONFIG", "SET", "masterauth", "op"]);
    replica.cli(&["REPLICAOF", "127.0.0.1", &guarded.server.port.to_string()]);
    let began = Instant::now();
    while !guarded.cli(&["INFO", "replication"]).contains("state=online") {
        assert!(began.elapsed() < Duration::from_secs(20), "the replica does not come online");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut settings = guarded.settings();
    settings.require_replicas = 1;
    let store = RedisStore::open(&settings, LEASE).expect("valid settings").patient();
    store.start().await;
    becomes(&store, Health::Up, Duration::from_secs(10)).await;
    assert_eq!(store.create(key(1), b"one", HOUR).await, Created::Created);
    let replaced = store.replace(key(1), 1, None, b"two", HOUR.into(), Durability::Replica).await;
    assert_eq!(replaced, Replaced::Replaced);
    assert_eq!(guarded.noted(), Vec::<String>::new());
}

/// A key that nobody writes.
const NEVER: &str = "test:never";

#[tokio::test]
async fn nothing_is_refused_to_the_user_of_the_documentation() {
    let guarded = Guarded::start(IN_MEMORY, &rules());
    let all = refused(&guarded.connection().await, NEVER, true).await;
    assert_eq!(all, Refused::default());
    assert_eq!(guarded.noted(), Vec::<String>::new(), "nor does the server note anything");
    assert_eq!(guarded.cli(&["KEYS", "*"]), "", "trying leaves nothing behind");
    assert_eq!(guarded.cli(&["CLIENT", "LIST"]).matches("name=not").count(), 0);
}

#[tokio::test]
async fn each_right_that_is_missing_is_named() {
    let guarded = Guarded::start(IN_MEMORY, &rules());
    for right in &RIGHTS {
        let rule = format!("+{}", right.rule);
        let without: Vec<_> = rules().into_iter().filter(|other| *other != rule).collect();
        assert_eq!(without.len(), rules().len() - 1);
        guarded.allow(&without);
        // A changed password or user ends no connection, but to begin anew costs nothing.
        let found = refused(&guarded.connection().await, NEVER, true).await;
        let expected = Refused { commands: vec![right.rule], keys: false };
        assert_eq!(found, expected, "without {rule}");
    }
    for keys in ["~other:*", "%R~test:*"] {
        let rules = rules().into_iter();
        let swap = |rule: String| if rule == "~test:*" { keys.to_owned() } else { rule };
        guarded.allow(&rules.map(swap).collect::<Vec<_>>());
        let found = refused(&guarded.connection().await, NEVER, true).await;
        assert_eq!(found, Refused { commands: vec![], keys: true }, "{keys}");
    }
}

#[tokio::test]
async fn a_server_that_tells_little_is_advised_on_what_it_tells() {
    let rules: Vec<_> =
        rules().into_iter().filter(|rule| rule != "+info" && rule != "+get").collect();
    let guarded = Guarded::start(IN_MEMORY, &rules);
    let asked = advice::ask(&guarded.connection().await, &wanted()).await.expect("a connection");
    let advice = advice::advise(&asked, &wanted());
    assert_eq!(advice.len(), 1, "{advice:?}");
    assert!(advice[0].contains("lacks +get +info:"), "{advice:?}");
}

#[tokio::test]
async fn a_member_of_a_cluster_without_slots_is_advised_on() {
    let server = Server::start(&["--save", "", "--appendonly", "yes", "--cluster-enabled", "yes"]);
    let endpoint = Endpoint::new(&settings(&server.url())).expect("valid settings");
    let client = endpoint.client("127.0.0.1", server.port);
    let connection = client.open(redis::AsyncConnectionConfig::new()).await.expect("it answers");
    let in_cluster = advice::Wanted { is_cluster: true, ..wanted() };
    for (wanted, expected) in [
        (wanted(), vec!["write redis+cluster://"]),
        (in_cluster, vec!["cluster_state:fail", "16384 of 16384 slots"]),
    ] {
        let asked = advice::ask(&connection, &wanted).await.expect("a connection");
        let advice = advice::advise(&asked, &wanted);
        assert_eq!(advice.len(), expected.len(), "{advice:?}");
        for (advice, expected) in advice.iter().zip(expected) {
            assert!(advice.contains(expected), "{advice}");
        }
    }
}
