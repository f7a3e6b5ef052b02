use super::{Listen, SoKeepalive};
use crate::import::read::tests::one;

#[track_caller]
fn check(args: &str, expected: Result<fn(&mut Listen), &str>) {
    let directive = one(&format!("listen {args};"));
    let expected = expected.map(|change| {
        let address = Listen::read(&one("listen 80;")).expect("it reads").address;
        let mut listen = Listen::at(address);
        change(&mut listen);
        listen
    });
    assert_eq!(Listen::read(&directive), expected.map_err(str::to_owned), "{args}");
}

#[test]
fn parameters_of_listen() {
    check("80", Ok(|_| ()));
    check("80 default_server", Ok(|listen| listen.default_server = true));
    check("80 default", Ok(|listen| listen.default_server = true));
    check("80 ssl http2", Ok(|listen| (listen.ssl, listen.http2) = (true, true)));
    check("80 quic reuseport", Ok(|listen| (listen.quic, listen.reuseport) = (true, true)));
    check("80 proxy_protocol", Ok(|listen| listen.proxy_protocol = true));
    check("80 bind deferred", Ok(|listen| (listen.bind, listen.deferred) = (true, true)));
    check("80 multipath", Ok(|listen| listen.multipath = true));
    check("80 backlog=511", Ok(|listen| listen.backlog = Some(511)));
    check(
        "80 rcvbuf=4k sndbuf=1m",
        Ok(|listen| {
            (listen.rcvbuf, listen.sndbuf) = (Some(4096), Some(1 << 20));
        }),
    );
    check("80 fastopen=5", Ok(|listen| listen.fastopen = Some(5)));
    check("80 ipv6only=on", Ok(|listen| listen.ipv6only = Some(true)));
    check("80 accept_filter=httpready", Ok(|_| ()));
}

#[test]
fn keep_alive_of_the_socket() {
    check("80 so_keepalive=off", Ok(|listen| listen.so_keepalive = Some(SoKeepalive::Off)));
    check(
        "80 so_keepalive=30m::10",
        Ok(|listen| {
            listen.so_keepalive = Some(SoKeepalive::On {
                idle_secs: Some(1800),
                interval_secs: None,
                count: Some(10),
            });
        }),
    );
    for text in ["", "::", "x", "1:2:3:4", "0", "1:2:x", "ON"] {
        let expected = format!("invalid so_keepalive value: \"{text}\"");
        check(&format!("80 so_keepalive={text}"), Err(&expected));
    }
}

#[test]
fn wrong_parameters_are_named_as_by_nginx() {
    for (text, expected) in [
        ("80 foo", "invalid parameter \"foo\""),
        ("80 foo=1", "invalid parameter \"foo=1\""),
        ("80 backlog", "invalid parameter \"backlog\""),
        ("80 backlog=x", "invalid backlog \"backlog=x\""),
        ("80 backlog=0", "invalid backlog \"backlog=0\""),
        ("80 backlog=-1", "invalid backlog \"backlog=-1\""),
        ("80 rcvbuf=x", "invalid rcvbuf \"rcvbuf=x\""),
        ("80 sndbuf=", "invalid sndbuf \"sndbuf=\""),
        ("80 fastopen=x", "invalid fastopen \"fastopen=x\""),
        ("80 ipv6only=x", "invalid parameter \"ipv6only=x\""),
        ("80 ipv6only=ox", "invalid ipv6only flags \"ox\""),
        ("80 ssl quic", "\"ssl\" parameter is incompatible with \"quic\""),
        ("1:x", "invalid port in \"1:x\" of the \"listen\" directive"),
        ("unix: y", "no path in the unix domain socket in \"unix:\" of the \"listen\" directive"),
    ] {
        check(text, Err(expected));
    }
}
