//! Clients that stay with their endpoint (nginx `sticky`).

use std::time::Duration;

use crate::support::client::{Dial, Response};
use crate::support::http::response;
use crate::support::in_process::TestClock;
use crate::support::origin::Responder;
use crate::support::proxy::Proxy;

struct Stage {
    _workers: [Responder; 3],
    proxy: Proxy,
    clock: TestClock,
}

impl Stage {
    /// Three workers, which say who they are, and begin a session of their own where they are asked to.
    async fn start(upstream: &str, endpoints: [&str; 3], cookies: &str) -> Self {
        let start = async |name: &'static str| {
            Responder::start(move |request| match request.target.as_str() {
                "/login" => {
                    let cookie = format!("sid=secret-{name}");
                    response("200 OK", &[("Set-Cookie", &cookie)], name.as_bytes())
                }
                _ => response("200 OK", &[], name.as_bytes()),
            })
            .await
        };
        let workers = [start("a").await, start("b").await, start("c").await];
        let endpoints: Vec<String> = workers
            .iter()
            .zip(endpoints)
            .map(|(worker, more)| format!("{{ address: '{}'{more} }}", worker.address))
            .collect();
        let clock = TestClock::default();
        let proxy = Proxy::start_at(
            &clock,
            &format!(
                "workers: 1\nstate_directory: '{{directory}}'\nstore: memory\n{cookies}\n\
                 listeners: [{{ address: '127.0.0.1:0' }}]\n\
                 upstreams: {{ app: {{ endpoints: [{}], {upstream} }} }}\n\
                 servers: [{{ names: [_], routes: [{{ path: /, upstream: app }}] }}]\n",
                endpoints.join(", ")
            ),
        );
        Self { _workers: workers, proxy, clock }
    }

    async fn get(&self, target: &str, cookie: Option<&str>) -> Response {
        let mut client = Dial::to(self.proxy.address()).connect().await;
        let fields: Vec<(&str, &str)> = cookie.iter().map(|value| ("Cookie", *value)).collect();
        client.get("shop.example", target, &fields).await.expect(200)
    }
}

const ROUTES: [&str; 3] = [", route: a", ", route: b", ", route: c"];

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_leads_back_to_the_endpoint_that_set_it() {
    let stage =
        Stage::start("sticky: cookie srv expires=1h path=/", ROUTES, "cookies: { enforce: false }")
            .await;
    for expected in ["a", "b", "c", "a"] {
        let answer = stage.get("/", None).await;
        assert_eq!(answer.text(), expected, "the balance goes on");
        let cookies = answer.set_cookies();
        let [cookie] = &*cookies else { panic!("{cookies:?}") };
        assert!(cookie.starts_with(&format!("srv={expected}; expires=")), "{cookie}");
        assert!(cookie.ends_with(" GMT; max-age=3600; path=/"), "{cookie}");
    }
    for _ in 0..3 {
        let answer = stage.get("/", Some("x=1; srv=b")).await;
        assert_eq!(answer.text(), "b");
        assert_eq!(answer.set_cookies().len(), 1, "on every answer");
    }
    assert_eq!(stage.get("/", Some("srv=unknown")).await.text(), "b", "whose turn it is");
    assert_eq!(stage.get("/", None).await.text(), "c");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_cookie_keeps_to_the_rules_that_all_cookies_keep_to() {
    let stage = Stage::start("sticky: cookie srv", ["", "", ""], "").await;
    let cookie = stage.get("/", None).await.set_cookies().pop().expect("a cookie");
    let (value, attributes) = cookie.split_once(';').expect("attributes");
    let name = value.strip_prefix("srv=").expect("its name");
    assert!(name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
    let attributes = attributes.to_lowercase();
    assert!(attributes.contains("httponly") && attributes.contains("samesite=lax"), "{attributes}");
    for _ in 0..3 {
        assert_eq!(stage.get("/", Some(value)).await.text(), "a");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_what_the_first_variable_says() {
    let stage = Stage::start("sticky: route $arg_r $cookie_r", ROUTES, "").await;
    assert_eq!(stage.get("/?r=c", Some("r=b")).await.text(), "c");
    assert_eq!(stage.get("/?r=", Some("r=b")).await.text(), "b");
    assert!(stage.get("/?r=c", None).await.set_cookies().is_empty());
    assert_eq!(stage.get("/", None).await.text(), "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_learnt_from_answers_and_forgotten() {
    let upstream =
        "sticky: 'learn create=$upstream_cookie_sid lookup=$cookie_sid zone=s:1m timeout=1h'";
    let stage = Stage::start(upstream, ["", "", ""], "").await;
    assert_eq!(stage.get("/", None).await.text(), "a");
    assert_eq!(stage.get("/login", None).await.text(), "b");
    for _ in 0..3 {
        assert_eq!(stage.get("/", Some("sid=secret-b")).await.text(), "b");
        stage.clock.advance(Duration::from_secs(3000));
    }
    stage.clock.advance(Duration::from_secs(3700));
    let seen: Vec<String> = [
        stage.get("/", Some("sid=secret-b")).await.text(),
        stage.get("/", Some("sid=secret-b")).await.text(),
    ]
    .into();
    assert_eq!(seen, ["c", "a"], "nobody spoke of it for an hour");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_drains_keeps_its_clients_and_gets_no_others() {
    let stage = Stage::start(
        "sticky: cookie srv",
        [", route: a, drain: true", ", route: b", ", route: c, down: true"],
        "",
    )
    .await;
    for _ in 0..3 {
        assert_eq!(stage.get("/", None).await.text(), "b");
        assert_eq!(stage.get("/", Some("srv=a")).await.text(), "a");
        assert_eq!(stage.get("/", Some("srv=c")).await.text(), "b", "it is down");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sticky_without_sense_is_a_mistake() {
    for (sticky, expected) in [
        ("''", "says nothing that clients could be known by"),
        ("cookie", "has no name for the cookie"),
        ("cookie a=b", "cookie"),
        ("cookie srv expires=1", "has no unit"),
        ("cookie srv colour=red", "`colour=red` means nothing here"),
        ("route", "says nothing"),
        ("learn create=$arg_a zone=z:1m", "needs `create`, `lookup` and `zone`"),
        ("learn create=$arg_a lookup=$nobody zone=z:1m", "nobody"),
    ] {
        let yaml = format!(
            "state_directory: '{{directory}}'\nstore: memory\nlisteners: [{{ address: '127.0.0.1:0' }}]\n\
             upstreams: {{ app: {{ endpoints: [{{ address: '127.0.0.1:1' }}], sticky: {sticky} }} }}\n\
             servers: [{{ names: [_], routes: [{{ path: /, upstream: app }}] }}]\n"
        );
        let problem = Proxy::try_start(&yaml).err().expect("a mistake");
        assert!(problem.contains(expected), "{sticky}: {problem}");
    }
}
