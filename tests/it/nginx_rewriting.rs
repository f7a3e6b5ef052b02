//! Locations are chosen as nginx chooses them: generated servers, asked side by side.

use std::fmt::Write;

use crate::support::client::{Connection, Dial};
use crate::support::http::response;
use crate::support::nginx::Nginx;
use crate::support::origin::Responder;
use crate::support::proxy::Proxy;

const SERVERS: usize = 24;
const LOCATIONS_MAX: usize = 10;

/// What is asked of each server.
const TARGETS: &[&str] = &[
    "/",
    "/a",
    "/a/",
    "/ab",
    "/A",
    "/a/b",
    "/a/b/",
    "/a/b/c",
    "/a/b/c/",
    "/a/x.php",
    "/a/b/x.PHP",
    "/ab/x.html",
    "/b",
    "/b/x.php",
    "//a//b/",
    "/a/./b",
    "/a/../b/x",
    "/%61/b",
    "/a%2Fb",
    "/a?x=/b.php",
    "/x",
    "/x.php",
    "/a-",
    "/a.php/",
];

/// What locations are made of: those without a modifier may also have `= ` or `^~ ` in front.
const PATHS: &[&str] = &["/", "/a", "/a/", "/ab", "/a/b", "/a/b/", "/b/", "/a/b/c", "/a/b/c/"];
const PATTERNS: &[&str] =
    &[r"~ \.php$", r"~* \.php$", "~ ^/a", "~ b", r"~ ^/a/.*\.(php|html)$", "~* ^/A/B", "~ ^/ab"];

/// A location with those inside, and the number of the worker that it leads to.
struct Location {
    path: String,
    worker: usize,
    inner: Vec<Location>,
}

#[tokio::test]
async fn locations_are_chosen_as_nginx_chooses_them() {
    let mut workers = Vec::new();
    for name in 0..LOCATIONS_MAX {
        workers.push(
            Responder::start(move |_| response("200 OK", &[], name.to_string().as_bytes())).await,
        );
    }
    let mut random = Random(0x6e_6769_6e78);
    let servers: Vec<Vec<Location>> = (0..SERVERS).map(|_| random.server()).collect();
    let nginx = Nginx::serving(&for_nginx(&servers, &workers));
    let proxy = Proxy::start(&for_us(&servers, &workers));
    let mut theirs = Dial::to(nginx.address).connect().await;
    let mut ours = Dial::to(proxy.address()).connect().await;
    let (mut cases, mut redirects, mut found) = (0, 0, 0);
    for (index, server) in servers.iter().enumerate() {
        let host = format!("s{index}.example");
        for target in TARGETS {
            let expected = ask(&mut theirs, &host, target).await;
            let answered = ask(&mut ours, &host, target).await;
            assert_eq!(answered, expected, "{target} of\n{}", nginx_locations(server, &workers));
            cases += 1;
            redirects += usize::from(expected.0 == 301);
            found += usize::from(expected.0 == 200);
        }
    }
    assert!(cases >= 500 && redirects > 10 && found > 250, "{cases} {redirects} {found}");
}

/// Status, which worker it was, and where a redirect leads on the same host.
async fn ask(connection: &mut Connection, host: &str, target: &str) -> (u16, String, String) {
    let answer = connection.get(host, target, &[]).await;
    let location = answer.field("location").unwrap_or_default();
    let path = location.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap_or_default();
    let worker = if answer.status == 200 { answer.text() } else { String::new() };
    (answer.status, worker, path)
}

fn for_nginx(servers: &[Vec<Location>], workers: &[Responder]) -> String {
    let mut text = String::new();
    for (index, server) in servers.iter().enumerate() {
        let locations = nginx_locations(server, workers);
        write!(
            text,
            "server {{\nlisten 127.0.0.1:{{port}};\nserver_name s{index}.example;\n{locations}}}\n"
        )
        .expect("a string takes it");
    }
    text
}

fn nginx_locations(locations: &[Location], workers: &[Responder]) -> String {
    let one = |Location { path, worker, inner }: &Location| {
        let address = workers[*worker].address;
        let inner = nginx_locations(inner, workers);
        format!("location {path} {{\nproxy_pass http://{address};\n{inner}}}\n")
    };
    locations.iter().map(one).collect()
}

fn for_us(servers: &[Vec<Location>], workers: &[Responder]) -> String {
    let upstreams: String = workers
        .iter()
        .enumerate()
        .map(|(name, worker)| {
            format!("  w{name}: {{ endpoints: [{{ address: '{}' }}] }}\n", worker.address)
        })
        .collect();
    let server = |(index, server): (usize, &Vec<Location>)| {
        format!("  - {{ names: [s{index}.example], routes: [{}] }}\n", routes(server))
    };
    let servers: String = servers.iter().enumerate().map(server).collect();
    format!(
        "workers: 1\nstate_directory: '{{directory}}'\nlisteners: [{{ address: 127.0.0.1:0 }}]\n\
         store: memory\nupstreams:\n{upstreams}servers:\n{servers}"
    )
}

fn routes(locations: &[Location]) -> String {
    let one = |Location { path, worker, inner }: &Location| {
        let inner = match inner.is_empty() {
            true => String::new(),
            false => format!(", routes: [{}]", routes(inner)),
        };
        format!("{{ path: '{path}', upstream: w{worker}{inner} }}")
    };
    locations.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A small generator, the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("it is small")
    }

    fn server(&mut self) -> Vec<Location> {
        let mut left = LOCATIONS_MAX;
        let count = 3 + self.below(5);
        self.locations(count, "", &mut left)
    }

    /// Some locations, inside of one with this path.
    fn locations(&mut self, count: usize, outer: &str, left: &mut usize) -> Vec<Location> {
        let mut locations: Vec<Location> = Vec::new();
        let mut taken: Vec<String> = Vec::new();
        let paths: Vec<&str> = PATHS
            .iter()
            .copied()
            .filter(|path| path.starts_with(outer) && *path != outer)
            .collect();
        for _ in 0..count {
            let is_pattern = paths.is_empty() || self.below(3) == 0;
            let (modifier, path) = match is_pattern {
                true => ("", PATTERNS[self.below(PATTERNS.len())]),
                false => (["", "", "= ", "^~ "][self.below(4)], paths[self.below(paths.len())]),
            };
            // nginx takes `/a` and `^~ /a` for the same.
            let key = if modifier == "= " { format!("= {path}") } else { path.to_owned() };
            if *left == 0 || taken.contains(&key) {
                continue;
            }
            taken.push(key);
            *left -= 1;
            let worker = *left;
            let inner = match modifier {
                "= " => Vec::new(),
                _ if self.below(2) == 0 => Vec::new(),
                // Inside of a pattern there is room for patterns only.
                _ => {
                    let (count, outer) = (self.below(4), if is_pattern { "~" } else { path });
                    self.locations(count, outer, left)
                }
            };
            locations.push(Location { path: format!("{modifier}{path}"), worker, inner });
        }
        locations
    }
}
