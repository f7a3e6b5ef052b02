//! How hands are shaken: versions, suites, groups, tickets, keys.

use std::process::Command;

use super::group::Group;
use crate::support::authority::{Authority, Identity};
use crate::support::tls::{BOTH, Certificate, ONLY_TLS12, ONLY_TLS13};

pub fn groups() -> Vec<Group> {
    vec![chosen(), resumed(), kept(), keys()]
}

const SAID: &str = "return 200 '$ssl_protocol $ssl_cipher $ssl_curve $ssl_session_reused [$ssl_server_name] \
    [$ssl_early_data] [$ssl_alpn_protocol]';";

fn with_certificate(group: Group) -> Group {
    let certificate = Certificate::for_names(&["a.example"]);
    group
        .file("cert.pem", certificate.chain_pem.as_bytes())
        .file("key.pem", certificate.key_pem.as_bytes())
}

fn servers(servers: &[(&str, &str)], said: &str) -> String {
    let one = |(name, tls): &(&str, &str)| {
        format!(
            "server {{ listen 127.0.0.1:{{other}} ssl; server_name {name}.example; {tls} {said} }}\n"
        )
    };
    let all: String = servers.iter().map(one).collect();
    format!(
        "ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {{dir}}/cert.pem; ssl_certificate_key {{dir}}/key.pem;\n\
         {all} server {{ listen 127.0.0.1:{{port}}; return 204; }}"
    )
}

fn chosen() -> Group {
    let said = SAID.replace("$ssl_curve ", "");
    let all = [
        ("plain", ""),
        ("rejected", "ssl_reject_handshake on;"),
        ("chacha", "ssl_ciphers ECDHE-ECDSA-CHACHA20-POLY1305; ssl_prefer_server_ciphers on;"),
        ("aes128", "ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256;"),
        (
            "own",
            "ssl_ciphers ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256; ssl_prefer_server_ciphers on;",
        ),
        ("theirs", "ssl_ciphers ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256;"),
        ("rsa", "ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256;"),
        ("p384", "ssl_ecdh_curve secp384r1;"),
    ];
    let group = with_certificate(Group::new("suites and groups", servers(&all, &said)));
    all.iter().fold(group, |group, (name, _)| {
        let host: &'static str = format!("{name}.example").leak();
        [BOTH, ONLY_TLS12, ONLY_TLS13].into_iter().fold(group, |group, versions| {
            group.ask("GET", host, "/", &[], "").over_tls(host).by(versions)
        })
    })
}

fn resumed() -> Group {
    let all = [
        ("plain", ""),
        ("none", "ssl_session_tickets off;"),
        ("both", "ssl_session_cache shared:both:1m;"),
        ("keyed", "ssl_session_ticket_key {dir}/48.key; ssl_session_ticket_key {dir}/80.key;"),
        ("brief", "ssl_session_timeout 1h;"),
        ("verified", "ssl_verify_client optional; ssl_client_certificate {dir}/root.pem;"),
    ];
    let said =
        "return 200 '$ssl_protocol $ssl_session_reused $ssl_client_verify $ssl_client_s_dn';";
    let root = Authority::root("root");
    let group = with_certificate(Group::new("sessions that are resumed", servers(&all, said)))
        .file("root.pem", root.pem())
        .file("48.key", [7; 48])
        .file("80.key", [8; 80]);
    let group = all.iter().fold(group, |group, (name, _)| {
        let host: &'static str = format!("{name}.example").leak();
        [ONLY_TLS12, ONLY_TLS13].into_iter().fold(group, |group, versions| {
            group
                .ask("GET", host, "/", &[], "")
                .over_tls(host)
                .by(versions)
                .ask("GET", host, "/", &[], "")
                .over_tls(host)
                .by(versions)
                .twice()
        })
    });
    let (good, bad) = (root.issue("good", 3, |_| {}), Identity::alone("bad", 4, |_| {}));
    [&good, &bad].into_iter().fold(group, |group, identity| {
        [ONLY_TLS12, ONLY_TLS13].into_iter().fold(group, |group, versions| {
            let group = group.ask("GET", "verified.example", "/", &[], "");
            group.over_tls("verified.example").by(versions).showing(identity).twice()
        })
    })
}

/// Of a listener's default server, for nginx looks for sessions before it knows another one.
fn kept() -> Group {
    let all = [("kept", "ssl_session_tickets off; ssl_session_cache shared:kept:1m;")];
    let said = "return 200 '$ssl_protocol $ssl_session_reused';";
    let group = with_certificate(Group::new("sessions that are kept", servers(&all, said)));
    [ONLY_TLS12, ONLY_TLS13].into_iter().fold(group, |group, versions| {
        group.ask("GET", "kept.example", "/", &[], "").over_tls("kept.example").by(versions).twice()
    })
}

/// Kinds of keys side by side, and encrypted ones.
fn keys() -> Group {
    let said = "return 200 '$ssl_protocol $ssl_cipher';";
    let both = "ssl_certificate {dir}/rsa.pem; ssl_certificate_key {dir}/rsa.key; \
                ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem;";
    let sealed = |kind: &str| {
        format!(
            "ssl_certificate {{dir}}/rsa.pem; ssl_certificate_key {{dir}}/{kind}.key; ssl_password_file {{dir}}/passwords;"
        )
    };
    let (pkcs8, old, des) = (sealed("pkcs8"), sealed("old"), sealed("des"));
    let all = [
        ("both", both),
        ("rsa-alone", "ssl_certificate {dir}/rsa.pem; ssl_certificate_key {dir}/rsa.key;"),
        ("pkcs8", &pkcs8),
        ("old", &old),
        ("des", &des),
        ("v1", "ssl_certificate {dir}/v1.pem; ssl_certificate_key {dir}/rsa.key;"),
    ];
    let group = with_certificate(Group::new("kinds of keys", servers(&all, said)));
    let group =
        of_openssl().into_iter().fold(group, |group, (name, content)| group.file(name, content));
    let group = group.file("passwords", "no\nsecret\n");
    all.iter().fold(group, |group, (name, _)| {
        let host: &'static str = format!("{name}.example").leak();
        [ONLY_TLS12, ONLY_TLS13].into_iter().fold(group, |group, versions| {
            group.ask("GET", host, "/", &[], "").over_tls(host).by(versions)
        })
    })
}

fn of_openssl() -> Vec<(&'static str, Vec<u8>)> {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).display().to_string();
    for command in [
        format!("genrsa -out {} 2048", at("rsa.key")),
        format!(
            "req -x509 -new -key {} -subj /CN=rsa.example -days 3650 -out {}",
            at("rsa.key"),
            at("rsa.pem")
        ),
        format!("req -new -key {} -subj /CN=v1.example -out {}", at("rsa.key"), at("v1.csr")),
        format!(
            "x509 -req -in {} -key {} -days 3650 -out {}",
            at("v1.csr"),
            at("rsa.key"),
            at("v1.pem")
        ),
        format!(
            "pkcs8 -topk8 -v2 aes256 -passout pass:secret -in {} -out {}",
            at("rsa.key"),
            at("pkcs8.key")
        ),
        format!(
            "rsa -aes128 -traditional -passout pass:secret -in {} -out {}",
            at("rsa.key"),
            at("old.key")
        ),
        format!(
            "rsa -des3 -traditional -passout pass:secret -in {} -out {}",
            at("rsa.key"),
            at("des.key")
        ),
    ] {
        let done = Command::new("openssl").args(command.split(' ')).output().expect("openssl runs");
        assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    }
    let names = ["rsa.key", "rsa.pem", "v1.pem", "pkcs8.key", "old.key", "des.key"];
    names.map(|name| (name, std::fs::read(at(name)).expect("it was made"))).to_vec()
}
