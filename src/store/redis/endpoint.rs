//! How servers are reached: address, socket, credentials. Whoever finds out where a server is
//! (the URL, a Sentinel, a cluster) asks here for a client of that address.
//!
//! The stream is ours, and redis-rs speaks over it. The crate's own way leaves Nagle's algorithm
//! on and resolves, connects and verifies by one name.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, RedisConnectionInfo};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Settings;
use super::cause::Cause;
use super::url::{Address, Kind};
use crate::store::StoreError;
use crate::store::credentials::{Login, Secret};

const TCP_KEEPALIVE: Duration = Duration::from_secs(5);
/// How long the kernel resends before it drops the connection.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(2);

/// What is common to all servers of a store.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    addresses: Vec<(String, u16)>,
    login: Login,
    sentinel: Login,
    database: u16,
}

impl Endpoint {
    /// Connects nothing.
    ///
    /// # Errors
    /// `Settings`, where the settings cannot be used.
    pub(super) fn new(settings: &Settings) -> Result<Self, StoreError> {
        let url = &settings.url;
        if url.has_tls() {
            return Err(StoreError::Settings("TLS (rediss://) is not supported yet".to_owned()));
        }
        let inner = Inner {
            kind: url.kind().clone(),
            addresses: url.addresses().to_vec(),
            login: Login {
                username: settings.login.username.clone().or_else(|| url.login().username.clone()),
                password: settings.login.password.clone().or_else(|| url.login().password.clone()),
            },
            sentinel: settings.sentinel.clone(),
            database: url.database(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What [`addresses`](Self::addresses) are.
    pub(super) fn kind(&self) -> &Kind {
        &self.inner.kind
    }

    /// The addresses that the URL names, at least one.
    pub(super) fn addresses(&self) -> &[(String, u16)] {
        &self.inner.addresses
    }

    /// For a server that holds data. `host` is a name or an IP address, IPv6 without brackets.
    pub(super) fn client(&self, host: &str, port: u16) -> Client {
        self.client_as(host, port, Who::Server)
    }

    /// For a Sentinel, which has users of its own and no databases.
    pub(super) fn sentinel(&self, host: &str, port: u16) -> Client {
        self.client_as(host, port, Who::Sentinel)
    }

    fn client_as(&self, host: &str, port: u16, who: Who) -> Client {
        Client { endpoint: self.inner.clone(), host: host.to_owned(), port, who }
    }
}

#[derive(Clone, Copy, Debug)]
enum Who {
    Server,
    Sentinel,
}

/// Opens connections to one server.
#[derive(Clone, Debug)]
pub(super) struct Client {
    endpoint: Arc<Inner>,
    host: String,
    port: u16,
    who: Who,
}

impl Client {
    /// Connects and says HELLO 3, with the password as it is now. Without a deadline: that is the
    /// caller's. The connection's task runs on the calling runtime and ends once nobody has the
    /// connection any more and every command was answered, or the connection broke.
    pub(super) async fn open(
        &self,
        config: AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, Cause> {
        let hello = self.hello()?;
        let stream = connect(&self.host, self.port).await?;
        let (connection, driver) = MultiplexedConnection::new_with_config(&hello, stream, config)
            .await
            .map_err(|error| match error.code() {
                Some(code @ ("WRONGPASS" | "NOAUTH")) => self.refused(code),
                _ => Cause::of(&error),
            })?;
        tokio::spawn(driver);
        Ok(connection)
    }

    /// `host:port`, for messages.
    pub(super) fn address(&self) -> String {
        Address(&self.host, self.port).to_string()
    }

    fn login(&self) -> &Login {
        match self.who {
            Who::Server => &self.endpoint.login,
            Who::Sentinel => &self.endpoint.sentinel,
        }
    }

    fn hello(&self) -> Result<RedisConnectionInfo, Cause> {
        let login = self.login();
        // Without CLIENT SETINFO: Redis 7.2 and later would note in its log every connection of a
        // user who lacks it, and before 7.2 nobody can be given it.
        let mut hello = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name();
        if let Some(password) = &login.password {
            let password = password.read().map_err(Cause::Login)?;
            hello = hello.set_password(password.expose());
            if let Some(username) = &login.username {
                hello = hello.set_username(username);
            }
        }
        Ok(match self.who {
            Who::Server => hello.set_db(self.endpoint.database.into()),
            Who::Sentinel => hello,
        })
    }

    /// In our words: the server's do not say what to look at.
    fn refused(&self, code: &str) -> Cause {
        let login = self.login();
        let whose = match self.who {
            Who::Server => "",
            Who::Sentinel => "sentinel.",
        };
        Cause::Login(match &login.password {
            None => format!("{code}: the server wants a password; set {whose}password_file"),
            Some(password) => {
                let user = login.username.as_deref().unwrap_or("default");
                let place = match password {
                    Secret::Given(_) => "the password in the URL".to_owned(),
                    Secret::File(path) => format!("{whose}password_file {}", path.display()),
                };
                format!("{code}: the server refuses user `{user}`; check the user and {place}")
            }
        })
    }
}

/// To whichever address of the host answers first.
async fn connect(host: &str, port: u16) -> Result<TcpStream, Cause> {
    let failed = |error: std::io::Error| Cause::Failed(format!("{}: {error}", Address(host, port)));
    let mut attempts = JoinSet::new();
    for address in tokio::net::lookup_host((host, port)).await.map_err(failed)? {
        attempts.spawn(TcpStream::connect(address));
    }
    let mut last = None;
    while let Some(attempt) = attempts.join_next().await {
        match attempt.map_err(std::io::Error::other).and_then(|connected| connected) {
            Ok(stream) => {
                let socket = SockRef::from(&stream);
                let keepalive =
                    TcpKeepalive::new().with_time(TCP_KEEPALIVE).with_interval(TCP_KEEPALIVE);
                stream
                    .set_nodelay(true)
                    .and_then(|()| socket.set_tcp_keepalive(&keepalive))
                    .and_then(|()| socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT)))
                    .map_err(failed)?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(
        || Cause::Failed(format!("{}: the name has no address", Address(host, port))),
        failed,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::credentials::Password;
    use crate::store::redis::RedisUrl;

    fn endpoint(url: &str) -> Endpoint {
        let settings = Settings::new(RedisUrl::parse(url).expect("a valid URL"), "test");
        Endpoint::new(&settings).expect("valid settings")
    }

    #[test]
    fn a_server_is_told_user_password_and_database_and_a_sentinel_its_own() {
        let url = "redis+sentinel://alice:hunter2@a/main/3";
        let mut settings = Settings::new(RedisUrl::parse(url).expect("a valid URL"), "test");
        settings.sentinel.password = Some(Secret::Given(Password::new("other".to_owned())));
        let endpoint = Endpoint::new(&settings).expect("valid settings");
        let told = |client: Client| {
            let hello = client.hello().expect("no file");
            let text = |text: Option<&str>| text.map(str::to_owned);
            (text(hello.username()), text(hello.password()), hello.db())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(told(endpoint.client("b", 1)), (some("alice"), some("hunter2"), 3));
        assert_eq!(told(endpoint.sentinel("a", 1)), (None, some("other"), 0));
        assert!(!format!("{:?}", endpoint.client("b", 1)).contains("hunter2"));
    }

    #[test]
    fn a_refused_login_says_what_to_look_at() {
        let refused = |endpoint: Endpoint| endpoint.client("a", 1).refused("WRONGPASS").to_string();
        let nobody = refused(endpoint("redis://a"));
        assert!(nobody.contains("set password_file"), "{nobody}");
        let given = refused(endpoint("redis://alice:hunter2@a"));
        assert!(given.contains("user `alice`; check the user and the password in the URL"));
        assert!(!given.contains("hunter2"));
        let mut settings = Settings::new(RedisUrl::parse("redis://a").expect("valid"), "test");
        settings.login.password = Some(Secret::File("/etc/redis.password".into()));
        let filed = refused(Endpoint::new(&settings).expect("valid settings"));
        assert!(filed.contains("check the user and password_file /etc/redis.password"), "{filed}");
    }
}
