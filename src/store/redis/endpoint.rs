//! How servers are reached: address, socket, credentials. Whoever finds out where a server is
//! (the URL, a Sentinel, a cluster) asks here for a client of that address.
//!
//! The stream is ours, and redis-rs speaks over it. The crate's own way leaves Nagle's algorithm
//! on and resolves, connects and verifies by one name.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, RedisConnectionInfo, RedisError, RedisResult};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::RedisSettings;
use super::cause::Cause;
use super::tls::{Connector, Tls};
use super::url::{Address, UrlKind};
use crate::store::StoreError;
use crate::store::credentials::{Login, Secret};

const TCP_KEEPALIVE: Duration = Duration::from_secs(5);
/// How long the kernel resends before it drops the connection.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(2);
/// What a probe of one address may take.
const PROBE: Duration = Duration::from_secs(2);

/// What is common to all servers of a store.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: UrlKind,
    addresses: Vec<(String, u16)>,
    login: Login,
    sentinel: Login,
    database: u16,
    tls: Option<ArcSwap<Connector>>,
    tls_settings: Tls,
}

impl Endpoint {
    /// Connects nothing.
    ///
    /// # Errors
    /// `Settings`, where the settings cannot be used.
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, StoreError> {
        let url = &settings.url;
        let connector = || Connector::new(&settings.tls).map_err(StoreError::Settings);
        let tls = if url.has_tls() { Some(ArcSwap::from_pointee(connector()?)) } else { None };
        let inner = Inner {
            kind: url.kind().clone(),
            addresses: url.addresses().to_vec(),
            login: Login {
                username: settings.login.username.clone().or_else(|| url.login().username.clone()),
                password: settings.login.password.clone().or_else(|| url.login().password.clone()),
            },
            sentinel: settings.sentinel.clone(),
            database: url.database(),
            tls,
            tls_settings: settings.tls.clone(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Reads the files of TLS again, for connections that are opened from now on. Passwords are
    /// read for every connection anyway.
    ///
    /// # Errors
    /// Says which file is wrong; what was read before stays.
    pub(super) fn reload(&self) -> Result<(), String> {
        if let Some(tls) = &self.inner.tls {
            tls.store(Arc::new(Connector::new(&self.inner.tls_settings)?));
        }
        Ok(())
    }

    /// Whether servers would take us as the files are now: connects to whichever address of the URL
    /// answers first.
    ///
    /// # Errors
    /// Why none did.
    pub(super) async fn probe(&self) -> Result<(), Cause> {
        let mut last = Cause::Unresponsive;
        for (host, port) in self.addresses() {
            let client = match self.kind() {
                UrlKind::Single | UrlKind::Cluster => self.client(host, *port),
                UrlKind::Sentinel { .. } => self.sentinel(host, *port),
            };
            match tokio::time::timeout(PROBE, client.open(AsyncConnectionConfig::new())).await {
                Ok(Ok(_connection)) => return Ok(()),
                Ok(Err(cause)) => last = cause,
                Err(_elapsed) => {}
            }
        }
        Err(last)
    }

    /// What [`addresses`](Self::addresses) are.
    pub(super) fn kind(&self) -> &UrlKind {
        &self.inner.kind
    }

    /// The addresses that the URL names, at least one.
    pub(super) fn addresses(&self) -> &[(String, u16)] {
        &self.inner.addresses
    }

    /// For a server that holds data. `host` is a name or an IP address, IPv6 without brackets.
    pub(super) fn client(&self, host: &str, port: u16) -> Dialer {
        self.client_as(host, port, Who::Server)
    }

    /// For a Sentinel, which has users of its own and no databases.
    pub(super) fn sentinel(&self, host: &str, port: u16) -> Dialer {
        self.client_as(host, port, Who::Sentinel)
    }

    fn client_as(&self, host: &str, port: u16, who: Who) -> Dialer {
        Dialer { endpoint: self.inner.clone(), host: host.to_owned(), port, who }
    }
}

#[derive(Clone, Copy, Debug)]
enum Who {
    Server,
    Sentinel,
}

/// Opens connections to one server.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    endpoint: Arc<Inner>,
    host: String,
    port: u16,
    who: Who,
}

impl Dialer {
    /// Connects and says HELLO 3, with the password as it is now. Without a deadline: that is the
    /// caller's. The connection's task runs on the calling runtime and ends once nobody has the
    /// connection any more and every command was answered, or the connection broke.
    pub(super) async fn open(
        &self,
        config: AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, Cause> {
        let hello = self.hello()?;
        let stream = self.connect().await?;
        let Some(tls) = &self.endpoint.tls else {
            return speak(&hello, stream, config).await.map_err(|error| self.explain(&error));
        };
        let tls = tls.load_full();
        let stream = tls.connect(stream, &self.host).await?;
        speak(&hello, stream, config).await.map_err(|error| match io_error(&error) {
            // In TLS 1.3 a server looks at our certificate once we are done.
            Some(error) => tls.explain(error, &self.host),
            None => self.explain(&error),
        })
    }

    fn explain(&self, error: &RedisError) -> Cause {
        match error.code() {
            Some(code @ ("WRONGPASS" | "NOAUTH")) => self.refused(code),
            _ => Cause::of(error),
        }
    }

    /// To whichever address of the host answers first.
    async fn connect(&self) -> Result<TcpStream, Cause> {
        let failed = |error: std::io::Error| Cause::Failed(format!("{}: {error}", self.address()));
        let mut attempts = JoinSet::new();
        let host = (self.host.as_str(), self.port);
        for address in tokio::net::lookup_host(host).await.map_err(failed)? {
            attempts.spawn(TcpStream::connect(address));
        }
        let mut last = None;
        while let Some(attempt) = attempts.join_next().await {
            match attempt.map_err(std::io::Error::other).and_then(|connected| connected) {
                Ok(stream) => return prepare(stream).map_err(failed),
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or_else(
            || Cause::Failed(format!("{}: the name has no address", self.address())),
            failed,
        ))
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

/// No waiting for more data to send, and an end to a peer that is gone.
fn prepare(stream: TcpStream) -> std::io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    let keepalive = TcpKeepalive::new().with_time(TCP_KEEPALIVE).with_interval(TCP_KEEPALIVE);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    Ok(stream)
}

/// HELLO and what else there is to say first.
async fn speak(
    hello: &RedisConnectionInfo,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    config: AsyncConnectionConfig,
) -> RedisResult<MultiplexedConnection> {
    let (connection, driver) =
        MultiplexedConnection::new_with_config(hello, stream, config).await?;
    tokio::spawn(driver);
    Ok(connection)
}

/// The crate keeps what the socket said behind a pointer of its own.
fn io_error(error: &RedisError) -> Option<&std::io::Error> {
    let source = std::error::Error::source(error)?;
    source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::credentials::Password;
    use crate::store::redis::RedisUrl;

    fn endpoint(url: &str) -> Endpoint {
        let settings = RedisSettings::new(RedisUrl::parse(url).expect("a valid URL"), "test");
        Endpoint::new(&settings).expect("valid settings")
    }

    #[test]
    fn a_server_is_told_user_password_and_database_and_a_sentinel_its_own() {
        let url = "redis+sentinel://alice:hunter2@a/main/3";
        let mut settings = RedisSettings::new(RedisUrl::parse(url).expect("a valid URL"), "test");
        settings.sentinel.password = Some(Secret::Given(Password::new("other".to_owned())));
        let endpoint = Endpoint::new(&settings).expect("valid settings");
        let told = |client: Dialer| {
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
        let mut settings = RedisSettings::new(RedisUrl::parse("redis://a").expect("valid"), "test");
        settings.login.password = Some(Secret::File("/etc/redis.password".into()));
        let filed = refused(Endpoint::new(&settings).expect("valid settings"));
        assert!(filed.contains("check the user and password_file /etc/redis.password"), "{filed}");
    }
}
