//! Forty logins, each with four writes of its session in flight, at real applications: who is
//! logged out afterwards? And two additions to one cart at a time: is one lost?
//!
//! An application reads the session when a request comes and writes all of it back at the end.
//! A write that began before a login and ends after it therefore undoes the login: in a cookie,
//! since the last `Set-Cookie` wins, and in the application's own store, where no proxy sees it.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{ADMIN, counted};
use crate::support::apps::App;
use crate::support::browser::{Ask, Browser};
use crate::support::client::Response;
use crate::support::nginx::Nginx;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::shop::{ALICE, HOST, Shop, browser};

const ROUNDS: usize = 40;
/// How long the four writes of a round take, in milliseconds: two of them longer than a login
/// waits by rule 18, all of them together less than `wait`. Over two nodes the login has the short
/// ones on its own node, so that only a turn on all nodes makes it wait for the others.
const WRITES: [u64; 4] = [100, 2200, 300, 2300];
/// Between the writes and the login: the writes have reached their workers, or wait.
const HEAD_START: Duration = Duration::from_millis(100);
/// Between two rounds that begin: two cores have forty browsers to serve.
const APART: Duration = Duration::from_millis(250);

/// How many of forty browsers are not logged in after their round.
async fn logged_out(fresh: &Browser, nodes: usize) -> usize {
    let mut rounds = JoinSet::new();
    for number in 0..ROUNDS {
        rounds.spawn(is_logged_in(fresh.clone(), nodes, number));
    }
    rounds.join_all().await.into_iter().filter(|is_in| !is_in).count()
}

/// One round. The browser keeps what it is told in the order in which it is told, and is asked
/// when everything has settled.
async fn is_logged_in(mut browser: Browser, nodes: usize, number: usize) -> bool {
    sleep(APART * u32::try_from(number).expect("forty")).await;
    get(browser.node(number % nodes), "/?touch=1").await;
    let mut answers = JoinSet::new();
    for (at, millis) in WRITES.iter().enumerate() {
        let (item, delay) = (format!("i{at}"), millis.to_string());
        let ask = Ask::form("/cart/add", &[("item", &item), ("delay_ms", &delay)]);
        let response = browser.node((number + at) % nodes).dispatch(&ask);
        answers.spawn(async move { (ask, response.await) });
    }
    sleep(HEAD_START).await;
    let ask = Ask::form("/login", ALICE);
    let response = browser.node(number % nodes).dispatch(&ask);
    answers.spawn(async move { (ask, response.await.expect(302)) });
    while let Some(answer) = answers.join_next().await {
        let (ask, response) = answer.expect("an answer is read");
        browser.keep(&ask, &response);
    }
    let mut is_in = true;
    for node in 0..nodes {
        is_in &= get(browser.node(node), "/whoami").await.json()["user"] == "alice";
    }
    is_in
}

/// Asks for a page, again where the store had no time on a busy machine (`Retry-After`): that is
/// not what these tests are about.
async fn get(browser: &mut Browser, target: &str) -> Response {
    for _ in 0..10 {
        let response = browser.get(target).await;
        if response.status != 503 {
            return response.expect(200);
        }
        sleep(Duration::from_millis(500)).await;
    }
    panic!("no answer to {target}");
}

async fn behind(nodes: &[Proxy]) -> usize {
    let lost = logged_out(&browser(nodes), nodes.len()).await;
    if lost > 0 {
        for (number, node) in nodes.iter().enumerate() {
            for cause in ["timed_out", "store_down"] {
                let series = format!("cloakroom_out_of_turn_total{{cause=\"{cause}\"}}");
                println!("node {number}: {cause} {}", counted(node, &series).await);
            }
        }
    }
    lost
}

fn shop(app: &App, redis: &Redis, serialize: &str) -> Shop {
    Shop::at(app.address).store(redis).policy(&format!("serialize: {serialize}")).top(ADMIN)
}

#[tokio::test]
async fn in_turns_no_login_is_undone_egg_cookie_session() {
    let (app, redis) = (App::egg(), Redis::start());
    assert_eq!(behind(&[shop(&app, &redis, "unsafe").start()]).await, 0);
}

#[tokio::test]
async fn in_turns_no_login_is_undone_egg_redis_session() {
    let redis = Redis::start();
    let app = App::egg_redis(&redis);
    assert_eq!(behind(&[shop(&app, &redis, "unsafe").start()]).await, 0);
}

#[tokio::test]
async fn in_turns_no_login_is_undone_express() {
    let redis = Redis::start();
    let app = App::express(&redis);
    assert_eq!(behind(&[shop(&app, &redis, "unsafe").start()]).await, 0);
}

/// Where the whole session is in the cookie, a late answer is all that a late write is, and it is
/// fenced, on whatever node.
#[tokio::test]
async fn without_turns_no_login_is_undone_egg_cookie_session_over_two_nodes() {
    let (app, redis) = (App::egg(), Redis::start());
    let keys = tempfile::tempdir().expect("a directory");
    let nodes = shop(&app, &redis, "login").start_nodes(2, &keys);
    assert_eq!(behind(&nodes).await, 0);
}

/// What any proxy does that knows nothing of sessions. If this is 0, the others show nothing.
async fn nginx_loses(app: &App) -> usize {
    let nginx = Nginx::start(app.address);
    let lost = logged_out(&Browser::http(HOST, &[nginx.address]), 1).await;
    println!("behind nginx {lost} of {ROUNDS} were logged out");
    lost
}

#[tokio::test]
async fn behind_nginx_logins_are_undone_egg_cookie_session() {
    assert!(nginx_loses(&App::egg()).await > 0);
}

#[tokio::test]
async fn behind_nginx_logins_are_undone_egg_redis_session() {
    let redis = Redis::start();
    assert!(nginx_loses(&App::egg_redis(&redis)).await > 0);
}

#[tokio::test]
async fn behind_nginx_logins_are_undone_express() {
    let redis = Redis::start();
    assert!(nginx_loses(&App::express(&redis)).await > 0);
}

/// Two additions at a time, after a first one; the items that are in the cart at the end.
async fn cart(mut browser: Browser, nodes: usize) -> Vec<String> {
    browser.post_form("/cart/add", &[("item", "a")]).await.expect(200);
    let add = |item| Ask::form("/cart/add", &[("item", item), ("delay_ms", "300")]);
    let one = browser.node(0).dispatch(&add("b"));
    let two = browser.node(1 % nodes).dispatch(&add("c"));
    let (one, two) = tokio::join!(one, two);
    browser.keep(&add("b"), &one.expect(200));
    browser.keep(&add("c"), &two.expect(200));
    let cart = browser.node(0).get("/cart").await.expect(200).json();
    let items = cart["cart"].as_array().expect("a list").iter();
    let mut items: Vec<String> =
        items.map(|item| item.as_str().expect("a text").to_owned()).collect();
    items.sort();
    items
}

async fn cart_behind(nodes: &[Proxy]) -> Vec<String> {
    cart(browser(nodes), nodes.len()).await
}

#[tokio::test]
async fn in_turns_both_additions_are_kept_egg_cookie_session() {
    let (app, redis) = (App::egg(), Redis::start());
    let node = shop(&app, &redis, "unsafe").start();
    assert_eq!(cart_behind(&[node]).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn in_turns_both_additions_are_kept_egg_redis_session() {
    let redis = Redis::start();
    let app = App::egg_redis(&redis);
    let node = shop(&app, &redis, "unsafe").start();
    assert_eq!(cart_behind(&[node]).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn in_turns_both_additions_are_kept_express() {
    let redis = Redis::start();
    let app = App::express(&redis);
    let node = shop(&app, &redis, "unsafe").start();
    assert_eq!(cart_behind(&[node]).await, ["a", "b", "c"]);
}

const FLEET: &str = "{ requests: unsafe, fleet: true }";

/// With the turn taken on all nodes, the application's own store is in order too.
async fn over_two_nodes(app: &App, redis: &Redis) -> usize {
    let keys = tempfile::tempdir().expect("a directory");
    behind(&shop(app, redis, FLEET).start_nodes(2, &keys)).await
}

#[tokio::test]
async fn in_turns_of_the_fleet_no_login_is_undone_egg_redis_session() {
    let redis = Redis::start();
    assert_eq!(over_two_nodes(&App::egg_redis(&redis), &redis).await, 0);
}

#[tokio::test]
async fn in_turns_of_the_fleet_no_login_is_undone_express() {
    let redis = Redis::start();
    assert_eq!(over_two_nodes(&App::express(&redis), &redis).await, 0);
}

async fn cart_over_two_nodes(app: &App, redis: &Redis) -> Vec<String> {
    let keys = tempfile::tempdir().expect("a directory");
    cart_behind(&shop(app, redis, FLEET).start_nodes(2, &keys)).await
}

#[tokio::test]
async fn in_turns_of_the_fleet_both_additions_are_kept_egg_cookie_session() {
    let redis = Redis::start();
    assert_eq!(cart_over_two_nodes(&App::egg(), &redis).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn in_turns_of_the_fleet_both_additions_are_kept_egg_redis_session() {
    let redis = Redis::start();
    assert_eq!(cart_over_two_nodes(&App::egg_redis(&redis), &redis).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn in_turns_of_the_fleet_both_additions_are_kept_express() {
    let redis = Redis::start();
    assert_eq!(cart_over_two_nodes(&App::express(&redis), &redis).await, ["a", "b", "c"]);
}
