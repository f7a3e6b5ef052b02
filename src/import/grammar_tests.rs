use std::collections::BTreeMap;

use super::Nginx;
use crate::import::read::read;

#[track_caller]
fn check(text: &str, expected: &str) {
    let files = BTreeMap::from([("/n.conf".to_owned(), text.as_bytes().to_vec())]);
    let found = match read(&files, "/n.conf", "", &mut Nginx::default()) {
        Ok(_) => String::new(),
        Err(mistake) => mistake.to_string(),
    };
    let expected = match expected {
        "" | "no \"events\" section in configuration" => expected.to_owned(),
        _ => format!("{expected} in /n.conf:1"),
    };
    assert_eq!(found, expected, "{text}");
}

fn in_server(text: &str) -> String {
    format!("events {{}} http {{ server {{ {text} }} }}")
}

#[test]
fn a_whole_file_is_good() {
    check(
        "user www-data; worker_processes auto; events { worker_connections 768; } \
         http { map $http_upgrade $up { default upgrade; '' close; } upstream app { server a:1; \
         keepalive 8; } server { listen 443 ssl http2 default_server; server_name x *.x; \
         location / { proxy_pass http://app; limit_except GET { deny all; } \
         if ($x = 1) { return 403; } } } types { a/b c; } }",
        "",
    );
}

#[test]
fn directives_stand_where_they_may() {
    check("foo;", "unknown directive \"foo\"");
    check("proxy_pass x;", "\"proxy_pass\" directive is not allowed here");
    check(&in_server("proxy_pass x;"), "\"proxy_pass\" directive is not allowed here");
    check(&in_server("location / { listen 80; }"), "\"listen\" directive is not allowed here");
    check(&in_server("if ($x) { proxy_pass x; }"), "\"proxy_pass\" directive is not allowed here");
    check("server { }", "\"server\" directive is not allowed here");
    check("user a { }", "directive \"user\" is not terminated by \";\"");
    check("http;", "directive \"http\" has no opening \"{\"");
    check("user a b c;", "invalid number of arguments in \"user\" directive");
    check("events x {", "invalid number of arguments in \"events\" directive");
    check(&in_server("server_name;"), "invalid number of arguments in \"server_name\" directive");
}

#[test]
fn what_may_stand_once_stands_once() {
    check("pid a; pid b;", "\"pid\" directive is duplicate");
    check("events {} events {}", "\"events\" directive is duplicate");
    check(&in_server("root a; root b;"), "\"root\" directive is duplicate");
    check(
        &in_server("location / { root a; alias b; }"),
        "\"alias\" directive is duplicate, \"root\" directive was specified earlier",
    );
    check(&in_server("root a; location / { root b; }"), "");
    check(&in_server("add_header a b; add_header a b;"), "");
    check(
        "events {} http { map $a $b { default 1; default 2; } }",
        "duplicate default map parameter",
    );
}

#[test]
fn names_are_given_once() {
    let http = |text: &str| format!("events {} http {{ {text} }}", "{}");
    let upstreams = "upstream u { server a; } upstream U { server a; }";
    check(&http(upstreams), "duplicate upstream \"U\"");
    check(&http("log_format a b; log_format a c;"), "duplicate \"log_format\" name \"a\"");
    check(&http("log_format combined b;"), "duplicate \"log_format\" name \"combined\"");
    for (locations, expected) in [
        ("location /a { } location /a { }", "duplicate location \"/a\""),
        ("location /a { } location = /a { } location ^~ /a { }", "duplicate location \"/a\""),
        ("location /a { location /a { } }", ""),
        ("location /a { location /ab { } location /ab { } }", "duplicate location \"/ab\""),
        ("location ~ a { } location ~ a { } location @b { } location @b { }", ""),
    ] {
        check(&in_server(locations), expected);
    }
}

#[test]
fn addresses_are_given_once() {
    let servers = |one: &str, other: &str| {
        format!("events {{}} http {{ server {{ {one} }} server {{ {other} }} }}")
    };
    let twice = |text: &str| format!("a duplicate listen {text}");
    check(&in_server("listen 80; listen 80;"), &twice("0.0.0.0:80"));
    check(&in_server("listen 127.0.0.1; listen 127.0.0.1:80;"), &twice("127.0.0.1:80"));
    check(&in_server("listen [::1]:80; listen [0:0::1];"), &twice("[::1]:80"));
    check(&in_server("listen unix:/x; listen unix:/x;"), &twice("unix:/x"));
    check(&in_server("listen 80-82; listen 81;"), &twice("0.0.0.0:81"));
    check(&in_server("listen 443 quic; listen 443 ssl;"), "");
    check(&servers("listen 80;", "listen 80;"), "");
    check(
        &servers("listen 80 default_server;", "listen *:80 default_server;"),
        "a duplicate default server for 0.0.0.0:80",
    );
    check(
        &servers("listen 80 backlog=5;", "listen 80 bind;"),
        "duplicate listen options for 0.0.0.0:80",
    );
    check(&servers("listen 80 backlog=5;", "listen 80 default_server;"), "");
}

#[test]
fn a_configuration_has_events() {
    check("pid x;", "no \"events\" section in configuration");
}

#[test]
fn values_are_of_their_kind() {
    let http = |text: &str| format!("events {{}} http {{ {text} }}");
    for (text, expected) in [
        (
            "sendfile x;",
            "invalid value \"x\" in \"sendfile\" directive, it must be \"on\" or \"off\"",
        ),
        ("sendfile ON;", ""),
        ("keepalive_requests x;", "\"keepalive_requests\" directive invalid number"),
        ("client_max_body_size 1x;", "\"client_max_body_size\" directive invalid value"),
        ("client_max_body_size 1g;", ""),
        ("client_body_buffer_size 1g;", "\"client_body_buffer_size\" directive invalid value"),
        ("proxy_read_timeout 5x;", "\"proxy_read_timeout\" directive invalid value"),
        ("proxy_buffers 0 4k;", "\"proxy_buffers\" directive invalid value"),
        ("client_body_in_file_only x;", "invalid value \"x\""),
        ("proxy_next_upstream error x;", "invalid value \"x\""),
        ("client_body_temp_path x 9 9;", "\"client_body_temp_path\" directive invalid value"),
        ("client_body_temp_path x 1 2 3;", ""),
        ("proxy_store_access user:rw x:r;", "invalid value \"x:r\""),
        ("limit_req_status 200;", "value must be between 400 and 599"),
        ("gzip_window 3k;", "\"gzip_window\" directive must be 512, 1k, 2k, 4k, 8k, 16k, or 32k"),
        ("connection_pool_size 1;", "the pool size must be no less than 112"),
        ("connection_pool_size 257;", "the pool size must be a multiple of 16"),
        ("upstream u { }", "no servers are inside upstream"),
        ("split_clients a $b { x a; }", "invalid percent value \"x\""),
        ("map $a $b { a b c; }", "invalid number of the map parameters"),
        ("map $a $b { a { } }", "unexpected \"{\""),
        ("geo $b { a b c; }", "invalid number of the geo parameters"),
        ("types { include; }", "invalid number of arguments in \"include\" directive"),
    ] {
        check(&http(text), expected);
    }
}

#[test]
fn locations_stand_inside_others() {
    for (text, expected) in [
        ("location ! b { }", "invalid location modifier \"!\""),
        ("location /a { location /b { } }", "location \"/b\" is outside location \"/a\""),
        (
            "location = /a { location /a { } }",
            "location \"/a\" cannot be inside the exact location \"/a\"",
        ),
        (
            "location @a { location /a { } }",
            "location \"/a\" cannot be inside the named location \"@a\"",
        ),
        (
            "location /a { location @a { } }",
            "named location \"@a\" can be on the server level only",
        ),
        ("location ~ a { location /b { } }", "location \"/b\" is outside location \"a\""),
        ("location /a { location ~ b { } location ^~ /ab { } }", ""),
        ("location =/a { } location ~*x { } location ^~/b { }", ""),
    ] {
        check(&in_server(text), expected);
    }
}

#[test]
fn directives_of_others_are_let_through() {
    check("load_module x.so; rtmp { server { application live { live on; } } } events {}", "");
    check(
        &in_server("location / { content_by_lua_block { ngx.say({}) } more_set_headers x; }"),
        "",
    );
    check(&in_server("brotli on; brotli_types *; pagespeed on;"), "");
    check("image_filter off;", "\"image_filter\" directive is not allowed here");
}

#[test]
fn newer_directives_are_known() {
    check(&in_server("listen 443 quic; http2 on; http3 on; quic_retry on;"), "");
    check("events {} http { add_header_inherit merge; proxy_pass_trailers on; }", "");
    check("events {} http { proxy_http_version 2; proxy_limit_rate $x; }", "");
    check("events {} http { upstream u { server a; sticky; keepalive 32 local; } }", "");
}
