//! Certificates of clients, and plain HTTP where TLS is spoken.

use std::sync::Arc;

use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, date_time_ymd};

use super::group::Group;
use crate::support::authority::{Authority, Identity};
use crate::support::tls::Certificate;

/// What servers say of who asks.
const SAID: &str = "'$ssl_client_verify [$ssl_client_s_dn] [$ssl_client_i_dn] [$ssl_client_s_dn_legacy] \
    [$ssl_client_i_dn_legacy] $ssl_client_serial $ssl_client_fingerprint $ssl_client_v_start \
    $ssl_client_v_end $ssl_client_v_remain $ssl_client_escaped_cert'";

pub fn groups() -> Vec<Group> {
    let mut groups = vec![plain_on_tls()];
    groups.extend(clients());
    groups
}

/// Everybody who may come.
struct Clients {
    root: Authority,
    middle: Authority,
    all: Vec<(&'static str, Arc<Identity>)>,
}

impl Clients {
    fn new() -> Self {
        let root = Authority::root("root");
        let middle = root.below("middle", |_| {});
        let lower = middle.below("lower", |_| {});
        let stranger = Authority::root("stranger");
        let no_authority = root.below("no authority", |params| {
            params.is_ca = IsCa::ExplicitNoCa;
        });
        let short = root.below("short", |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        });
        let below_short = short.below("below short", |_| {});
        let all = vec![
            ("by root", root.issue("by root", 10, |_| {})),
            ("by middle", middle.issue("by middle", 11, |_| {})),
            ("by middle, alone", middle.issue("by middle", 12, |_| {}).bare()),
            ("by lower", lower.issue("by lower", 13, |_| {})),
            ("by stranger", stranger.issue("by stranger", 14, |_| {})),
            ("alone", Identity::alone("alone", 15, |_| {})),
            ("over", root.issue("over", 16, |params| params.not_after = date_time_ymd(2021, 1, 1))),
            (
                "early",
                root.issue("early", 17, |params| params.not_before = date_time_ymd(2035, 1, 1)),
            ),
            (
                "for servers",
                root.issue("for servers", 18, |params| {
                    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                }),
            ),
            (
                "for clients",
                root.issue("for clients", 19, |params| {
                    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                }),
            ),
            (
                "for lists",
                root.issue("for lists", 20, |params| {
                    params.key_usages = vec![KeyUsagePurpose::CrlSign]
                }),
            ),
            ("revoked", root.issue("revoked", 21, |_| {})),
            ("revoked below", middle.issue("revoked below", 22, |_| {})),
            ("by no authority", no_authority.issue("by no authority", 23, |_| {})),
            ("below short", below_short.issue("below short", 24, |_| {})),
            (
                "over, by stranger",
                stranger.issue("o", 25, |params| params.not_after = date_time_ymd(2021, 1, 1)),
            ),
            (
                "with a long name",
                root.issue("a, b + \"c\" <d>; é #\\", 0xfe_dcba, |params| {
                    let name = &mut params.distinguished_name;
                    name.push(rcgen::DnType::OrganizationName, " an org ");
                    name.push(rcgen::DnType::CountryName, "FR");
                    name.push(
                        rcgen::DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]),
                        "a@b",
                    );
                }),
            ),
        ];
        Self { root, middle, all }
    }

    fn find(&self, name: &str) -> &Arc<Identity> {
        &self.all.iter().find(|(known, _)| *known == name).expect("one of them").1
    }
}

fn with_files(group: Group, clients: &Clients) -> Group {
    let certificate = Certificate::for_names(&["a.example"]);
    let (root, middle) = (&clients.root, &clients.middle);
    let lists = format!("{}{}", root.revokes(&[21], 2040), middle.revokes(&[22], 2040));
    let old = format!("{}{}", root.revokes(&[], 2021), middle.revokes(&[], 2021));
    group
        .file("cert.pem", certificate.chain_pem.as_bytes())
        .file("key.pem", certificate.key_pem.as_bytes())
        .file("root.pem", root.pem())
        .file("middle.pem", middle.pem())
        .file("both.pem", format!("{}{}", root.pem(), middle.pem()))
        .file("alone.pem", clients.find("alone").chain.as_bytes())
        .file("lists.pem", lists)
        .file("one-list.pem", root.revokes(&[21], 2040))
        .file("old-lists.pem", old)
}

fn clients() -> Vec<Group> {
    let clients = Clients::new();
    let server = |name: &str, tls: &str| {
        format!(
            "server {{ listen 127.0.0.1:{{other}} ssl; server_name {name}; {tls} return 200 {SAID}; }}\n"
        )
    };
    let root = "ssl_client_certificate {dir}/root.pem;";
    let servers = [
        ("on.example", format!("ssl_verify_client on; {root}")),
        ("optional.example", format!("ssl_verify_client optional; {root}")),
        ("noca.example", format!("ssl_verify_client optional_no_ca; {root}")),
        ("noca0.example", format!("ssl_verify_client optional_no_ca; ssl_verify_depth 0; {root}")),
        ("noca3.example", format!("ssl_verify_client optional_no_ca; ssl_verify_depth 3; {root}")),
        ("crl.example", format!("ssl_verify_client optional_no_ca; ssl_verify_depth 2; ssl_crl {{dir}}/lists.pem; {root}")),
        ("onecrl.example", format!("ssl_verify_client optional_no_ca; ssl_crl {{dir}}/one-list.pem; {root}")),
        ("oldcrl.example", format!("ssl_verify_client optional_no_ca; ssl_crl {{dir}}/old-lists.pem; {root}")),
        ("alone.example", "ssl_verify_client on; ssl_client_certificate {dir}/alone.pem;".to_owned()),
        ("middle.example", "ssl_verify_client optional_no_ca; ssl_client_certificate {dir}/middle.pem;".to_owned()),
        ("trusted.example", "ssl_verify_client on; ssl_client_certificate {dir}/middle.pem; ssl_trusted_certificate {dir}/root.pem;".to_owned()),
        ("off.example", format!("ssl_verify_client off; {root}")),
    ];
    let mut groups = Vec::new();
    let all: String = servers.iter().map(|(name, tls)| server(name, tls)).collect();
    let http = format!(
        "ssl_certificate {{dir}}/cert.pem; ssl_certificate_key {{dir}}/key.pem;\n{all}\
         server {{ listen 127.0.0.1:{{port}}; return 204; }}"
    );
    for (name, group) in servers.iter().map(|(name, _)| *name).zip([
        "who must show a certificate",
        "who may show one",
        "who may show any",
        "depth 0",
        "depth 3",
        "revocation lists",
        "a list is missing",
        "lists that are over",
        "one that is trusted itself",
        "an authority in the middle",
        "an authority that is not told",
        "who is not asked",
    ]) {
        let mut group = with_files(Group::new(group, http.clone()), &clients);
        group = group.ask("GET", name, "/", &[], "").over_tls(name);
        for (_, identity) in &clients.all {
            group = group.ask("GET", name, "/", &[], "").over_tls(name).showing(identity);
        }
        groups.push(group);
    }
    groups.push(pages(&clients));
    groups.push(other_hosts(&clients, http));
    groups
}

/// What stands in an error's place.
fn pages(clients: &Clients) -> Group {
    let server = |name: &str, rest: &str| {
        format!(
            "server {{ listen 127.0.0.1:{{other}} ssl; server_name {name}; ssl_verify_client on; \
             ssl_client_certificate {{dir}}/root.pem; {rest} location / {{ return 200 in; }} }}\n"
        )
    };
    let http = [
        "ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem;\n".to_owned(),
        server("page.example", "error_page 495 496 /bad; location = /bad { return 200 'bad $ssl_client_verify'; }"),
        server("status.example", "error_page 495 496 =403 /bad; location = /bad { return 200 bad; }"),
        server("own.example", "error_page 495 496 = /bad; location = /bad { return 401 bad; }"),
        server("url.example", "error_page 495 496 https://login.example/?why=$ssl_client_verify;"),
        server("named.example", "error_page 495 496 @bad; location @bad { proxy_pass http://{origin}; }"),
        server("file.example", "root {dir}; error_page 495 /bad.html; error_page 496 /none.html;"),
        server("four.example", "error_page 400 /four; location = /four { return 200 four; }"),
        server("intercepted.example", "proxy_intercept_errors on; error_page 496 =200 /bad; location = /bad { proxy_pass http://{origin}; }"),
        "server { listen 127.0.0.1:{port}; location = /495 { return 495; } location = /496 { return 496; } \
         location = /497 { return 497; } error_page 496 /page; location = /page { return 200 page; } }"
            .to_owned(),
    ]
    .concat();
    let mut group = with_files(Group::new("pages for certificates", http), clients)
        .file("bad.html", "a bad one\n")
        .file("none.html", "none\n");
    for name in ["page", "status", "own", "url", "named", "file", "four", "intercepted"] {
        let host: &'static str = format!("{name}.example").leak();
        // As for every page, nginx would pass a body on with the GET that it makes of a POST.
        let methods: &[_] = match name {
            "intercepted" => &[("GET", ""), ("HEAD", "")],
            _ => &[("GET", ""), ("HEAD", ""), ("POST", "body")],
        };
        for (method, body) in methods {
            group = group.ask(method, host, "/x?y", &[], body).over_tls(host);
            group = group
                .ask(method, host, "/x?y", &[], body)
                .over_tls(host)
                .showing(clients.find("by stranger"));
        }
        group =
            group.ask("GET", host, "/", &[], "").over_tls(host).showing(clients.find("by root"));
    }
    group.gets(&["/495", "/496", "/497"])
}

/// A request for another server than the one that hands were shaken for.
fn other_hosts(clients: &Clients, http: String) -> Group {
    let mut group = with_files(Group::new("another host than SNI's", http), clients);
    for (name, host) in [
        ("off.example", "on.example"),
        ("off.example", "optional.example"),
        ("off.example", "noca.example"),
        ("on.example", "off.example"),
        ("off.example", "unknown.example"),
        ("unknown.example", "unknown.example"),
        ("unknown.example", "off.example"),
        ("unknown.example", "on.example"),
        ("on.example", "ON.example"),
        ("on.example", "on.example:444"),
        ("127.0.0.1", "on.example"),
        ("127.0.0.1", "off.example"),
        ("127.0.0.1", "unknown.example"),
    ] {
        let by_root = clients.find("by root");
        group = group.ask("GET", host, "/", &[], "").over_tls(name);
        group = group.ask("GET", host, "/", &[], "").over_tls(name).showing(by_root);
    }
    let none = group.ask("GET", "optional.example", "/", &[], "").over_tls("127.0.0.1");
    none.ask("GET", "noca0.example", "/", &[], "")
        .over_tls("127.0.0.1")
        .showing(clients.find("by root"))
        .differs("another server's authorities count for nothing")
}

/// Plain HTTP on a port of TLS.
fn plain_on_tls() -> Group {
    let certificate = Certificate::for_names(&["a.example"]);
    let server = |name: &str, rest: &str| {
        format!("server {{ listen 127.0.0.1:{{other}} ssl; server_name {name}; {rest} }}\n")
    };
    let http = [
        "ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem;\n".to_owned(),
        server("a.example", "location / { return 200 in; }"),
        server("moved.example", "error_page 497 https://$host$request_uri;"),
        server("moved301.example", "error_page 497 =301 https://$host:8443$request_uri;"),
        server("page.example", "error_page 497 /page; location = /page { return 200 '$scheme [$https]'; }"),
        server("same.example", "error_page 497 =200 /page; location = /page { return 200 '$scheme [$https]'; }"),
        server("four.example", "error_page 400 /four; location = /four { return 200 four; }"),
        server("verified.example", "ssl_verify_client on; ssl_client_certificate {dir}/cert.pem; location / { return 200 in; }"),
        "server { listen 127.0.0.1:{port}; return 204; }".to_owned(),
    ]
    .concat();
    let mut group = Group::new("plain HTTP where TLS is spoken", http)
        .file("cert.pem", certificate.chain_pem.as_bytes())
        .file("key.pem", certificate.key_pem.as_bytes());
    for host in ["a", "moved", "moved301", "page", "same", "four", "verified"] {
        let host = format!("{host}.example");
        for (method, target, body) in
            [("GET", "/x?y=z", ""), ("HEAD", "/", ""), ("POST", "/a", "body")]
        {
            group = group.ask(method, &host, target, &[], body).elsewhere();
        }
    }
    group.raw("GET / HTTP/1.0\r\n\r\n").elsewhere().raw("GARBAGE\r\n\r\n").elsewhere()
}
