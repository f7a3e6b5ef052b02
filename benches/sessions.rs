//! What a request of a busy session costs before it is forwarded, part by part, without a network:
//! ticket, cookies, decision. Budgets: DESIGN section 9 (open a ticket 2 µs, decide 0.5 µs).

use std::hint::black_box;
use std::sync::Arc;

use cloakroom::clock::UnixMillis;
use cloakroom::config;
use cloakroom::cookie::request::Field;
use cloakroom::cookie::response::SetCookie;
use cloakroom::crypto::keyring::Keyring;
use cloakroom::session::carried::Carried;
use cloakroom::session::decide::{Claim, Verdict, decide, without_ticket};
use cloakroom::session::facts::Facts;
use cloakroom::session::jar::{Edit, Jar};
use cloakroom::session::outcome::Lookup;
use cloakroom::session::policy::Policy;
use cloakroom::session::record::{Record, Seed, Standing};
use cloakroom::session::ticket::{Scope, Selector, Ticket};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

const NOW: UnixMillis = UnixMillis(1_795_462_335_000);
const SCOPE: Scope<'_> =
    Scope { cookie_name: "__Host-shop", policy: "shop", site: "shop.example.com" };
/// What a browser with a banner, two counters and a session sends.
const COOKIES: &str = "_ga=GA1.1.1234567890.1795462335; theme=dark; __Host-shop=TICKET; \
                       _ga_ABCDEFGH=GS1.1.1795462335.3.1.1795462399.60.0.0; consent=yes";

fn policy() -> Arc<Policy> {
    let text = "\
sessions: { shop: { app_cookies: [EGG_SESS, EGG_SESS.sig] } }
upstreams: { shop: { endpoints: [{ address: 127.0.0.1:7001 }] } }
listeners: [{ address: 127.0.0.1:8443, tls: { self_signed: true } }]
servers: [{ routes: [{ path: /, upstream: shop, session: shop }] }]
";
    let environment = config::environment::Environment::of_process();
    let config = config::parse(text, "bench.yaml", &environment);
    config.unwrap_or_else(|mistakes| panic!("{mistakes}")).sessions[0].clone()
}

/// A session that logged in, with a signed application session of 300 bytes.
fn record(policy: &Policy) -> Record {
    let mut jar = Jar::default();
    for line in [format!("EGG_SESS={}; path=/; httponly", "x".repeat(300)), signature()] {
        let field = SetCookie::parse(line.as_bytes()).expect("a cookie");
        let edit = Edit::read(&field, "shop.example.com", b"/", NOW);
        jar.apply(&[edit], policy.jar, NOW);
    }
    let mut record =
        Record::new(Seed::new([7; 32]), jar, Standing::Authenticated, &policy.timeouts, NOW);
    record.presented = Some(NOW);
    record
}

fn signature() -> String {
    format!("EGG_SESS.sig={}; path=/; httponly", "y".repeat(43))
}

fn ticket(record: &Record) -> Ticket {
    Ticket {
        tag: [1; 8],
        selector: Selector([2; 16]),
        counter: 0,
        secret: record.secret(0),
        issued: NOW.0 / 1000,
        flags: 0,
    }
}

fn tickets(c: &mut Criterion) {
    let (policy, ring) = (policy(), Keyring::generate(NOW).expect("randomness"));
    let ticket = ticket(&record(&policy));
    let sealed = ticket.seal(&ring, &[3; 24], &SCOPE);
    let mut group = c.benchmark_group("ticket");
    group.bench_function("seal", |b| {
        b.iter(|| black_box(&ticket).seal(&ring, &[3; 24], &SCOPE));
    });
    group.bench_function("open", |b| {
        b.iter(|| Ticket::open(&ring, black_box(sealed.as_bytes()), &SCOPE).expect("genuine"));
    });
    let forged = [&sealed.as_bytes()[..100], b"AAAAAAAAAAAAAAAAAAAAAAAAAAA"].concat();
    group.bench_function("refuse a forged one", |b| {
        b.iter(|| Ticket::open(&ring, black_box(&forged), &SCOPE).expect_err("forged"));
    });
    group.bench_function("name its record", |b| b.iter(|| black_box(&ticket).key(&ring)));
    group.finish();
}

fn cookies(c: &mut Criterion) {
    let (policy, ring) = (policy(), Keyring::generate(NOW).expect("randomness"));
    let record = record(&policy);
    let sealed = ticket(&record).seal(&ring, &[3; 24], &SCOPE);
    let line = COOKIES.replace("TICKET", &sealed);
    let names = ["__Host-shop".to_owned()];
    let mut group = c.benchmark_group("cookies");
    group.bench_function("sort a request's", |b| {
        b.iter(|| Carried::sort([black_box(line.as_bytes())].into_iter(), Some(&policy), &names));
    });
    group.bench_function("take the jar's", |b| {
        b.iter(|| {
            let mut field = Field::default();
            black_box(&record).jar.write(&mut field, "shop.example.com", b"/account/", NOW);
            field
        });
    });
    let field =
        format!("EGG_SESS={}; path=/; expires=Thu, 26 Nov 2026 12:00:00 GMT; httponly", "x");
    group.bench_function("parse a response's", |b| {
        b.iter(|| SetCookie::parse(black_box(field.as_bytes())).expect("a cookie").name().len());
    });
    group.finish();
}

fn decisions(c: &mut Criterion) {
    let (policy, ring) = (policy(), Keyring::generate(NOW).expect("randomness"));
    let record = record(&policy);
    let ticket = ticket(&record);
    let key = ticket.key(&ring);
    let record = Arc::new(record);
    let mut group = c.benchmark_group("decide");
    let live = |record| {
        let claim = Claim { ticket: &ticket, key, lookup: Lookup::Found((1, record)) };
        let (verdict, _) = decide(&policy, claim, Facts::default(), NOW);
        assert!(matches!(verdict, Verdict::Forward { .. }));
        verdict
    };
    group.bench_function("on a live session", |b| b.iter(|| live(black_box(&record).clone())));
    group.bench_function("on a live session that was just read", |b| {
        let read = || Arc::new(Record::clone(&record));
        b.iter_batched(read, live, BatchSize::SmallInput);
    });
    group.bench_function("without a ticket", |b| {
        b.iter(|| without_ticket(black_box(Facts::default())));
    });
    group.finish();
}

criterion_group!(benches, tickets, cookies, decisions);
criterion_main!(benches);
