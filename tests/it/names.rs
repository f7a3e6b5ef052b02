//! Names of workers, looked up while the proxy runs (nginx `resolver`, `server … resolve`).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::PATIENCE;
use crate::support::client::Dial;
use crate::support::dns::{A, AAAA, Dns, Mood, SOA, SRV};
use crate::support::in_process::TestClock;
use crate::support::proxy::Proxy;

const NAME: &str = "app.example";

/// Workers on several addresses of this machine, all on one port. Each says which address it has.
struct Hosts {
    port: u16,
    tasks: Vec<JoinHandle<()>>,
}

impl Hosts {
    async fn start(lasts: &[u8]) -> Self {
        let bind = |last: u8, port: u16| TcpListener::bind((host(last), port));
        let (port, listeners) = 'port: loop {
            let first = bind(lasts[0], 0).await.expect("loopback");
            let port = first.local_addr().expect("bound").port();
            let mut listeners = vec![first];
            for last in &lasts[1..] {
                match bind(*last, port).await {
                    Ok(listener) => listeners.push(listener),
                    Err(_) => continue 'port,
                }
            }
            break (port, listeners);
        };
        Self { port, tasks: listeners.into_iter().map(|it| tokio::spawn(serve(it))).collect() }
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn host(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

async fn serve(listener: TcpListener) {
    let own = listener.local_addr().expect("bound").ip().to_string();
    while let Ok((mut stream, _)) = listener.accept().await {
        let own = own.clone();
        tokio::spawn(async move {
            let mut head = Vec::new();
            while stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
                if head.ends_with(b"\r\n\r\n") {
                    head.clear();
                    let length = own.len();
                    let answer =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{own}");
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            }
        });
    }
}

/// A proxy whose routes and upstreams are these.
fn start(clock: &TestClock, upstreams: &str, routes: &str) -> Proxy {
    Proxy::start_at(
        clock,
        &format!(
            "workers: 1\nstate_directory: '{{directory}}'\nstore: memory\n\
             listeners: [{{ address: '127.0.0.1:0' }}]\n{upstreams}\n\
             servers: [{{ names: [_], routes: [{routes}] }}]\n"
        ),
    )
}

/// Requests are passed on to a name.
fn passing(clock: &TestClock, dns: SocketAddr, more: &str, port: u16) -> Proxy {
    let route = format!(
        "{{ path: /, proxy_pass: 'http://$arg_host:{port}', resolver: ['{dns}', ipv6=off{more}], \
         resolver_timeout: 2s }}"
    );
    start(clock, "", &route)
}

async fn get(proxy: &Proxy, target: &str) -> (u16, String) {
    let mut client = Dial::to(proxy.address()).connect().await;
    let answer = client.get("shop.example", target, &[]).await;
    (answer.status, answer.text())
}

/// An upstream with one name.
fn following(clock: &TestClock, dns: SocketAddr, endpoint: &str) -> Proxy {
    let upstreams = format!(
        "upstreams: {{ app: {{ resolver: ['{dns}', ipv6=off], resolver_timeout: 1s, endpoints: [{endpoint}] }} }}"
    );
    start(clock, &upstreams, "{ path: /, upstream: app }")
}

/// Asks until so many requests in a row were answered by these alone, in turn.
async fn served_by(proxy: &Proxy, lasts: &[u8]) {
    let expected: Vec<String> = lasts.iter().map(|last| host(*last).to_string()).collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut seen = BTreeMap::new();
        for _ in 0..2 * lasts.len() {
            *seen.entry(get(proxy, "/").await.1).or_insert(0) += 1;
        }
        if expected.iter().all(|host| seen.get(host) == Some(&2)) {
            return;
        }
        assert!(Instant::now() < deadline, "{seen:?} instead of {expected:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_proxy_pass_is_looked_up_and_kept_for_its_time() {
    let (dns, hosts, clock) =
        (Dns::start().await, Hosts::start(&[2, 3]).await, TestClock::default());
    let proxy = passing(&clock, dns.address, "", hosts.port);
    dns.has(NAME, 60, &[host(2)]);
    for _ in 0..3 {
        assert_eq!(get(&proxy, "/?host=App.Example").await, (200, "127.0.0.2".to_owned()));
    }
    assert_eq!(dns.asked(NAME, A), 1, "it is kept");
    assert_eq!(dns.asked(NAME, AAAA), 0, "ipv6=off");
    dns.has(NAME, 60, &[host(3)]);
    clock.advance(Duration::from_secs(59));
    assert_eq!(get(&proxy, "/?host=app.example").await.1, "127.0.0.2");
    clock.advance(Duration::from_secs(2));
    assert_eq!(get(&proxy, "/?host=app.example").await.1, "127.0.0.3");
}

#[tokio::test(flavor = "multi_thread")]
async fn valid_counts_for_more_than_the_answer_says() {
    let (dns, hosts, clock) = (Dns::start().await, Hosts::start(&[2]).await, TestClock::default());
    let proxy = passing(&clock, dns.address, ", valid=10s", hosts.port);
    dns.has(NAME, 0, &[host(2)]);
    for _ in 0..2 {
        assert_eq!(get(&proxy, "/?host=app.example").await.0, 200);
    }
    assert_eq!(dns.asked(NAME, A), 1);
    clock.advance(Duration::from_secs(11));
    assert_eq!(get(&proxy, "/?host=app.example").await.0, 200);
    assert_eq!(dns.asked(NAME, A), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_time_is_asked_for_each_time() {
    let (dns, hosts, clock) = (Dns::start().await, Hosts::start(&[2]).await, TestClock::default());
    let proxy = passing(&clock, dns.address, "", hosts.port);
    dns.has(NAME, 0, &[host(2)]);
    for asked in 1..3 {
        assert_eq!(get(&proxy, "/?host=app.example").await.0, 200);
        assert_eq!(dns.asked(NAME, A), asked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_answers_over_tcp_and_lies_lead_to_the_right_worker() {
    let (dns, hosts, clock) = (Dns::start().await, Hosts::start(&[2]).await, TestClock::default());
    let proxy = passing(&clock, dns.address, "", hosts.port);
    dns.has_alias("near.example", 60, "aside.example");
    dns.has("aside.example", 60, &[host(2)]);
    dns.has_alias("far.example", 60, "elsewhere.example");
    dns.has("elsewhere.example", 60, &[host(2)]);
    for (name, mood) in [
        ("near.example", Mood::Answers),
        ("far.example", Mood::Answers),
        ("cut.example", Mood::Cuts),
        ("lies.example", Mood::LiesFirst),
    ] {
        dns.behaves(mood);
        if name.starts_with(['c', 'l']) {
            dns.has(name, 60, &[host(2)]);
        }
        let answer = get(&proxy, &format!("/?host={name}")).await;
        assert_eq!(answer, (200, "127.0.0.2".to_owned()), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_an_address_is_502() {
    let (dns, hosts, clock) = (Dns::start().await, Hosts::start(&[2]).await, TestClock::default());
    let proxy = passing(&clock, dns.address, "", hosts.port);
    let status = async |name: &str| get(&proxy, &format!("/?host={name}")).await.0;
    assert_eq!(status("none.example").await, 502);
    dns.has("none.example", 60, &[host(2)]);
    assert_eq!(
        status("none.example").await,
        200,
        "without a word of for how long, nothing is kept"
    );
    dns.says("kept.example", SOA, 5, &[&[0, 0][..], &[0; 16], &[0, 0, 0, 5]].concat());
    assert_eq!(status("kept.example").await, 502);
    dns.forgets("kept.example", SOA);
    dns.has("kept.example", 60, &[host(2)]);
    assert_eq!(status("kept.example").await, 502, "so long there is none (RFC 2308)");
    clock.advance(Duration::from_secs(6));
    assert_eq!(status("kept.example").await, 200);
    dns.behaves(Mood::Fails(2));
    assert_eq!(status("broken.example").await, 502);
    dns.behaves(Mood::Silent);
    assert_eq!(status("silent.example").await, 502);
    assert_eq!(status("").await, 500, "no URL");
    dns.behaves(Mood::Answers);
    assert_eq!(status(&"x".repeat(64)).await, 502, "no name");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_is_asked_where_one_fails() {
    let (one, other) = (Dns::start().await, Dns::start().await);
    let (hosts, clock) = (Hosts::start(&[2]).await, TestClock::default());
    one.behaves(Mood::Fails(5));
    other.has(NAME, 0, &[host(2)]);
    let route = format!(
        "{{ path: /, proxy_pass: 'http://{NAME}:$arg_port', resolver: ['{}', '{}'] }}",
        one.address, other.address
    );
    let proxy = start(&clock, "", &route);
    for _ in 0..3 {
        assert_eq!(get(&proxy, &format!("/?port={}", hosts.port)).await.0, 200);
    }
    assert!(one.asked(NAME, A) > 0, "servers take turns");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_addresses_of_a_name_are_tried() {
    let (dns, hosts, clock) = (Dns::start().await, Hosts::start(&[2]).await, TestClock::default());
    let proxy = passing(&clock, dns.address, "", hosts.port);
    dns.has(NAME, 60, &[host(7), host(8), host(2)]);
    for _ in 0..6 {
        assert_eq!(get(&proxy, "/?host=app.example").await, (200, "127.0.0.2".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_come_and_go_with_the_addresses_of_their_name() {
    let (dns, clock) = (Dns::start().await, TestClock::default());
    let hosts = Hosts::start(&[2, 3, 4]).await;
    dns.has(NAME, 5, &[host(2), host(3)]);
    let endpoint = format!("{{ address: '{NAME}:{}', resolve: true }}", hosts.port);
    let proxy = following(&clock, dns.address, &endpoint);
    served_by(&proxy, &[2, 3]).await;
    dns.has(NAME, 5, &[host(3), host(4)]);
    clock.advance(Duration::from_secs(6));
    served_by(&proxy, &[3, 4]).await;
    for failing in [Mood::Fails(2), Mood::Silent] {
        dns.behaves(failing);
        let before = dns.asked(NAME, A);
        clock.advance(Duration::from_secs(20));
        while dns.asked(NAME, A) == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        served_by(&proxy, &[3, 4]).await;
    }
    dns.behaves(Mood::Answers);
    dns.has(NAME, 5, &[]);
    dns.says(NAME, 16, 5, b"\x04text");
    clock.advance(Duration::from_secs(20));
    let deadline = Instant::now() + PATIENCE;
    while get(&proxy, "/").await.0 != 502 {
        assert!(Instant::now() < deadline, "a name without addresses has no endpoints");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    dns.has(NAME, 5, &[host(2)]);
    clock.advance(Duration::from_secs(20));
    served_by(&proxy, &[2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_say_who_comes_first_and_how_often() {
    let (dns, clock) = (Dns::start().await, TestClock::default());
    let hosts = Hosts::start(&[2, 3, 4]).await;
    let service = "_http._tcp.app.example";
    dns.has("a.example", 5, &[host(2)]);
    dns.has("b.example", 5, &[host(3)]);
    dns.has("c.example", 5, &[host(4)]);
    dns.has_service(service, 5, [10, 3, hosts.port], "a.example");
    dns.has_service(service, 5, [10, 1, hosts.port], "b.example");
    dns.has_service(service, 5, [20, 1, hosts.port], "c.example");
    let endpoint = format!("{{ address: {NAME}, resolve: true, service: http }}");
    let proxy = following(&clock, dns.address, &endpoint);
    let mut seen = BTreeMap::new();
    for _ in 0..8 {
        *seen.entry(get(&proxy, "/").await.1).or_insert(0) += 1;
    }
    let counted = [("127.0.0.2".to_owned(), 6), ("127.0.0.3".to_owned(), 2)];
    assert_eq!(seen, BTreeMap::from(counted), "by weight; who comes later is a backup");
    dns.forgets(service, SRV);
    dns.has_service(service, 5, [20, 1, hosts.port], "c.example");
    clock.advance(Duration::from_secs(6));
    served_by(&proxy, &[4]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_endpoints_come_and_go() {
    let (dns, clock) = (Dns::start().await, TestClock::default());
    let hosts = Hosts::start(&[2, 3, 4]).await;
    dns.has(NAME, 1, &[host(2)]);
    let endpoint = format!("{{ address: '{NAME}:{}', resolve: true }}", hosts.port);
    let proxy = following(&clock, dns.address, &endpoint);
    served_by(&proxy, &[2]).await;
    let address = proxy.address();
    let stopped = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let stopped = stopped.clone();
            tokio::spawn(async move {
                while !stopped.load(Ordering::Relaxed) {
                    let mut client = Dial::to(address).connect().await;
                    for _ in 0..20 {
                        client.get("shop.example", "/", &[]).await.expect(200);
                    }
                }
            })
        })
        .collect();
    for round in 0..6u8 {
        dns.has(NAME, 1, &[host(2 + round % 3), host(2 + (round + 1) % 3)]);
        let before = dns.asked(NAME, A);
        clock.advance(Duration::from_secs(2));
        while dns.asked(NAME, A) == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    stopped.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("every request is answered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn resolvers_without_sense_are_mistakes() {
    let file = |resolver: &str| {
        format!(
            "state_directory: '{{directory}}'\nstore: memory\nlisteners: [{{ address: '127.0.0.1:0' }}]\n\
             upstreams: {{ app: {{ endpoints: [{{ address: 'app.example:80', resolve: true }}] }} }}\n\
             {resolver}\nservers: [{{ names: [_], routes: [{{ path: /, upstream: app }}] }}]\n"
        )
    };
    for (resolver, expected) in [
        ("", "has names to resolve, and nobody who does"),
        ("defaults: { resolver: [] }", "names no server"),
        ("defaults: { resolver: [127.0.0.1, valid=0s] }", "must be longer than nothing"),
        ("defaults: { resolver: [127.0.0.1, ipv6=maybe] }", "neither on nor off"),
        ("defaults: { resolver: [127.0.0.1, ipv6=off, ipv4=off] }", "both ipv4=off and ipv6=off"),
        ("defaults: { resolver: [127.0.0.1, speed=fast] }", "`speed=fast` means nothing here"),
        ("defaults: { resolver: ['127.0.0.1:x'] }", "no address of a name server"),
    ] {
        let problem = Proxy::try_start(&file(resolver)).err().expect("a mistake");
        assert!(problem.contains(expected), "{resolver}: {problem}");
    }
    assert!(Proxy::try_start(&file("defaults: { resolver: [127.0.0.1, status_zone=z] }")).is_ok());
}
