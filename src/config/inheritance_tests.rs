//! Keys that are inherited: from the top, from a server, from a route.

use super::environment::testing::Given;
use super::{Config, parse};

/// What stands at the top, in the server, and in its first route; the second says nothing.
fn read(top: &str, server: &str, route: &str) -> Result<Config, String> {
    let text = format!(
        "listeners: [{{ address: '127.0.0.1:8443', tls: {{ self_signed: true }} }}]\n\
         store: memory\n\
         sessions:\n\x20 one: {{ app_cookies: [s], login: [{{ request: POST /login, success: {{ \
         status: [302] }} }}] }}\n\x20 two: {{ app_cookies: [t] }}\n\
         upstreams: {{ app: {{ endpoints: [{{ address: '127.0.0.1:7001' }}] }} }}\n\
         defaults: {{ {top} }}\n\
         servers:\n- routes:\n\x20 - {{ path: /a/, upstream: app, {route} }}\n\x20 - {{ path: /b/, \
         upstream: app }}\n\x20 {server}\n"
    );
    let environment = Given::default().environment();
    parse(&text, "c.yaml", &environment).map_err(|found| found.to_string())
}

/// The limit and the policy of the first route, and of the second.
#[track_caller]
fn check(top: &str, server: &str, route: &str, expected: [(u64, Option<&str>); 2]) {
    let config = read(top, server, route).unwrap_or_else(|found| panic!("{found}"));
    let found = config.servers[0].routes.iter().map(|route| {
        let session = route.session.as_ref().map(|policy| policy.name.as_str());
        (route.body_bytes_max, session)
    });
    assert_eq!(found.collect::<Vec<_>>(), expected, "{top}; {server}; {route}");
}

const MIB: u64 = 1024 * 1024;

#[test]
fn the_nearest_level_wins() {
    check("", "", "", [(MIB, None), (MIB, None)]);
    check("body_bytes_max: 5", "", "", [(5, None), (5, None)]);
    check("body_bytes_max: 5", "body_bytes_max: 6", "", [(6, None), (6, None)]);
    check("body_bytes_max: 5", "body_bytes_max: 6", "body_bytes_max: 7", [(7, None), (6, None)]);
    check("body_bytes_max: 5", "", "body_bytes_max: 0", [(0, None), (5, None)]);
}

#[test]
fn a_session_is_inherited_until_it_is_cancelled() {
    let (one, two) = (Some("one"), Some("two"));
    check("session: one", "", "", [(MIB, one), (MIB, one)]);
    check("session: one", "session: two", "", [(MIB, two), (MIB, two)]);
    check("session: one", "", "session: two", [(MIB, two), (MIB, one)]);
    for none in ["none", "off"] {
        check("session: one", "", &format!("session: {none}"), [(MIB, None), (MIB, one)]);
        let server = format!("session: {none}");
        check("session: one", &server, "session: two", [(MIB, two), (MIB, None)]);
    }
}

/// Lists and mappings are not put together from two levels.
#[test]
fn the_nearest_level_wins_whole() {
    let server = "cross_site: { unsafe: deny, except: [/hooks/] }";
    let config = read("", server, "cross_site: { unsafe: deny, origins: ['https://a.b'] }");
    let config = config.unwrap_or_else(|found| panic!("{found}"));
    let shown = |index: usize| format!("{:?}", config.servers[0].routes[index].cross_site);
    assert!(!shown(0).contains("hooks") && shown(0).contains("https://a.b"), "{}", shown(0));
    assert!(shown(1).contains("hooks"), "{}", shown(1));
}

/// It is told once, where it stands, with the line.
#[test]
fn a_mistake_in_what_is_inherited_is_said_once() {
    let found = read("body_bytes_max: big", "", "").expect_err("a mistake");
    assert_eq!(found.matches("error:").count(), 1, "{found}");
    assert!(
        found.contains("c.yaml:7:29: error: defaults.body_bytes_max: `big` is no size"),
        "{found}"
    );
}

#[test]
fn what_does_not_fit_a_route_names_the_line_that_it_comes_from() {
    let found = read("require: login", "", "session: one").expect_err("a mistake");
    let expected = "error: servers[0].routes[1]: inherits `defaults.require` from line 7: there is \
                    no session that could be logged in";
    assert!(found.contains(expected), "{found}");
    assert_eq!(found.matches("error:").count(), 1, "{found}");
    read("require: login, session: one", "", "require: nothing").expect("both routes can be met");
}

/// Only what stands in a route itself must have an effect there.
#[test]
fn what_is_inherited_may_be_of_no_use_to_a_route() {
    let top = "session_header: true, on_store_down: anonymous, stream: true, denied: redirect /x";
    read(top, "", "").expect("nothing is wrong");
    for own in top.split(", ").filter(|own| !own.starts_with("stream")) {
        read("", "", own).expect_err(own);
    }
}

#[test]
fn no_policy_is_named_like_the_absence_of_one() {
    let text = "sessions: { none: { app_cookies: [s] } }\n";
    let found = parse(text, "c.yaml", &Given::default().environment()).expect_err("mistakes");
    let found = found.to_string();
    assert!(found.contains("sessions.none: `session: none` says that a route has none"), "{found}");
}

#[test]
fn what_frames_a_message_or_tells_a_session_is_not_to_be_set() {
    for name in
        ["Content-Length", "transfer-encoding", "Connection", "Cookie", "X-Session-Id", "a b"]
    {
        let found = read("", "", &format!("request_headers: {{ '{name}': x }}"));
        let found = found.expect_err(name);
        assert!(found.contains(&format!("request_headers.{name}")), "{found}");
    }
    for route in ["uri: v2", "uri: '/a b'", "uri: '/$host'"] {
        let found = read("", "", route).expect_err(route);
        assert!(found.contains("routes[0].uri: is no path"), "{found}");
    }
}
