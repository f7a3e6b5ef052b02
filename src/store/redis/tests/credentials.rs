//! Passwords that change while we run.

use std::io;
use std::sync::Mutex;

use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::store::credentials::Secret;

/// What was logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no panic")).into_owned()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Until the text was logged.
async fn logged(lines: &Lines, text: &str) {
    let began = Instant::now();
    while !lines.text().contains(text) {
        assert!(began.elapsed() < Duration::from_secs(20), "no {text:?} in {}", lines.text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn set_password(server: &Server, password: &str) {
    let rule = format!(">{password}");
    let rules = ["ACL", "SETUSER", "cloakroom", "reset", "on", &rule, "+@all", "~*"];
    assert_eq!(server.cli(&rules), "OK");
}

/// A server with a user whose password is in a file, the file, and a store that uses both.
fn guarded() -> (Server, std::path::PathBuf, RedisStore) {
    let server = Server::start(IN_MEMORY);
    set_password(&server, "first");
    let file = server.directory.path().join("password");
    std::fs::write(&file, "first\n").expect("written");
    let mut settings = settings(&server.url());
    settings.login.username = Some("cloakroom".to_owned());
    settings.login.password = Some(Secret::File(file.clone()));
    let store = RedisStore::open(&settings, LEASE).expect("valid settings");
    (server, file, store)
}

const CAUSE: &str = "WRONGPASS: the server refuses user `cloakroom`; check the user and \
                     password_file";

#[tokio::test]
async fn a_password_that_changed_is_an_outage_that_says_so_and_ends_with_the_file_mended() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let (server, file, store) = guarded();
    let store = store.patient();
    store.start().await;
    assert_eq!(store.create(key(1), b"one", HOUR).await, Created::Created);

    set_password(&server, "second");
    assert_eq!(store.load(key(1)).await, found(1, b"one"), "what is connected stays so");
    store.reload().await;
    assert!(lines.text().contains("does not take the credentials as they are now"));
    assert!(lines.text().contains(CAUSE), "{}", lines.text());
    assert_eq!(store.load(key(1)).await, found(1, b"one"), "also at a reload");

    server.cli(&["CLIENT", "KILL", "USER", "cloakroom"]);
    becomes(&store, Health::Down, RECOVERY).await;
    logged(&lines, &format!("cause={CAUSE}")).await;
    is_unavailable_at_once(&store).await;

    std::fs::write(&file, "second").expect("written");
    becomes(&store, Health::Up, Duration::from_secs(10)).await;
    assert_eq!(store.load(key(1)).await, found(1, b"one"));
    store.reload().await;
    assert!(lines.text().contains("the store takes the credentials as they are now"));
    for password in ["first", "second"] {
        assert!(!lines.text().contains(password), "{}", lines.text());
    }
}

#[tokio::test]
async fn a_password_file_that_is_gone_is_an_outage_that_names_it() {
    let (server, file, store) = guarded();
    std::fs::remove_file(&file).expect("it is there");
    let cause = store.endpoint.probe().await.expect_err("no password").to_string();
    assert!(cause.contains("password_file ") && cause.contains("No such file"), "{cause}");
    store.start().await;
    becomes(&store, Health::Down, RECOVERY).await;
    std::fs::write(&file, "first\r\n").expect("written");
    becomes(&store, Health::Up, Duration::from_secs(10)).await;
    assert!(server.cli(&["CLIENT", "LIST"]).contains("user=cloakroom"));
}
