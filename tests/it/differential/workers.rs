//! TLS to workers, which are servers of the same file.

use std::process::Command;

use rcgen::{ExtendedKeyUsagePurpose, SanType, date_time_ymd};

use super::group::Group;
use crate::support::authority::{Authority, Edit, Identity};

pub fn groups() -> Vec<Group> {
    let files = Files::new();
    vec![files.group("TLS to workers", TO_WORKERS), files.group("revoked workers", REVOKED)]
}

/// Paths and what their locations say.
type Locations = &'static [(&'static str, &'static str)];

const TO_WORKERS: Locations = &[
    ("/nothing", ""),
    ("/name-alone", "proxy_ssl_name san.example;"),
    ("/sni", "proxy_ssl_server_name on; proxy_ssl_name san.example;"),
    ("/sni-address", "proxy_ssl_server_name on;"),
    ("/sni-port", "proxy_ssl_server_name on; proxy_ssl_name san.example:443;"),
    ("/sni-unknown", "proxy_ssl_server_name on; proxy_ssl_name nobody.example;"),
    ("/default", "proxy_ssl_verify on; {ca} proxy_ssl_name default.example;"),
    ("/default-address", "proxy_ssl_verify on; {ca}"),
    ("/default-wrong", "proxy_ssl_verify on; {ca} proxy_ssl_name other.example;"),
    ("/san", "proxy_ssl_server_name on; proxy_ssl_name san.example; proxy_ssl_verify on; {ca}"),
    (
        "/san-alone",
        "proxy_ssl_server_name on; proxy_ssl_name alone.example; proxy_ssl_verify on; {ca}",
    ),
    (
        "/alone-trusted",
        "proxy_ssl_server_name on; proxy_ssl_name alone.example; proxy_ssl_verify on; \
        proxy_ssl_trusted_certificate {dir}/alone.pem;",
    ),
    (
        "/alone-unverified",
        "proxy_ssl_server_name on; proxy_ssl_name alone.example; proxy_ssl_verify off; {ca}",
    ),
    ("/cn", "proxy_ssl_server_name on; proxy_ssl_name cn.example; proxy_ssl_verify on; {ca}"),
    (
        "/cn-and-san",
        "proxy_ssl_server_name on; proxy_ssl_name both.example; proxy_ssl_verify on; {ca}",
    ),
    ("/wild", "proxy_ssl_server_name on; proxy_ssl_name a.wild.example; proxy_ssl_verify on; {ca}"),
    (
        "/wild-deep",
        "proxy_ssl_server_name on; proxy_ssl_name a.b.wild.example; proxy_ssl_verify on; {ca}",
    ),
    ("/over", "proxy_ssl_server_name on; proxy_ssl_name over.example; proxy_ssl_verify on; {ca}"),
    ("/over-unverified", "proxy_ssl_server_name on; proxy_ssl_name over.example;"),
    (
        "/client",
        "proxy_ssl_server_name on; proxy_ssl_name client.example; proxy_ssl_verify on; {ca}",
    ),
    (
        "/v1",
        "proxy_ssl_server_name on; proxy_ssl_name v1.example; proxy_ssl_verify on; \
        proxy_ssl_trusted_certificate {dir}/v1.pem;",
    ),
    ("/v1-unverified", "proxy_ssl_server_name on; proxy_ssl_name v1.example;"),
    (
        "/middle",
        "proxy_ssl_server_name on; proxy_ssl_name middle.example; proxy_ssl_verify on; {ca}",
    ),
    (
        "/middle0",
        "proxy_ssl_server_name on; proxy_ssl_name middle.example; proxy_ssl_verify on; {ca} proxy_ssl_verify_depth 0;",
    ),
    (
        "/middle2",
        "proxy_ssl_server_name on; proxy_ssl_name middle.example; proxy_ssl_verify on; {ca} proxy_ssl_verify_depth 2;",
    ),
    ("/lower", "proxy_ssl_server_name on; proxy_ssl_name lower.example; proxy_ssl_verify on; {ca}"),
    (
        "/lower2",
        "proxy_ssl_server_name on; proxy_ssl_name lower.example; proxy_ssl_verify on; {ca} proxy_ssl_verify_depth 2;",
    ),
    ("/bare", "proxy_ssl_server_name on; proxy_ssl_name bare.example; proxy_ssl_verify on; {ca}"),
    ("/asks-none", "proxy_ssl_server_name on; proxy_ssl_name asks.example;"),
    (
        "/asks",
        "proxy_ssl_server_name on; proxy_ssl_name asks.example; proxy_ssl_certificate {dir}/client.pem; \
        proxy_ssl_certificate_key {dir}/client.key;",
    ),
    (
        "/asks-sealed",
        "proxy_ssl_server_name on; proxy_ssl_name asks.example; proxy_ssl_certificate {dir}/client.pem; \
        proxy_ssl_certificate_key {dir}/sealed.key; proxy_ssl_password_file {dir}/passwords;",
    ),
    (
        "/asks-stranger",
        "proxy_ssl_server_name on; proxy_ssl_name asks.example; proxy_ssl_certificate {dir}/alone.pem; \
        proxy_ssl_certificate_key {dir}/alone.key;",
    ),
    (
        "/asks-v1",
        "proxy_ssl_server_name on; proxy_ssl_name asks.example; proxy_ssl_certificate {dir}/v1.pem; \
        proxy_ssl_certificate_key {dir}/v1.key;",
    ),
    ("/12", "proxy_ssl_protocols TLSv1.2;"),
    ("/13", "proxy_ssl_protocols TLSv1.3;"),
    (
        "/only13-by-12",
        "proxy_ssl_server_name on; proxy_ssl_name only13.example; proxy_ssl_protocols TLSv1.2 TLSv1.3;",
    ),
    ("/no-reuse", "proxy_ssl_session_reuse off;"),
    ("/rejected", "proxy_ssl_server_name on; proxy_ssl_name rejected.example;"),
];

const REVOKED: Locations = &[
    ("/good", "{ca} {crl} proxy_ssl_name default.example;"),
    ("/revoked", "{ca} {crl} proxy_ssl_server_name on; proxy_ssl_name revoked.example;"),
    ("/revoked-no-list", "{ca} proxy_ssl_server_name on; proxy_ssl_name revoked.example;"),
    ("/no-list-of-middle", "{ca} {crl} proxy_ssl_server_name on; proxy_ssl_name middle.example;"),
    ("/old-list", "{ca} proxy_ssl_crl {dir}/old.crl; proxy_ssl_name default.example;"),
    (
        "/unverified",
        "proxy_ssl_verify off; {crl} proxy_ssl_server_name on; proxy_ssl_name revoked.example;",
    ),
];

struct Files(Vec<(&'static str, Vec<u8>)>);

impl Files {
    fn new() -> Self {
        let root = Authority::root("root");
        let middle = root.below("middle", |_| {});
        let lower = middle.below("lower", |_| {});
        let mut files = Self(Vec::new());
        let by = |issuer: &Authority, name, edit: Edit| issuer.issue(name, 5, edit);
        macro_rules! san {
            ($name:literal) => {
                |params| {
                    params.subject_alt_names =
                        vec![SanType::DnsName($name.try_into().expect("a name"))]
                }
            };
        }
        files.pair("default", &by(&root, "x", san!("default.example")));
        files.pair("san", &by(&root, "x", san!("san.example")));
        files.pair("cn", &by(&root, "cn.example", |_| {}));
        files.pair("both", &by(&root, "both.example", san!("else.example")));
        files.pair("wild", &by(&root, "x", san!("*.wild.example")));
        files.pair("middle", &by(&middle, "middle.example", |_| {}));
        files.pair("lower", &by(&lower, "lower.example", |_| {}));
        files.pair("bare", &by(&middle, "bare.example", |_| {}).bare());
        files.pair(
            "over",
            &by(&root, "over.example", |params| params.not_after = date_time_ymd(2021, 1, 1)),
        );
        files.pair(
            "for-client",
            &by(&root, "client.example", |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }),
        );
        files.pair("revoked", &root.issue("revoked.example", 66, |_| {}));
        files.pair("client", &by(&root, "the client", |_| {}));
        files.pair("alone", &Identity::alone("alone.example", 9, |_| {}));
        files.0.push(("root.pem", root.pem().into_bytes()));
        files.0.push(("root.crl", root.revokes(&[66], 2040).into_bytes()));
        files.0.push(("old.crl", root.revokes(&[], 2021).into_bytes()));
        files.0.push(("passwords", b"wrong\nsecret\n".to_vec()));
        files.of_openssl();
        files
    }

    fn pair(&mut self, stem: &'static str, identity: &Identity) {
        self.0.push((format!("{stem}.pem").leak(), identity.chain.clone().into_bytes()));
        self.0.push((format!("{stem}.key").leak(), identity.key.clone().into_bytes()));
    }

    /// What rcgen cannot make: version 1, and keys that are encrypted.
    fn of_openssl(&mut self) {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name).display().to_string();
        let key =
            self.0.iter().find(|(name, _)| *name == "client.key").expect("it is there").1.clone();
        std::fs::write(at("client.key"), key).expect("written");
        for command in [
            format!("ecparam -name prime256v1 -genkey -noout -out {}", at("v1.key")),
            format!("req -new -key {} -subj /CN=v1.example -out {}", at("v1.key"), at("v1.csr")),
            format!(
                "x509 -req -in {} -key {} -days 3650 -out {}",
                at("v1.csr"),
                at("v1.key"),
                at("v1.pem")
            ),
            format!(
                "pkcs8 -topk8 -v2 aes256 -passout pass:secret -in {} -out {}",
                at("client.key"),
                at("sealed.key")
            ),
        ] {
            let done =
                Command::new("openssl").args(command.split(' ')).output().expect("openssl runs");
            assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
        }
        for name in ["v1.key", "v1.pem", "sealed.key"] {
            self.0.push((name, std::fs::read(at(name)).expect("it was made")));
        }
    }

    fn group(&self, name: &'static str, locations: Locations) -> Group {
        let said = "return 200 '$host [$ssl_server_name] $ssl_client_verify [$ssl_client_s_dn] $ssl_protocol $ssl_session_reused';";
        let server = |names: &str, stem: &str, rest: &str| {
            format!(
                "server {{ listen 127.0.0.1:{{other}} ssl; server_name {names}; ssl_certificate {{dir}}/{stem}.pem; \
                 ssl_certificate_key {{dir}}/{stem}.key; {rest} {said} }}\n"
            )
        };
        // nginx's own default has changed since.
        let both =
            "ssl_protocols TLSv1.2 TLSv1.3; proxy_ssl_protocols TLSv1.2 TLSv1.3;\n".to_owned();
        let mut http = both + &server("default.example", "default", "");
        for stem in
            ["san", "cn", "both", "middle", "lower", "bare", "over", "revoked", "alone", "v1"]
        {
            http.push_str(&server(&format!("{stem}.example"), stem, ""));
        }
        http.push_str(&server("client.example", "for-client", ""));
        http.push_str(&server("*.wild.example", "wild", ""));
        http.push_str(&server("only13.example", "san", "ssl_protocols TLSv1.3;"));
        let asks = "ssl_verify_client on; ssl_client_certificate {dir}/root.pem;";
        http.push_str(&server("asks.example", "san", asks));
        http.push_str(&server("rejected.example", "san", "ssl_reject_handshake on;"));
        let verify = if name == "revoked workers" { "proxy_ssl_verify on;" } else { "" };
        http.push_str(&format!(
            "server {{ listen 127.0.0.1:{{port}}; proxy_ssl_session_reuse off; {verify}\n"
        ));
        for (path, tls) in locations {
            let tls = tls
                .replace("{ca}", "proxy_ssl_trusted_certificate {dir}/root.pem;")
                .replace("{crl}", "proxy_ssl_crl {dir}/root.crl;");
            let host = match tls.split_once("proxy_ssl_name ") {
                Some((_, rest)) => rest.split(';').next().unwrap_or_default(),
                None => "none",
            };
            http.push_str(&format!(
                "location = {path} {{ proxy_pass https://127.0.0.1:{{other}}; proxy_set_header Host {host}; {tls} }}\n"
            ));
        }
        http.push_str("}\n");
        let group = self.0.iter().fold(Group::new(name, http), |group, (name, content)| {
            group.file(name, content.as_slice())
        });
        locations.iter().fold(group, |group, (path, _)| group.get(path))
    }
}
