use super::*;
use crate::upstream::{Address, NextUpstream, Protocol, Timeouts};

const T0: UnixMillis = UnixMillis(1_000_000);

fn group(balance: Balance, weights: &[u32]) -> Arc<Group> {
    let endpoints = (0u16..).zip(weights).map(|(n, weight)| EndpointSettings {
        weight: *weight,
        ..EndpointSettings::new(Address::Inet(([127, 0, 0, 1], 7000 + n).into()))
    });
    Arc::new(Group::new(UpstreamSettings {
        name: "shop".to_owned(),
        host: None,
        balance,
        queue: None,
        protocol: Protocol::Http1,
        endpoints: endpoints.collect(),
        names: Vec::new(),
        resolved_by: None,
        check: None,
        timeouts: Timeouts::default(),
        next: NextUpstream::default(),
        tls: None,
    }))
}

fn hint(sticky: Option<&str>) -> Hint<'_> {
    Hint { client: "127.0.0.1".parse().expect("an address"), sticky, route: None, key: b"" }
}

fn after(secs: u64) -> UnixMillis {
    UnixMillis(T0.0 + secs * 1000)
}

/// An endpoint by its id.
fn of(group: &Group, id: usize) -> Arc<Endpoint> {
    group.lock().get(id).expect("one of the group").endpoint.clone()
}

/// The id of what is chosen, and whether the session has moved.
fn pick(
    group: &Group,
    sticky: Option<&str>,
    tried: &[usize],
    now: UnixMillis,
) -> Option<(usize, bool)> {
    let tried: Vec<_> = tried.iter().map(|id| of(group, *id)).collect();
    group.select(hint(sticky), &tried, now).map(|pick| (pick.endpoint.id, pick.moved))
}

#[track_caller]
fn check(group: &Group, tried: &[usize], now: UnixMillis, expected: &[usize]) {
    let picks: Vec<usize> =
        expected.iter().filter_map(|_| pick(group, None, tried, now)).map(|(id, _)| id).collect();
    assert_eq!(picks, expected);
}

fn failed(group: &Group, id: usize, now: UnixMillis) -> bool {
    group.failed(&of(group, id), now)
}

#[test]
fn requests_take_turns_by_weight() {
    check(&group(Balance::RoundRobin, &[5, 1, 1]), &[], T0, &[0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn what_was_tried_is_not_chosen_again() {
    let group = group(Balance::RoundRobin, &[1, 1]);
    check(&group, &[0], T0, &[1, 1]);
    assert_eq!(pick(&group, None, &[0, 1], T0), None);
    assert_eq!(pick(&self::group(Balance::RoundRobin, &[]), None, &[], T0), None);
}

#[test]
fn a_failed_endpoint_is_left_out_until_its_time_is_up() {
    let group = group(Balance::RoundRobin, &[1, 1]);
    assert!(failed(&group, 0, T0), "the first failure takes it out");
    check(&group, &[], after(10), &[1, 1, 1]);
    // Back with an effective weight of nothing: the other one is first in this round.
    check(&group, &[], after(11), &[1, 0, 1]);
    group.succeeded(&of(&group, 0), T0);
    assert!(group.status(after(11)).iter().all(|status| status.standing.is_up()));
}

#[test]
fn where_all_are_out_all_are_tried() {
    let group = group(Balance::RoundRobin, &[1, 1]);
    failed(&group, 0, T0);
    failed(&group, 1, T0);
    assert!(pick(&group, None, &[], T0).is_some());
    assert_eq!(pick(&group, None, &[0], T0), Some((1, false)));
    group.succeeded(&of(&group, 1), T0);
    let available: Vec<bool> = group.status(T0).iter().map(|s| s.standing.is_up()).collect();
    assert!(available[1], "an answer brings it back at once");
}

#[test]
fn sessions_stay_where_they_are() {
    let group = group(Balance::Session, &[1, 1, 1]);
    let second = of(&group, 1).text.clone();
    assert_eq!(second, "127.0.0.1:7001");
    for _ in 0..4 {
        assert_eq!(pick(&group, Some(&second), &[], T0), Some((1, false)));
    }
    check(&group, &[], T0, &[0, 1, 2]);
}

#[test]
fn sessions_move_only_where_they_must() {
    let group = group(Balance::Session, &[1, 1]);
    let moved = |sticky, tried: &[usize], now| pick(&group, Some(sticky), tried, now);
    assert_eq!(moved("127.0.0.1:7001", &[1], T0), Some((0, true)), "tried already");
    assert!(matches!(moved("127.0.0.1:9", &[], T0), Some((_, true))), "not configured");
    failed(&group, 1, T0);
    assert_eq!(moved("127.0.0.1:7001", &[], T0), Some((0, true)), "failed");
    assert_eq!(moved("127.0.0.1:7001", &[], after(11)), Some((1, false)), "tried again");
    failed(&group, 0, after(11));
    failed(&group, 1, after(11));
    assert_eq!(moved("127.0.0.1:7001", &[], after(11)), Some((1, false)), "all failed");
}

#[test]
fn other_ways_of_balancing_ignore_the_session() {
    let group = group(Balance::RoundRobin, &[1, 1]);
    assert_eq!(pick(&group, Some("127.0.0.1:7001"), &[], T0), Some((0, false)));
}

#[test]
fn the_least_busy_endpoint_is_chosen() {
    let group = group(Balance::LeastConn, &[1, 2, 1]);
    let _first = group.started(&of(&group, 0), T0);
    let second = group.started(&of(&group, 1), T0);
    let third = group.started(&of(&group, 2), T0);
    check(&group, &[], T0, &[1, 1]);
    let fourth = group.started(&of(&group, 1), T0);
    drop(third);
    check(&group, &[], T0, &[2]);
    assert_eq!(group.status(T0)[1].active, 2);
    drop((second, fourth));
    assert_eq!(group.status(T0)[1].active, 0);
    check(&group, &[1, 2], T0, &[0]);
}

#[test]
fn the_fastest_endpoint_is_chosen_unless_it_is_busy() {
    let by_time = |with_those_under_way| {
        let balance = Balance::LeastTime { until: Until::Head, with_those_under_way };
        let group = group(balance, &[1, 1, 1]);
        check(&group, &[], T0, &[0, 1, 2]);
        for (id, millis) in [(0, 40), (1, 30), (2, 100)] {
            group.took(&of(&group, id), Until::Head, Duration::from_millis(millis));
            group.took(&of(&group, id), Until::LastByte, Duration::from_millis(1));
        }
        group
    };
    let group = by_time(false);
    check(&group, &[], T0, &[1, 1]);
    let first = group.started(&of(&group, 1), T0);
    check(&group, &[], after(9), &[0, 0]);
    let second = group.started(&of(&group, 0), T0);
    check(&group, &[], after(9), &[1]);
    drop((first, second));
    check(&group, &[], T0, &[1]);
    let group = by_time(true);
    let _first = group.started(&of(&group, 1), T0);
    let _second = group.started(&of(&group, 0), T0);
    check(&group, &[], T0, &[1]);
    check(&group, &[], after(9), &[2]);
}

#[test]
fn equally_busy_endpoints_take_turns() {
    check(&group(Balance::LeastConn, &[2, 1]), &[], T0, &[0, 1, 0]);
}

#[test]
fn a_clients_network_keeps_its_endpoint() {
    let group = group(Balance::IpHash, &[1, 1, 1]);
    check(&group, &[], T0, &[2, 2, 2]);
    let elsewhere = pick(&group, None, &[2], T0).expect("two are left");
    assert_ne!(elsewhere.0, 2);
    failed(&group, 2, T0);
    assert_eq!(pick(&group, None, &[], T0), Some(elsewhere), "always the same other one");
}

#[test]
fn an_endpoint_that_is_gone_does_no_harm() {
    let named = EndpointSettings {
        name: Some(0),
        ..of(&group(Balance::RoundRobin, &[1]), 0).settings.clone()
    };
    let group = Arc::new(Group::direct(vec![named]));
    let (gone, active) = (of(&group, 0), group.started(&of(&group, 0), T0));
    group.replace(0, vec![EndpointSettings::new(Address::Inet(([127, 0, 0, 1], 9).into()))]);
    assert!(!group.failed(&gone, T0));
    group.succeeded(&gone, T0);
    drop((active, group.started(&gone, T0)));
    check(&group, &[], T0, &[1]);
    assert_eq!(group.status(T0)[0].active, 0);
}

#[test]
fn addresses_are_written_as_configured() {
    for (address, expected) in [
        (Address::Inet(([127, 0, 0, 1], 80).into()), "127.0.0.1:80"),
        (Address::Inet("[::1]:80".parse().expect("an address")), "[::1]:80"),
        (Address::Unix("/run/app.sock".into()), "unix:/run/app.sock"),
    ] {
        assert_eq!(address.to_string(), expected);
    }
}
