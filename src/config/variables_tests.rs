//! Mistakes in variables and logs, each with its place and a remedy.

use super::environment::testing::Given;
use super::{Config, parse};
use crate::telemetry::access_logs::AccessLogs;

fn read(top: &str, route: &str) -> Result<Config, String> {
    let text = format!(
        "listeners: [{{ address: '127.0.0.1:8080' }}]\nstore: memory\n\
         upstreams: {{ app: {{ endpoints: [{{ address: '127.0.0.1:7001' }}] }} }}\n\
         servers: [{{ routes: [{{ path: /, upstream: app, {route} }}] }}]\n{top}\n"
    );
    parse(&text, "c.yaml", &Given::default().environment()).map_err(|found| found.to_string())
}

#[track_caller]
fn check(top: &str, route: &str, expected: &[&str]) {
    let found = read(top, route).expect_err(top);
    for expected in expected {
        assert!(found.contains(expected), "{expected:?} is not in:\n{found}");
    }
}

#[test]
fn a_name_that_means_nothing_is_a_mistake_with_its_place() {
    check(
        "log_formats: { own: '$remote_adr $hots' }",
        "",
        &[
            "c.yaml:5:21: error: log_formats.own: unknown \"remote_adr\" variable",
            "did you mean `remote_addr`?",
            "unknown \"hots\" variable",
        ],
    );
    check("maps: { $a: { of: $nobody } }", "", &["maps.$a.of: unknown \"nobody\" variable"]);
    check(
        "maps: { $a: { of: $host, values: { x: $nobody } } }",
        "",
        &["maps.$a.values.x: unknown \"nobody\" variable"],
    );
    check("", "access_log: { path: '/x/$y' }", &["access_log.path: unknown \"y\" variable"]);
    check("", "access_log: { path: /x, if: $y }", &["access_log.if: unknown \"y\" variable"]);
    check("log_formats: { own: $1 }", "", &["unknown \"1\" variable"]);
}

#[test]
fn a_variable_may_be_used_before_it_is_defined() {
    let top = "log_formats: { own: '$b $group' }\n\
               maps: { $a: { of: $b, values: { '~(?<group>x)': $group } }, $b: { of: $a } }";
    read(top, "access_log: { path: /x, format: own }").expect("all is defined");
}

#[test]
fn mistakes_of_definitions_are_told_in_nginx_words() {
    for (top, expected) in [
        ("maps: { $host: { of: $uri } }", "the duplicate \"host\" variable"),
        ("maps: { $a-b: { of: $uri } }", "invalid variable name \"$a-b\""),
        ("maps: { $a: { values: { x: y } } }", "maps.$a.of: is missing"),
        ("maps: { $a: { of: $ } }", "maps.$a.of: invalid variable name"),
        ("maps: { $a: { of: '${uri' } }", "the closing bracket in \"uri\" variable is missing"),
        ("maps: { $a: { of: $uri, values: { '~(': x } } }", "maps.$a.values.~(: "),
        (
            "maps: { $a: { of: $uri, values: { '~(?|a|b)': x } } }",
            "a branch reset is not known here",
        ),
        (
            "maps: { $a: { of: $uri, values: { default: x } } }",
            "or `\\default` for the text itself",
        ),
        ("maps: { $a: { of: $uri, values: { a: x, A: y } } }", "conflicting parameter \"A\""),
        (
            "maps: { $a: { of: $uri, hostnames: true, values: { 'a.*.b': x } } }",
            "invalid hostname or wildcard \"a.*.b\"",
        ),
        ("geos: { $a: { values: { 10.0.0.0/33: x } } }", "invalid network \"10.0.0.0/33\""),
        ("geos: { $a: { of: 'x$uri' } }", "geos.$a.of: invalid variable name \"x$uri\""),
        ("geos: { $a: { ranges: true, values: { 10.0.0.1: x } } }", "invalid range \"10.0.0.1\""),
        (
            "geos: { $a: { ranges: true, values: { 10.0.0.0-10.0.0.9: x, 10.0.0.5-10.0.0.20: y } } }",
            "range \"10.0.0.5-10.0.0.20\" overlaps \"10.0.0.0-10.0.0.9\"",
        ),
        ("geos: { $a: { proxies: [x] } }", "geos.$a.proxies[0]: invalid network \"x\""),
        (
            "split_clients: { $a: { of: $uri, values: { 60%: x, 50%: y } } }",
            "split_clients.$a.values.50%: percent total is greater than 100%",
        ),
        ("split_clients: { $a: { of: $uri, values: { x: x } } }", "invalid percent value \"x\""),
        ("log_formats: { combined: x }", "duplicate log format name \"combined\""),
        ("log_formats: { x: { format: x, escape: html } }", "`html` is no way to escape"),
        ("log_formats: { x: { escape: json } }", "log_formats.x.format: is missing"),
    ] {
        check(top, "", &[expected]);
    }
}

#[test]
fn mistakes_of_logs_are_told() {
    for (log, expected) in [
        ("{ format: combined }", "access_log: goes nowhere"),
        ("{ path: /x, format: nobody }", "unknown log format \"nobody\""),
        ("{ path: /x, flush: 5s }", "no buffer is defined for access_log \"/x\""),
        ("{ path: '/x/$host', buffer: 1k }", "buffered logs cannot have variables in name"),
        ("{ path: /x, gzip: 10 }", "invalid compression level \"10\""),
        ("{ path: '/x/$host', gzip: true }", "buffered logs cannot have variables in name"),
        ("{ path: stderr, buffer: 1k }", "logs to standard error cannot be buffered"),
        ("{ path: 'syslog:server=127.0.0.1', buffer: 1k }", "logs to syslog cannot be buffered"),
        ("'syslog:tag=x'", "no syslog server specified"),
        ("'syslog:server=127.0.0.1,facility=x'", "`x` is no syslog facility"),
        ("'syslog:server=here'", "`here` is no address"),
        ("'syslog:server=127.0.0.1,tag=a-b'", "`a-b` is no syslog tag"),
        ("'syslog:server=127.0.0.1,x=1'", "unknown syslog parameter \"x=1\""),
        ("[/x, off]", "access_log[1]: stands beside others"),
        (
            "[{ path: /x, buffer: 1k }, { path: /x, buffer: 2k }]",
            "access_log \"/x\" already defined with conflicting parameters",
        ),
    ] {
        check("", &format!("access_log: {log}"), &[expected]);
    }
}

#[test]
fn the_nearest_logs_count_whole() {
    let logs = |defaults: &str, route: &str| {
        let config = read(defaults, route).expect("good");
        match &config.servers[0].routes[0].access_log {
            AccessLogs::Event => "event".to_owned(),
            AccessLogs::Off => "off".to_owned(),
            AccessLogs::Lines(logs) => {
                format!("{:?}", logs.iter().map(|log| log.sink.0).collect::<Vec<_>>())
            }
        }
    };
    assert_eq!(logs("", ""), "event");
    assert_eq!(logs("", "access_log: off"), "off");
    assert_eq!(logs("defaults: { access_log: [/a, /b] }", ""), "[0, 1]");
    assert_eq!(logs("defaults: { access_log: [/a, /b] }", "access_log: off"), "off");
    assert_eq!(logs("defaults: { access_log: /a }", "access_log: [/b, /b, /a]"), "[0, 0, 1]");
}
