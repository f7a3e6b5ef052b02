//! `tls.acme` of listeners and servers: certificates that an authority can be asked for.

use std::net::IpAddr;

use crate::acme::authority::external_key;
use crate::acme::{AuthoritySettings, ChallengeKind, ExternalAccount, OrderSettings};
use crate::config::schema;
use crate::config::value::{Flaw, Parsed, choice};
use crate::listen::OrderedSettings;
use crate::listen::ordered::KeyType;
use crate::proxy::settings::Server;
use crate::store::credentials::{Password, Secret};

use super::cursor::At;
use super::{Checker, on};

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// As many as Let's Encrypt has in one certificate; others have fewer.
const DOMAINS_MAX: usize = 100;

const CHALLENGES: [(&str, ChallengeKind); 2] =
    [("http-01", ChallengeKind::Http01), ("tls-alpn-01", ChallengeKind::TlsAlpn01)];
const KEY_TYPES: [(&str, KeyType); 5] = [
    ("ecdsa:256", KeyType::Ecdsa256),
    ("ecdsa:384", KeyType::Ecdsa384),
    ("rsa:2048", KeyType::Rsa2048),
    ("rsa:3072", KeyType::Rsa3072),
    ("rsa:4096", KeyType::Rsa4096),
];

impl Checker<'_> {
    /// What is to be ordered, for these names where no others are listed. `beside`: a key of the same place
    /// that says otherwise where the certificate comes from.
    pub(super) fn acme(
        &mut self,
        given: &At<'_, schema::Acme>,
        names: &[String],
        beside: Option<&str>,
    ) -> Option<OrderedSettings> {
        let acme = given.value;
        if let Some(beside) = beside {
            let flaw = Flaw::new(format!("stands beside `{beside}`"), "keep one of the two");
            self.error_at(given, flaw);
        }
        if !on(&acme.accept_terms_of_service) {
            let flaw = Flaw::new(
                "the authority's terms of service are not agreed to",
                "read them, and add `accept_terms_of_service: true`",
            );
            self.error(given.place, &given.path_of("accept_terms_of_service"), flaw);
        }
        let path = given.path_of("challenge");
        let challenge = self.or(&acme.challenge, &path, ChallengeKind::Http01, |text| match text {
            "dns-01" => Err(Flaw::new(
                "`dns-01` is not spoken",
                "one of: http-01, tls-alpn-01; or obtain the certificate otherwise, and name its files \
                 in `certificates`",
            )),
            text => choice(text, "challenge", &CHALLENGES),
        });
        if challenge == ChallengeKind::Http01 && !self.has_plain_listener {
            let place = acme.challenge.as_ref().and_then(super::at).or(given.place);
            let flaw = Flaw::new(
                "names are proved over plain HTTP at port 80, and no listener speaks that",
                "add `- { address: 0.0.0.0:80, redirect_to_https: true }` to `listeners`, or prove them at \
                 port 443: `challenge: tls-alpn-01`",
            );
            self.error(place, &path, flaw);
        }
        let key_type =
            self.or(&acme.key_type, &given.path_of("key_type"), KeyType::default(), |text| {
                choice(text, "kind of key", &KEY_TYPES)
            });
        let authority = self.authority_settings(given);
        let names = self.domains(given, names);
        let certificate =
            OrderedSettings { names, directory: authority.directory.clone(), key_type };
        let order = OrderSettings { certificate: certificate.clone(), authority, challenge };
        self.certificate_order(given, order);
        Some(certificate)
    }

    /// One certificate may be shown at several places, where all say the same of it.
    fn certificate_order(&mut self, given: &At<'_, schema::Acme>, order: OrderSettings) {
        match self.orders.iter().find(|other| other.certificate == order.certificate) {
            None => self.orders.push(order),
            Some(other) if *other == order => {}
            Some(_) => {
                let flaw = Flaw::new(
                    "the same certificate is ordered in another way elsewhere in this file",
                    "write the same at both places",
                );
                self.error_at(given, flaw);
            }
        }
    }

    fn authority_settings(&mut self, given: &At<'_, schema::Acme>) -> AuthoritySettings {
        let acme = given.value;
        let directory = self.or(
            &acme.directory,
            &given.path_of("directory"),
            LETS_ENCRYPT.to_owned(),
            directory,
        );
        let mut contact = Vec::new();
        if let Some(list) = given.key("contact", &acme.contact) {
            for one in list.items() {
                contact.extend(self.read(Some(&one), mailbox));
            }
        }
        let ca = given.key("ca", &acme.ca).map(|ca| {
            let file = self.path(ca.value);
            self.authorities(&file, ca.place, &ca.path);
            file
        });
        let external = given.key("eab", &acme.eab).and_then(|eab| self.external(&eab));
        AuthoritySettings { directory, contact, external, ca }
    }

    fn external(&mut self, eab: &At<'_, schema::Eab>) -> Option<ExternalAccount> {
        let text = |text: &str| Ok(text.to_owned());
        let key_id = eab.path_of("key_id");
        let key_id = self.required(&eab.value.key_id, eab.place, &key_id, "kid-1", text);
        let path = eab.path_of("key_file");
        let example = "/etc/cloakroom/eab.key";
        self.required(&eab.value.key_file, eab.place, &path, example, text)?;
        let file = self.password_file(&eab.value.key_file, &path)?;
        let is_key = |password: &Password| external_key(password.expose()).is_some();
        if let Ok(password) = self.environment.system.read(&file).map(zeroize::Zeroizing::new)
            && let Ok(password) = Password::from_file(&password)
            && !is_key(&password)
        {
            let flaw = Flaw::new(
                format!("`{}` is not base64url", file.display()),
                "write the key as the authority gave it to you, in one line",
            );
            self.error(eab.value.key_file.as_ref().and_then(super::at), &path, flaw);
        }
        Some(ExternalAccount { key_id: key_id?, key: Secret::File(file) })
    }

    /// Those that are listed, or else these.
    fn domains(&mut self, given: &At<'_, schema::Acme>, names: &[String]) -> Vec<String> {
        let mut domains: Vec<String> = Vec::new();
        let path = given.path_of("domains");
        match given.key("domains", &given.value.domains) {
            Some(list) => {
                for one in list.items() {
                    let Some(domain) = self.read(Some(&one), domain) else { continue };
                    if !domains.contains(&domain) {
                        domains.push(domain);
                    }
                }
            }
            None => {
                for name in names.iter().filter(|name| !matches!(name.as_str(), "" | "_")) {
                    match domain(name) {
                        Ok(domain) if domains.contains(&domain) => {}
                        Ok(domain) => domains.push(domain),
                        Err(flaw) => self.error(given.place, &path, flaw),
                    }
                }
            }
        }
        if domains.is_empty() {
            let help = "give the server `names`, or list `domains: [shop.example.com]`";
            self.error(given.place, &path, Flaw::new("there is no name to order for", help));
        }
        if domains.len() > DOMAINS_MAX {
            let message = format!("{} names are too many for one certificate", domains.len());
            let help = format!(
                "write `tls: {{ acme: … }}` into servers, of which each has a certificate of its own; \
                 authorities take {DOMAINS_MAX} at most"
            );
            self.error(given.place, &path, Flaw::new(message, help));
        }
        domains
    }
}

/// The names of servers on a listener that have no certificate of their own.
pub(super) fn names_on(servers: &[Server], listener: usize) -> Vec<String> {
    let listens = |server: &&Server| {
        let named = server.listeners.as_ref();
        named.is_none_or(|named| named.iter().any(|one| one.listener == listener))
    };
    let has_none = |server: &&Server| {
        server.certificates.is_empty() && server.ordered.is_none() && !server.tls.rejects
    };
    let servers = servers.iter().filter(listens).filter(has_none);
    servers.flat_map(|server| server.names.iter().cloned()).collect()
}

/// The address of a directory: nothing is asked over plain HTTP (RFC 8555 section 6.1).
fn directory(text: &str) -> Parsed<String> {
    let uri: Option<http::Uri> = text.parse().ok();
    let is_https = |uri: &http::Uri| {
        uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty())
    };
    match uri.as_ref().is_some_and(is_https) {
        true => Ok(text.to_owned()),
        false => Err(Flaw::new(
            format!("`{text}` is no address of a directory"),
            format!("it begins with `https://`, such as {LETS_ENCRYPT}"),
        )),
    }
}

fn mailbox(text: &str) -> Parsed<String> {
    let mailbox = text.strip_prefix("mailto:").unwrap_or(text);
    let is_one = mailbox
        .split_once('@')
        .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'));
    match is_one && mailbox.bytes().all(|byte| byte.is_ascii_graphic() && !b",?".contains(&byte)) {
        true => Ok(format!("mailto:{mailbox}")),
        false => {
            Err(Flaw::new(format!("`{text}` is no address of mail"), "write admin@example.com"))
        }
    }
}

/// A name that an authority can be asked for over HTTP or TLS.
fn domain(text: &str) -> Parsed<String> {
    let list = "list the names that are meant in `domains`";
    if text.starts_with('~') {
        return Err(Flaw::new(format!("`{text}` is a pattern, and no name to order for"), list));
    }
    if text.starts_with("*.") || text.starts_with('.') || text.ends_with(".*") {
        return Err(Flaw::new(
            format!("`{text}` stands for any name: authorities want that proved over DNS (dns-01)"),
            format!(
                "{list}, or obtain the certificate otherwise, and name its files in `certificates`"
            ),
        ));
    }
    if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Err(Flaw::new(format!("`{text}` is an address, and no name"), list));
    }
    if !text.is_ascii() {
        let help = "write it as DNS has it, beginning with `xn--`";
        return Err(Flaw::new(format!("`{text}` has letters that DNS does not know"), help));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_label = |label: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(fits)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    match name.len() <= 253 && name.split('.').all(is_label) {
        true => Ok(name),
        false => Err(Flaw::new(format!("`{text}` is no name of a host"), list)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::diagnostic::Severity;
    use crate::config::environment::testing::Given;
    use crate::config::parse;
    use crate::listen::Certificates;

    #[test]
    fn names_are_ordered_that_can_be_proved_without_dns() {
        for (text, expected) in [
            ("Shop.example.com", Ok("shop.example.com")),
            ("shop.example.com.", Ok("shop.example.com")),
            ("xn--bcher-kva.example", Ok("xn--bcher-kva.example")),
            ("intranet", Ok("intranet")),
            ("*.example.com", Err("dns-01")),
            (".example.com", Err("dns-01")),
            ("www.example.*", Err("dns-01")),
            ("~^www", Err("is a pattern")),
            ("192.0.2.1", Err("is an address")),
            ("[2001:db8::1]", Err("is an address")),
            ("bücher.example", Err("letters")),
            ("a_b.example", Err("is no name")),
            ("-a.example", Err("is no name")),
            ("a..example", Err("is no name")),
            ("", Err("is no name")),
        ] {
            match (domain(text), expected) {
                (Ok(name), Ok(expected)) => assert_eq!(name, expected),
                (Err(flaw), Err(part)) => assert!(flaw.message.contains(part), "{flaw:?}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }

    #[test]
    fn directories_are_asked_over_https_alone() {
        for (text, is_good) in [
            ("https://acme.example/dir", true),
            ("https://127.0.0.1:14000/dir", true),
            ("http://acme.example/dir", false),
            ("acme.example/dir", false),
            ("https://", false),
        ] {
            assert_eq!(directory(text).is_ok(), is_good, "{text}");
        }
    }

    #[test]
    fn who_is_responsible_has_an_address_of_mail() {
        for (text, expected) in [
            ("admin@example.com", Some("mailto:admin@example.com")),
            ("mailto:admin@example.com", Some("mailto:admin@example.com")),
            ("admin", None),
            ("a@b@c", None),
            ("a b@c", None),
            ("@c", None),
            ("a@c,b@c", None),
        ] {
            assert_eq!(mailbox(text).ok().as_deref(), expected, "{text}");
        }
    }

    /// What is said of a file with these lines in its listeners' and its server's TLS.
    #[track_caller]
    fn check(listener: &str, plain: bool, server: &str, expected: &[&str]) {
        let plain = if plain { "  - { address: 127.0.0.1:80 }\n" } else { "" };
        let file = format!(
            "listeners:\n  - {{ address: 127.0.0.1:443, tls: {{ {listener} }} }}\n{plain}\
             upstreams:\n  app: {{ endpoints: [{{ address: 127.0.0.1:7001 }}] }}\nservers:\n  \
             - {{ {server}, routes: [{{ path: /, upstream: app }}] }}\n"
        );
        let environment = Given::default().with("/eab.key", "Zm9v\n", 0o600);
        let environment = environment.with("/bad.key", "?", 0o600).environment();
        let found = match parse(&file, "cloakroom.yaml", &environment) {
            Ok(config) => config.warnings,
            Err(found) => found,
        };
        let found = found.iter().filter(|one| one.severity != Severity::Notice);
        let found: Vec<_> = found.map(|one| format!("{}: {}", one.path, one.message)).collect();
        assert_eq!(found, expected, "{file}");
    }

    #[test]
    fn what_cannot_be_ordered_is_said_with_its_place() {
        let acme = |more: &str| format!("acme: {{ accept_terms_of_service: true{more} }}");
        let (at, names) = ("listeners[0].tls.acme", "names: [a.example, _]");
        let message = |key: &str, text: &str| format!("{at}{key}: {text}");
        check(&acme(""), true, names, &[]);
        check(&acme(", challenge: tls-alpn-01, key_type: 'rsa:4096'"), false, names, &[]);
        check(&acme(", eab: { key_id: a, key_file: /eab.key }"), true, names, &[]);
        for (listener, plain, server, expected) in [
            (
                "acme: {}".to_owned(),
                true,
                names,
                message(
                    ".accept_terms_of_service",
                    "the authority's terms of service are not agreed to",
                ),
            ),
            (
                acme(""),
                false,
                names,
                message(
                    ".challenge",
                    "names are proved over plain HTTP at port 80, and no listener speaks that",
                ),
            ),
            (
                acme(", challenge: dns-01"),
                true,
                names,
                message(".challenge", "`dns-01` is not spoken"),
            ),
            (acme(", key_type: dsa"), true, names, message(".key_type", "`dsa` is no kind of key")),
            (
                acme(", directory: 'http://a'"),
                true,
                names,
                message(".directory", "`http://a` is no address of a directory"),
            ),
            (
                acme(", contact: [me]"),
                true,
                names,
                message(".contact[0]", "`me` is no address of mail"),
            ),
            (
                acme(", domains: [a.b, '*.a.b']"),
                true,
                names,
                message(
                    ".domains[1]",
                    "`*.a.b` stands for any name: authorities want that proved over DNS (dns-01)",
                ),
            ),
            (
                acme(""),
                true,
                "names: ['*.a.b', a.b]",
                message(
                    ".domains",
                    "`*.a.b` stands for any name: authorities want that proved over DNS (dns-01)",
                ),
            ),
            (
                acme(""),
                true,
                "names: ['~^a', a.b]",
                message(".domains", "`~^a` is a pattern, and no name to order for"),
            ),
            (acme(""), true, "names: [_]", message(".domains", "there is no name to order for")),
            (acme(", eab: { key_id: a }"), true, names, message(".eab.key_file", "is missing")),
            (
                acme(", eab: { key_id: a, key_file: /bad.key }"),
                true,
                names,
                message(".eab.key_file", "`/bad.key` is not base64url"),
            ),
            (
                format!("self_signed: true, {}", acme("")),
                true,
                names,
                message("", "stands beside `self_signed`"),
            ),
        ] {
            let mut expected = vec![expected];
            if listener.starts_with("self_signed") {
                expected.insert(
                    0,
                    "listeners[0].tls.self_signed: no browser trusts a certificate that nobody \
                     issued"
                        .to_owned(),
                );
            }
            check(
                &listener,
                plain,
                server,
                &expected.iter().map(String::as_str).collect::<Vec<_>>(),
            );
        }
    }

    #[test]
    fn a_server_orders_for_its_own_names_and_the_listener_for_the_others() {
        let file = "listeners:\n  - address: 127.0.0.1:443\n    tls: { acme: { accept_terms_of_service: true } }\n  \
             - { address: 127.0.0.1:80 }\nupstreams:\n  app: { endpoints: [{ address: 127.0.0.1:7001 }] }\nservers:\n  \
             - { names: [a.example], routes: [{ path: /, upstream: app }] }\n  \
             - { names: [b.example, c.example], routes: [{ path: /, upstream: app }], \
             tls: { acme: { accept_terms_of_service: true, key_type: 'ecdsa:384' } } }\n";
        let config = parse(file, "cloakroom.yaml", &Given::default().environment()).expect("good");
        let names: Vec<_> =
            config.orders.iter().map(|order| order.certificate.names.join(" ")).collect();
        assert_eq!(names, ["b.example c.example", "a.example"]);
        let tls = config.listeners[0].tls.as_ref().expect("TLS");
        assert_eq!(tls.certificates, Certificates::Ordered(config.orders[1].certificate.clone()));
        assert_eq!(tls.of_servers[0].ordered.as_ref(), Some(&config.orders[0].certificate));
    }
}
