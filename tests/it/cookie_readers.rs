//! No known reader of `Cookie` sees a session cookie or a ticket in what a client brings.
//!
//! `scripts/cookie-readers` has asked real readers what they see in a field; the models here are held
//! against its table, and tried with random fields as they reach a worker, behind what the vault adds.
//! Two readers are asked live.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::path_readers::{Random, ask};
use cloakroom::config::environment::Environment;
use cloakroom::config::parse;
use cloakroom::cookie::request::Field;
use cloakroom::session::carried::Carried;
use cloakroom::session::policy::Policy;

use models::{Keeps, READERS, latin1};

mod models;

const CASES: u32 = 100_000;
const LIVE_CASES: usize = 3_000;

const TICKET: &str = "__Host-shop";
/// What the vault adds to a request.
const JAR: &[(&str, &str)] = &[("sid", "jar0"), ("connect.sid", "jar1"), ("wp_1", "jar2")];

fn policy() -> Arc<Policy> {
    let yaml = "listeners: [{ address: '127.0.0.1:0', tls: { self_signed: true } }]\n\
                store: memory\n\
                sessions:\n  shop:\n    cookie: { name: shop }\n    \
                app_cookies: [sid, connect.sid, 'wp_*']\n\
                upstreams: { up: { endpoints: [{ address: '127.0.0.1:1' }] } }\n\
                servers: [{ names: [h], routes: [{ path: /, upstream: up, session: shop }] }]\n";
    let config = parse(yaml, "readers.yaml", &Environment::of_process());
    let policy = config.map(|config| config.sessions[0].clone());
    let policy = policy.unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(policy.cookie.name, TICKET);
    policy
}

/// What a worker is sent of what a client brings.
fn forwarded(policy: &Policy, brought: &[u8], jar: &[(&str, &str)]) -> Vec<u8> {
    let tickets = [TICKET.to_owned()];
    let carried = Carried::sort([brought].into_iter(), Some(policy), &tickets);
    let mut field = Field::default();
    carried.others.iter().for_each(|piece| field.push(piece));
    for (name, value) in jar {
        field.push_cookie(name.as_bytes(), value.as_bytes());
    }
    field.as_bytes().to_vec()
}

/// Whether a worker takes this for its session, or for a ticket, though the vault has not given it.
fn is_planted(reader: &str, name: &[u8], value: &[u8], jar: &[(&str, &str)]) -> bool {
    let is = |wanted: &str| match reader {
        // A variable has no dot in its name.
        "php" => name == wanted.replace('.', "_").as_bytes(),
        _ => name == wanted.as_bytes(),
    };
    let is_protected = is("sid") || is("connect.sid") || is(TICKET) || name.starts_with(b"wp_");
    let is_given = jar.iter().any(|(own, given)| is(own) && value == given.as_bytes());
    is_protected && !is_given
}

#[test]
fn the_models_read_as_the_real_ones_did() {
    let table = include_str!("../readers/cookies.jsonl");
    let mut compared = 0;
    for line in table.lines() {
        let mut row: Vec<serde_json::Value> = serde_json::from_str(line).expect("a row");
        let columns = row.split_off(1);
        let field = latin1(row[0].as_str().expect("a field"));
        // Decoding is not modelled.
        let is_plain = field.iter().all(|byte| byte.is_ascii() && !b"%\\+".contains(byte));
        for ((name, keeps, read), column) in READERS.iter().zip(&columns) {
            let mut found = BTreeMap::new();
            for (key, value) in read(&field) {
                match keeps {
                    Keeps::First => drop(found.entry(key).or_insert(value)),
                    Keeps::Last => drop(found.insert(key, value)),
                }
            }
            let expected = column.as_object().expect("a map");
            let names: Vec<_> = found.keys().cloned().collect();
            let mut wanted: Vec<_> = expected.keys().map(|key| latin1(key)).collect();
            wanted.sort();
            assert_eq!(names, wanted, "{name}: {}", field.escape_ascii());
            for (key, value) in expected.iter().filter(|_| is_plain) {
                // PHP has an array where the name has an index.
                if let Some(value) = value.as_str() {
                    assert_eq!(
                        found[&latin1(key)],
                        latin1(value),
                        "{name}: {}",
                        field.escape_ascii()
                    );
                }
            }
            compared += 1;
        }
    }
    assert!(compared >= 10_000, "the table was read: {compared}");
}

#[test]
fn no_reader_sees_a_session_cookie_that_the_client_has_brought() {
    let (policy, mut random, mut planted) = (policy(), Random(0x0c00_c1e5), 0);
    for _ in 0..CASES {
        let brought = random.field();
        let jar = &JAR[random.below(JAR.len() + 1)..];
        let field = forwarded(&policy, &brought, jar);
        for (reader, _, read) in READERS {
            let is_tried =
                read(&brought).iter().any(|(name, value)| is_planted(reader, name, value, jar));
            planted += u32::from(is_tried);
            for (key, value) in read(&field) {
                let (brought, field) = (brought.escape_ascii(), field.escape_ascii());
                assert!(
                    !is_planted(reader, &key, &value, jar),
                    "{reader}: {brought}, forwarded {field}"
                );
            }
        }
    }
    assert!(planted > 20_000, "it was tried: {planted}");
}

#[test]
fn two_readers_of_today_see_none_either() {
    let (policy, mut random) = (policy(), Random(0x0c00_11fe));
    let tried: Vec<Vec<u8>> = std::iter::repeat_with(|| forwarded(&policy, &random.field(), JAR))
        .filter(|field| field.is_ascii())
        .take(LIVE_CASES)
        .collect();
    let node = "const cookie = require('./tests/apps/node_modules/cookie');
        for (const line of require('fs').readFileSync(0, 'utf8').split('\\n').slice(0, -1))
          console.log(JSON.stringify(Object.entries(cookie.parse(line)).flat()))";
    let python = "import sys, json\nfrom http.cookies import CookieError, SimpleCookie\n\
        for line in sys.stdin:\n    cookie = SimpleCookie()\n    \
        try: cookie.load(line.rstrip('\\n'))\n    except CookieError: pass\n    \
        print(json.dumps([text for m in cookie.values() for text in (m.key, m.value)]))";
    for command in [["node", "-e", node], ["python3", "-c", python]] {
        let answers = ask(command, tried.iter().map(Vec::as_slice));
        assert_eq!(answers.len(), tried.len(), "{command:?}");
        let mut given = 0;
        for (seen, field) in answers.iter().zip(&tried) {
            for pair in seen.chunks_exact(2) {
                let (key, value) = (pair[0].as_bytes(), pair[1].as_bytes());
                given += u32::from(key == b"sid");
                assert!(
                    !is_planted(command[0], key, value, JAR),
                    "{}: {}",
                    command[0],
                    field.escape_ascii()
                );
            }
        }
        assert!(given > 100, "{}: the vault's own are seen: {given}", command[0]);
    }
}

// Random fields.

/// Those of `scripts/cookie-readers`, and some that are more often understood.
const PIECES: &[&[u8]] = &[
    b"sid",
    b"sid",
    b"sid",
    b"Sid",
    b"wp_1",
    b"wp.1",
    b"connect.sid",
    b"connect_sid",
    b"__Host-shop",
    b"..Host-shop",
    b"a",
    b"b",
    b"x",
    b"1",
    b"=",
    b"=",
    b"=",
    b"=",
    b"= ",
    b" =",
    b";",
    b";",
    b"; ",
    b" ",
    b" ",
    b"  ",
    b"\t",
    b",",
    b"\"",
    b"\"",
    b"\\\"",
    b"\\",
    b"'",
    b"[",
    b"]",
    b"[0]",
    b"$",
    b"$Version=1",
    b"$Path",
    b"path",
    b"expires=",
    b"&",
    b"?",
    b":",
    b"/",
    b"{",
    b"}",
    b"<",
    b">",
    b"(",
    b")",
    b"@",
    b"|",
    b"~",
    b"+",
    b"%73id",
    b"%3D",
    b"%20",
    b"%3B",
    b"\xa0",
    b"\x85",
    b"\xe2\x80\x80",
    b"\xc3\xa9",
    b"a=Wed, 09-Jun-2021 10:18:14 GMT",
    b"Wed, 09 Jun 2021 10:18:14 GMT",
    b"Wed Jun  9 10:18:14 2021",
    b"GMT",
    b"+0100",
    b"a=b; ",
    b"a=b ",
    b"; sid=",
    b" sid=2",
];

impl Random {
    fn field(&mut self) -> Vec<u8> {
        let number = 1 + self.below(11);
        (0..number).flat_map(|_| PIECES[self.below(PIECES.len())]).copied().collect()
    }
}
