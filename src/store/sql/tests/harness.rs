//! Servers of the tests' own: made in a temporary directory, on a free port of the loopback.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::store::sql::server::{ServerKind, ServerSettings, ServerUrl, Tls};

/// The user of the tests, who owns the databases.
pub(super) const USER: &str = "cloakroom";
pub(super) const PASSWORD: &str = "hunter2";

/// A server, ended when dropped.
pub(super) struct Server {
    pub kind: ServerKind,
    port: u16,
    process: Child,
    directory: TempDir,
    databases: AtomicU64,
}

impl Server {
    pub(super) fn start(kind: ServerKind) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        make(kind, directory.path());
        // Another may take the port before the server has it, which then ends at once.
        for _ in 0..10 {
            let port = free_port();
            if let Some(process) = launch(kind, directory.path(), port) {
                let databases = AtomicU64::new(0);
                let server = Self { kind, port, process, directory, databases };
                server.make_user();
                return server;
            }
        }
        panic!("{kind:?} does not start: {}", log(directory.path()));
    }

    fn make_user(&self) {
        match self.kind {
            ServerKind::Postgres => {
                self.sql("postgres", &format!("CREATE USER {USER} PASSWORD '{PASSWORD}'"));
            }
            ServerKind::MySql => {
                self.sql("", &format!("CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'"));
            }
        }
    }

    /// A new database that the tests' user may do everything in: its name.
    pub(super) fn database(&self) -> String {
        let name = format!("d{}", self.databases.fetch_add(1, Ordering::Relaxed));
        match self.kind {
            ServerKind::Postgres => {
                self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {USER}"));
            }
            ServerKind::MySql => {
                self.sql("", &format!("CREATE DATABASE {name}; GRANT ALL ON {name}.* TO {USER}"));
            }
        }
        name
    }

    pub(super) fn settings(&self, database: &str) -> ServerSettings {
        settings(self.kind, self.port, database)
    }

    /// The same, over TLS with the authority that is named: `ca.pem` is the server's.
    pub(super) fn tls_settings(&self, database: &str, ca: &str) -> ServerSettings {
        let ca = Some(self.directory.path().join(ca));
        ServerSettings { tls: Tls { ca, identity: None }, ..self.settings(database) }
    }

    /// Runs statements as the superuser; what they print.
    pub(super) fn sql(&self, database: &str, sql: &str) -> String {
        let output = self.try_sql(database, sql);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    pub(super) fn try_sql(&self, database: &str, sql: &str) -> Output {
        let port = self.port.to_string();
        let mut client = match self.kind {
            ServerKind::Postgres => {
                let mut psql = Command::new("psql");
                psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"])
                    .args(["-U", "postgres", "-d", database, "-p", &port, "-c", sql]);
                psql
            }
            ServerKind::MySql => {
                let mut mariadb = Command::new("mariadb");
                mariadb
                    .args(["--no-defaults", "-N", "-B", "-h", "127.0.0.1", "-u", "root"])
                    .args(["-P", &port, "-e", sql, database]);
                mariadb
            }
        };
        client.stdin(Stdio::null()).output().expect("the client is installed")
    }

    /// Ends the server as a crash would, and starts it again.
    pub(super) fn kill(&mut self) {
        let children = self.children();
        self.process.kill().expect("a child of ours");
        self.process.wait().expect("a child of ours");
        // PostgreSQL's other processes end by themselves when they notice.
        let began = Instant::now();
        while children.iter().any(|child| is_alive(*child)) {
            assert!(began.elapsed() < Duration::from_secs(30), "children that live on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(super) fn restart(&mut self) {
        let began = Instant::now();
        loop {
            if let Some(process) = launch(self.kind, self.directory.path(), self.port) {
                self.process = process;
                return;
            }
            let log = log(self.directory.path());
            assert!(began.elapsed() < Duration::from_secs(30), "it does not start again: {log}");
        }
    }

    /// Answers questions from now on, on connections that there are too, and refuses to write.
    pub(super) fn takes_no_writes(&self) {
        match self.kind {
            ServerKind::Postgres => {
                self.sql("postgres", "ALTER SYSTEM SET default_transaction_read_only = on");
                self.sql("postgres", "SELECT pg_reload_conf()");
            }
            ServerKind::MySql => drop(self.sql("", "SET GLOBAL read_only = 1")),
        }
    }

    /// Stops all its processes, or lets them go on.
    pub(super) fn signal(&self, signal: &str) {
        for process in [self.process.id()].into_iter().chain(self.children()) {
            let status = Command::new("kill").args([signal, &process.to_string()]).status();
            status.expect("kill is installed");
        }
    }

    fn children(&self) -> Vec<u32> {
        let id = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.unwrap_or_default();
        children.split_whitespace().filter_map(|child| child.parse().ok()).collect()
    }

    /// Asks for passwords from now on.
    pub(super) fn demand_passwords(&self) {
        if self.kind == ServerKind::Postgres {
            let rules = format!(
                "host all {USER} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
            );
            std::fs::write(data(self.directory.path()).join("pg_hba.conf"), rules)
                .expect("our directory");
            self.sql("postgres", "SELECT pg_reload_conf()");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal("-CONT");
        // PostgreSQL's processes end at once, and those that it started with it.
        let signal = match self.kind {
            ServerKind::Postgres => "-QUIT",
            ServerKind::MySql => "-KILL",
        };
        let id = self.process.id().to_string();
        let _ = Command::new("kill").args([signal, &id]).status();
        let _ = self.process.wait();
    }
}

/// A PgBouncer before a server, ended when dropped.
pub(super) struct Pooler {
    process: Child,
    port: u16,
    _directory: TempDir,
}

impl Pooler {
    pub(super) fn start(server: &Server, database: &str, mode: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, port) = (directory.path().join("pgbouncer.ini"), free_port());
        let text = format!(
            "[databases]\n{database} = host=127.0.0.1 port={} user={USER} password={PASSWORD}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = {mode}\ndefault_pool_size = 30\n",
            server.port
        );
        std::fs::write(&file, text).expect("our directory");
        let process = unprivileged(directory.path(), "postgres", Path::new("pgbouncer"))
            .args(["-q".as_ref(), file.as_os_str()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it is installed");
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(30), "the pooler does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { process, port, _directory: directory }
    }

    pub(super) fn settings(&self, database: &str) -> ServerSettings {
        settings(ServerKind::Postgres, self.port, database)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // It has ended already where that fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An address that leads to one server and later to another, which connections that are open do not
/// notice.
pub(super) struct Way {
    port: u16,
    target: Arc<AtomicU16>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Way {
    pub(super) async fn to(server: &Server) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let target = Arc::new(AtomicU16::new(server.port));
        let leads_to = target.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let target = leads_to.load(Ordering::Relaxed);
                tokio::spawn(async move {
                    let far = tokio::net::TcpStream::connect(("127.0.0.1", target)).await;
                    let Ok(mut far) = far else { return };
                    // However it ends: both sides notice.
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { port, target, accepting }
    }

    pub(super) fn leads_to(&self, server: &Server) {
        self.target.store(server.port, Ordering::Relaxed);
    }

    /// The same, by way of this address.
    pub(super) fn settings(&self, direct: &ServerSettings) -> ServerSettings {
        settings(direct.url.kind(), self.port, direct.url.database())
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

pub(super) fn settings(kind: ServerKind, port: u16, database: &str) -> ServerSettings {
    let scheme = match kind {
        ServerKind::Postgres => "postgres",
        ServerKind::MySql => "mysql",
    };
    let plain = match kind {
        ServerKind::Postgres => "sslmode=disable",
        ServerKind::MySql => "ssl-mode=disabled",
    };
    let url = format!("{scheme}://{USER}:{PASSWORD}@127.0.0.1:{port}/{database}?{plain}");
    ServerSettings::new(ServerUrl::parse(&url).expect("a valid URL"))
}

pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

fn data(directory: &Path) -> PathBuf {
    directory.join("data")
}

fn log(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("log")).unwrap_or_default()
}

fn is_alive(process: u32) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}

/// Debian keeps PostgreSQL's programs out of the path, by version.
fn postgres_program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions
        .map(|version| version.path().join("bin").join(name))
        .filter(|program| program.exists())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| name.into())
}

/// A command as the user that the server must run as: neither server runs as root.
fn unprivileged(directory: &Path, user: &str, program: &Path) -> Command {
    let is_root = directory.metadata().expect("our directory").uid() == 0
        || Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if !is_root {
        return Command::new(program);
    }
    let status = Command::new("chown").arg("-R").arg(user).arg(directory).status();
    assert!(status.expect("chown is installed").success());
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups"]).arg(program);
    command
}

fn make(kind: ServerKind, directory: &Path) {
    let data = data(directory);
    certify(directory, "127.0.0.1");
    let output = match kind {
        ServerKind::Postgres => unprivileged(directory, "postgres", &postgres_program("initdb"))
            .args(["--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C"])
            .args(["--no-instructions", "-D"])
            .arg(&data)
            .output(),
        ServerKind::MySql => unprivileged(directory, "mysql", Path::new("mariadb-install-db"))
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .args(["--innodb-log-file-size=8M", "--innodb-data-file-path=ibdata1:12M:autoextend"])
            .arg(format!("--datadir={}", data.display()))
            .output(),
    };
    let output = output.expect("the server is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a certificate for the server, the authority that it is of, and another authority.
fn certify(directory: &Path, name: &str) {
    let write = |file: &str, text: &str| {
        let path = directory.join(file);
        std::fs::write(&path, text).expect("our directory");
        // PostgreSQL uses no key that others can read.
        let owners = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, owners).expect("our file");
    };
    for file in ["other.pem", "ca.pem"] {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, file);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("entropy");
        let issuer = rcgen::CertifiedIssuer::self_signed(params, key).expect("an authority");
        write(file, &issuer.as_ref().pem());
        let key = rcgen::KeyPair::generate().expect("entropy");
        let params = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
        let made = params.signed_by(&key, &issuer).expect("a certificate");
        write("server.pem", &made.pem());
        write("server.key", &key.serialize_pem());
    }
}

/// None where the server ended before it answered.
fn launch(kind: ServerKind, directory: &Path, port: u16) -> Option<Child> {
    let data = data(directory);
    let log = File::create(directory.join("log")).expect("our directory");
    let mut command = match kind {
        ServerKind::Postgres => {
            let mut command = unprivileged(directory, "postgres", &postgres_program("postgres"));
            command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
            for setting in [
                "listen_addresses=127.0.0.1",
                "unix_socket_directories=",
                "fsync=off",
                "shared_buffers=16MB",
                "max_connections=60",
                "autovacuum=off",
                "ssl=on",
            ] {
                command.args(["-c", setting]);
            }
            for (setting, file) in [("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key")]
            {
                let file = directory.join(file);
                command.args(["-c", &format!("{setting}={}", file.display())]);
            }
            command
        }
        ServerKind::MySql => {
            let mut command = unprivileged(directory, "mysql", Path::new("mariadbd"));
            command
                .arg("--no-defaults")
                .arg(format!("--datadir={}", data.display()))
                .arg(format!("--socket={}", directory.join("socket").display()))
                .arg(format!("--pid-file={}", directory.join("pid").display()))
                .arg(format!("--port={port}"))
                .arg(format!("--ssl-cert={}", directory.join("server.pem").display()))
                .arg(format!("--ssl-key={}", directory.join("server.key").display()))
                .args(["--bind-address=127.0.0.1", "--innodb-buffer-pool-size=16M"])
                .args(["--innodb-log-file-size=8M", "--skip-name-resolve"])
                // The end of the process is what is tried, not that of the machine.
                .args(["--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=nosync"]);
            command
        }
    };
    let errors = log.try_clone().expect("a descriptor");
    let mut server =
        command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().expect("installed");
    let began = Instant::now();
    while server.try_wait().expect("a child of ours").is_none() {
        if answers(kind, port) {
            return Some(server);
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{kind:?} does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

fn answers(kind: ServerKind, port: u16) -> bool {
    let port_text = port.to_string();
    if TcpStream::connect(("127.0.0.1", port)).is_err() {
        return false;
    }
    match kind {
        ServerKind::Postgres => {
            let mut ready = Command::new(postgres_program("pg_isready"));
            ready.args(["-q", "-h", "127.0.0.1", "-p", &port_text]);
            ready.status().is_ok_and(|status| status.success())
        }
        // It listens once it is ready.
        ServerKind::MySql => true,
    }
}
