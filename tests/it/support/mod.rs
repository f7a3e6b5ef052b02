//! The harness of the end-to-end tests: real applications, a real Redis, a scripted origin, a raw
//! client, a small browser, and the proxy between them.
//!
//! Nothing here uses Cloakroom's own cookie, HTTP or TLS code, so that both can't be wrong in the
//! same way. Whatever is waited for has an end ([`PATIENCE`]) and says what it waited for.

#![allow(dead_code, reason = "a harness offers more than the tests of one day use")]

pub mod admin;
pub mod apps;
pub mod authority;
pub mod browser;
pub mod chromium;
pub mod client;
pub mod counts;
pub mod dns;
pub mod frames;
pub mod h2;
pub mod h2_origin;
pub mod http;
pub mod in_process;
pub mod jar;
pub mod master;
pub mod nginx;
pub mod origin;
pub mod pebble;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod set_cookie;
pub mod shop;
pub mod spread;
pub mod tls;
pub mod watch;

use std::fmt::Debug;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// How long a test waits for anything at all. Two cores may be busy with much else.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks a node until it says what is expected, for half of the lease: of what was acknowledged on
/// another node it hears a moment later (PROTOCOL.md 34), well before it would ask by itself.
pub async fn soon<T: PartialEq + Debug>(expected: T, what: &str, mut ask: impl AsyncFnMut() -> T) {
    let deadline = Instant::now() + Duration::from_millis(500);
    loop {
        let found = ask().await;
        if found == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {found:?} instead of {expected:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Awaits `future`; a test that would hang fails instead, naming what it waited for.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

/// A port of 127.0.0.1 that was free a moment ago. Whoever binds it must be ready to try again.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("the loopback interface has free ports")
        .port()
}

/// An address of this machine.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
