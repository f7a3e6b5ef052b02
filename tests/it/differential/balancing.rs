//! Which endpoint gets a request, and which one the next try.

use super::group::Group;
use crate::support::http::response;
use crate::support::origin::Request;

pub fn groups() -> Vec<Group> {
    let mut groups = vec![hashed("hash $arg_k"), hashed("hash $arg_k consistent"), by_address()];
    for (name, servers) in [
        ("turns", "server {origin}; server {second};"),
        ("weights", "server {origin} weight=3; server {second} weight=2;"),
        ("least_conn", "least_conn; server {origin} weight=2; server {second};"),
        ("down", "server {origin} down; server {second};"),
        ("backup", "server {closed}; server {second} backup; server {origin} backup;"),
        ("backup unused", "server {origin}; server {second} backup;"),
        ("a closed one", "server {closed} weight=2; server {origin}; server {second};"),
        ("never out", "server {closed} max_fails=0; server {origin};"),
        (
            "two failures",
            "server {closed} max_fails=2 fail_timeout=1h; server {origin}; server {second} weight=2;",
        ),
        ("one alone", "server {closed};"),
        ("one alone is fine", "server {origin} max_conns=1;"),
    ] {
        groups.push(upstream(name, servers, "").gets(&["/"; 12]));
    }
    groups.extend(statuses());
    groups
}

fn upstream(name: &'static str, servers: &str, more: &str) -> Group {
    Group::new(
        name,
        format!(
            "upstream u {{ {servers} }} server {{ listen 127.0.0.1:{{port}}; location / {{ proxy_pass http://u; {more} }} }}"
        ),
    )
}

fn hashed(by: &'static str) -> Group {
    let servers =
        format!("{by}; server {{origin}} weight=2; server {{second}}; server {{closed}} down;");
    let mut group = upstream(by, &servers, "");
    for key in 0..60 {
        group = group.get(&format!("/?k=key{key}"));
    }
    group.gets(&["/", "/?k=", "/?k=%20"])
}

fn by_address() -> Group {
    upstream("ip_hash", "ip_hash; server {origin} weight=2; server {second};", "").gets(&["/"; 4])
}

/// The path's first word is the status; for the second worker the other one.
fn first(request: &Request) -> Vec<u8> {
    answer(request, 0)
}

fn second(request: &Request) -> Vec<u8> {
    answer(request, 1)
}

fn answer(request: &Request, number: usize) -> Vec<u8> {
    let status = request.target.trim_start_matches('/').split('-').nth(number).unwrap_or("200");
    match status {
        "cut" => b"HTTP/1.1 200 OK\r\nContent-Le".to_vec(),
        "bad" => b"HTTP/1.1 2x0 OK\r\n\r\n".to_vec(),
        status => {
            response(&format!("{status} Of{number}"), &[("X-From", &number.to_string())], b"body")
        }
    }
}

fn statuses() -> Vec<Group> {
    let rules = [
        ("next: none said", ""),
        ("next: 500 and 404", "proxy_next_upstream http_500 http_404;"),
        ("next: 5xx", "proxy_next_upstream error http_500 http_502 http_503 http_504;"),
        ("next: 403 429", "proxy_next_upstream http_403 http_429 non_idempotent;"),
        ("next: off", "proxy_next_upstream off;"),
        ("next: one try", "proxy_next_upstream http_500; proxy_next_upstream_tries 1;"),
        ("next: two tries", "proxy_next_upstream http_500; proxy_next_upstream_tries 2;"),
    ];
    let targets = [
        "/200-200", "/500-200", "/200-500", "/500-500", "/404-200", "/404-404", "/403-200",
        "/429-429", "/502-503", "/503-200", "/504-504", "/200-404",
    ];
    let with = |(name, rule): (&'static str, &str)| {
        let servers = "server {origin} max_fails=0; server {second} max_fails=0;";
        let group = upstream(name, servers, rule).worker(first).second(second);
        targets.iter().fold(group, |group, target| {
            group.get(target).get(target).ask("POST", "a.example", target, &[], "x").ask(
                "PUT",
                "a.example",
                target,
                &[],
                "x",
            )
        })
    };
    rules.map(with).into()
}
