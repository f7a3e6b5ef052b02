//! Which server, which location, which value of a map.

use super::group::Group;

pub fn groups() -> Vec<Group> {
    vec![names(), default_servers(), locations(), targets(), maps(), geos()]
}

const NAMES: &[&str] = &[
    "a.example",
    "A.Example",
    "a.example.",
    "a.example:80",
    "www.a.example",
    "x.y.a.example",
    "mail.b",
    "mail.b.c",
    "mail",
    "c.example",
    "d.c.example",
    "re12.example",
    "re.example",
    "unknown",
    "127.0.0.1",
    "[::1]",
    "[::1]:80",
    "a..example",
    "a b",
    "",
    "_",
    "a.example/",
];

/// Hosts that only nginx takes.
const LAX: &[&str] = &[".c.example", "a.example:x", "é.example", "a.example#", "user@a.example"];

fn names() -> Group {
    let servers = [
        ("first.example", ""),
        ("a.example", ""),
        ("*.a.example", ""),
        ("mail.*", ""),
        (".c.example", ""),
        (r"~^re\d+\.example$", ""),
        (r"~^.*\.y\.a\.example$", ""),
        ("''", ""),
    ];
    let http: String = servers
        .iter()
        .map(|(name, more)| {
            let shown = name.replace(['\'', '~', '^', '$', '\\', '(', ')', '?', '<', '>'], "");
            format!(
                "server {{ listen 127.0.0.1:{{port}}; server_name {}; \
                 return 200 'is {shown} [$server_name] [$host]{more}'; }}\n",
                if name.starts_with('~') { format!("'{name}'") } else { (*name).to_owned() },
            )
        })
        .collect();
    let group = NAMES.iter().fold(Group::new("names of servers", http), |group, name| {
        group.ask("GET", name, "/", &[], "")
    });
    LAX.iter()
        .fold(group, |group, name| {
            group.ask("GET", name, "/", &[], "").differs(
                "Hosts with anything but letters, digits, `-`, `_` and dots, or with another port than a \
                 number, are 400.",
            )
        })
        .raw("GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        .raw("GET / HTTP/1.0\r\n\r\n")
        .raw("GET / HTTP/1.0\r\nHost: a.example\r\n\r\n")
        .raw("GET / HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        .raw("GET http://mail.z/ HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        .raw("GET http://mail.z/ HTTP/1.0\r\n\r\n")
}

fn default_servers() -> Group {
    Group::new(
        "default servers",
        "server { listen 127.0.0.1:{port}; server_name one; return 200 one; } \
         server { listen 127.0.0.1:{port} default_server; listen 127.0.0.1:{other}; server_name two; return 200 two; } \
         server { listen 127.0.0.1:{other}; server_name three; return 200 three$server_port; }",
    )
    .ask("GET", "one", "/", &[], "")
    .ask("GET", "three", "/", &[], "")
    .ask("GET", "none", "/", &[], "")
    .ask("GET", "none", "/", &[], "").elsewhere()
    .ask("GET", "one", "/", &[], "").elsewhere()
    .ask("GET", "three", "/", &[], "").elsewhere()
}

fn locations() -> Group {
    let places = [
        ("= /", "exact"),
        ("/", "root"),
        ("/docs/", "docs"),
        ("^~ /images/", "images"),
        (r"~* \.(git|jpx)$", "pictures"),
        (r"~ ^/docs/\d+$", "number"),
        ("= /docs", "exactdocs"),
        ("'/with blank'", "blank"),
        ("/Case", "case"),
        ("^~ /docs/deep/", "deep"),
    ];
    let text: String = places
        .iter()
        .map(|(path, name)| format!("location {path} {{ return 200 '{name} $uri'; }}\n"))
        .collect();
    Group::server("locations", &text).gets(&[
        "/",
        "/x",
        "/docs",
        "/docs/",
        "/docs/1",
        "/docs/1a",
        "/docs/x.bin",
        "/images/x.bin",
        "/x.GIT",
        "/x.jpx?y",
        "/docs/deep/1.git",
        "/docs/deep",
        "/a%20b",
        "/a%2520b",
        "/with%20blank",
        "/with+blank",
        "/Case",
        "/case",
        "//docs//1",
        "/docs/./1",
        "/x/../docs/1",
        "/docs%2F1",
        "/%64ocs/1",
        "/docs/1/",
        "/docs/1?x.gif",
        "/images",
        "/docs//",
        "/?a=/docs/1",
        "/docs/..",
        "/docs/../",
        "/.",
        "/..a",
        "/...",
        "/docs/.gif",
        "/%2e/docs/1",
    ])
}

/// What a target means, and which are refused.
fn targets() -> Group {
    let mut group = Group::server(
        "targets",
        "location / { return 200 '$uri|$args|$request_uri|$is_args|$document_uri|$query_string'; }",
    );
    for target in [
        "/",
        "/?",
        "/??",
        "/?a=1&b=2",
        "/a?b?c",
        "/%41%62",
        "/%2f",
        "/%25",
        "/%2525",
        "/a%0ab",
        "/a%09b",
        "/a+b",
        "/a/b/../c",
        "/a/b/%2e%2e/c",
        "/a/./b",
        "/a//b",
        "/a///",
        "/a/..",
        "/a/.",
        "/a/...",
        "/a/..b",
        "/a/b..",
        "/a%3fb",
        "/a%23b",
        "/a#b",
        "/a?b#c",
        "/~a",
        "/a;b=c",
        "/a:b",
        "/a@b",
        "/a!b",
        "/a$b",
        "/a&b",
        "/a'b",
        "/a(b)",
        "/a*b",
        "/a,b",
        "/a=b",
        "/a[b]",
        "/a{b}",
        "/a|b",
        "/a^b",
        "/?a=%zz",
        "/?x=[1]",
        "/\u{e4}",
        "/?\u{e4}",
        "/%c3%a4",
    ] {
        group = group.get(target);
    }
    for target in [
        "/%",
        "/%1",
        "/%zz",
        "/../",
        "/..",
        "/a/../../b",
        "a",
        "*",
        "http:/x",
        "/%00",
        "/a%00b",
        "/a b",
    ] {
        group = group.get(target);
    }
    for line in [
        "GET",
        "GET ",
        "GET / HTTP/2.0",
        "GET / HTTP/1.2",
        "GET / HTTP/1.",
        "GET / http/1.1",
        "GE T / HTTP/1.1",
        "G=T / HTTP/1.1",
        "FOO / HTTP/1.1",
        "GET / HTTP/01.1",
        " GET / HTTP/1.1",
    ] {
        group = group.raw(format!("{line}\r\nHost: a\r\nConnection: close\r\n\r\n"));
    }
    for (line, reason) in [
        ("GET /", "Requests without a version (HTTP/0.9) are 400."),
        ("get / HTTP/1.1", "A method may be any token (RFC 9110 section 9.1)."),
        ("GET  /  HTTP/1.1", "Two blanks in a request line are 400."),
        ("GET / HTTP/0.9", "Versions that are none of HTTP/1 are 505."),
    ] {
        group =
            group.raw(format!("{line}\r\nHost: a\r\nConnection: close\r\n\r\n")).differs(reason);
    }
    group
}

fn maps() -> Group {
    Group::new(
        "maps",
        "map $arg_x $y { default none; a one; ~^b(?<rest>.*) two$rest; ~*^C three; *.suffix four; '' empty; \\~t tilde; } \
         map $arg_h $z { hostnames; default -; a.example exact; *.b.example wild; .c.example both; d.* end; ~^e regex; } \
         map $arg_v $w { volatile; default $arg_d; 1 $y; } \
         map '$arg_x:$arg_h' $both { default no; 'a:a.example' yes; } \
         server { listen 127.0.0.1:{port}; return 200 '$y|$z|$w|$both'; }",
    )
    .gets(&[
        "/?x=a&h=a.example", "/?x=A&h=A.EXAMPLE", "/?x=b1&h=x.b.example", "/?x=cc&h=b.example", "/?x=&h=c.example", "/?h=x.c.example",
        "/?x=~t&h=d.x", "/?x=x.suffix&h=e1", "/?v=1&x=a", "/?v=2&d=z", "/?x=%61", "/?X=a", "/?xx=b&x=a&x=b", "/?x", "/?x=a=b",
    ])
}

fn geos() -> Group {
    Group::new(
        "geo and split_clients",
        "geo $where { default far; 127.0.0.0/8 near; 127.0.0.2/32 nearer; } \
         geo $arg_ip $place { ranges; default -; 10.0.0.0-10.0.0.255 ten; 192.168.0.0-192.168.255.255 home; } \
         geo $arg_ip $net { default -; 10.0.0.0/8 a; 10.1.0.0/16 b; 2001:db8::/32 six; delete 10.1.0.0/16; } \
         split_clients '$arg_x' $part { 20% one; 30.5% two; * rest; } \
         server { listen 127.0.0.1:{port}; return 200 '$where|$place|$net|$part'; }",
    )
    .gets(&["/", "/?ip=10.0.0.7&x=1", "/?ip=192.168.7.7&x=2", "/?ip=10.1.2.3&x=3", "/?ip=2001:db8::1&x=4", "/?ip=x&x=5",
        "/?x=6", "/?x=7", "/?x=8", "/?x=abc", "/?x=%20"])
}
