//! Real sockets: TCP and unix.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{ConnectError, Link, Pool, Ways};
use crate::upstream::verdict::Failure;
use crate::upstream::{
    Address, Balance, EndpointSettings, NextUpstream, Protocol, Timeouts, TlsSettings,
    UpstreamSettings,
};

mod identity;
mod pooling;
pub(super) mod tls;
mod transport;

/// An upstream with these endpoints.
fn upstream(addresses: Vec<Address>, tls: Option<TlsSettings>) -> UpstreamSettings {
    UpstreamSettings {
        name: "shop".to_owned(),
        host: None,
        balance: Balance::RoundRobin,
        queue: None,
        protocol: Protocol::Http1,
        endpoints: addresses.into_iter().map(EndpointSettings::new).collect(),
        names: Vec::new(),
        resolved_by: None,
        check: None,
        timeouts: Timeouts::default(),
        next: NextUpstream::default(),
        tls,
    }
}

fn pool(settings: UpstreamSettings, keepalive: usize) -> Pool {
    Pool::new(Arc::new(Ways::new(&[settings]).expect("good settings")), keepalive)
}

/// A listener, and a pool that has it as its only endpoint.
async fn worker(keepalive: usize) -> (TcpListener, Pool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = Address::Inet(listener.local_addr().expect("bound"));
    (listener, pool(upstream(vec![address], None), keepalive))
}

/// Both ends of a new connection.
async fn pair(listener: &TcpListener, pool: &Pool) -> (TcpStream, Link) {
    let (accepted, link) = tokio::join!(listener.accept(), pool.connect_to_known(0));
    (accepted.expect("a connection").0, link.expect("a connection"))
}

/// Reads until something came, or the end.
async fn fill(link: &mut Link) -> usize {
    poll_fn(|cx| link.poll_fill(cx)).await.expect("a connection that works")
}

/// Reads until so much lies in `input`.
async fn fill_to(link: &mut Link, bytes: usize) {
    while link.input().len() < bytes {
        assert_ne!(fill(link).await, 0, "the worker ended");
    }
}

async fn send(link: &mut Link, bytes: &[u8]) {
    link.output().extend_from_slice(bytes);
    poll_fn(|cx| link.poll_flush(cx)).await.expect("a connection that works");
}

/// Waits until the runtime has heard of what its sockets did.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}
