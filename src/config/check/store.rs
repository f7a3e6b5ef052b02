//! `store`: where records are kept, and who we are there. Files are looked at, nothing is
//! connected to.

use std::path::{Path, PathBuf};

use crate::config::diagnostic::Place;
use crate::config::schema::{File, ShortOr, Store, StoreTls, Text};
use crate::config::value::name::identifier;
use crate::config::value::{Flaw, Parsed, did_you_mean};
use crate::store;
use crate::store::credentials::{Login, Password, Secret};
use crate::store::redis::{ClientCertificate, RedisUrl, Tls, UrlKind};
use crate::store::sql::server::{self, ServerUrl};

use super::{Checker, at};

const NAMESPACE: &str = "cloakroom";
const HELP: &str = "one of: memory, sqlite:PATH, redis://HOST:PORT/DB, redis+sentinel://HOST:PORT,…\
                    /MASTER/DB, redis+cluster://HOST:PORT,…, and rediss for TLS, \
                    postgres://HOST:PORT/DATABASE, mysql://HOST:PORT/DATABASE";

const SCHEMES: [&str; 6] = ["memory", "sqlite", "redis", "rediss", "postgres", "mysql"];

/// What a URL names.
enum Url {
    Memory,
    Sqlite(PathBuf),
    Redis(RedisUrl),
    Server(ServerUrl),
}

impl Checker<'_> {
    pub(super) fn store(&mut self, file: &File, state: &Path) -> store::StoreSettings {
        let namespace =
            self.or(&file.store_namespace, "store_namespace", NAMESPACE.to_owned(), identifier);
        let none = Store::default();
        let (url, path, given) = match file.store.as_ref() {
            None => (None, "store", &none),
            Some(given) => match &given.value {
                ShortOr::Short(text) => (Some((text, at(given))), "store", &none),
                ShortOr::Long(long) => {
                    let url = long.url.as_ref().map(|url| (&url.value, at(url)));
                    (url, "store.url", long)
                }
            },
        };
        let place = url.as_ref().and_then(|(_, place)| *place);
        // Where nobody has a session there is nothing to keep.
        let has_sessions = file.sessions.as_ref().is_some_and(|named| !named.0.is_empty());
        let default = match has_sessions {
            true => Url::Sqlite(state.join("sessions.db")),
            false => Url::Memory,
        };
        let url = match url.map(|(text, _)| read(text, self.base)) {
            None => default,
            Some(Ok(url)) => url,
            // What else is said may well be right for the store that was meant.
            Some(Err(flaw)) => {
                self.error(place, path, flaw);
                return store::StoreSettings::Memory;
            }
        };
        if matches!(url, Url::Memory) && file.store.is_some() {
            self.warning(
                place,
                path,
                Flaw::new(
                    "sessions end with the process, and several nodes do not share them",
                    "for development: leave `store` out for a SQLite file, or name a Redis server",
                ),
            );
        }
        let has_namespace = matches!(url, Url::Redis(_));
        let named = file.store_namespace.as_ref().filter(|given| given.value != NAMESPACE);
        if let (Some(given), false) = (named, has_namespace) {
            let flaw = Flaw::new("has no effect: only Redis keys have a namespace", "leave it out");
            self.warning(at(given), "store_namespace", flaw);
        }
        match url {
            Url::Memory => {
                self.only_for_servers(given);
                store::StoreSettings::Memory
            }
            Url::Sqlite(path) => {
                self.only_for_servers(given);
                store::StoreSettings::Sqlite(path)
            }
            Url::Redis(url) => {
                store::StoreSettings::Redis(self.redis(url, &namespace, place, given))
            }
            Url::Server(url) => store::StoreSettings::Server(self.server(url, given)),
        }
    }

    fn server(&mut self, url: ServerUrl, given: &Store) -> server::ServerSettings {
        let login = self.store_login(&given.username, &given.password_file, url.login(), "store");
        self.only_for_redis(given);
        let mut tls = server::Tls::default();
        if let Some(given) = &given.tls {
            let keys =
                [("ca", &given.ca), ("certificate", &given.certificate), ("key", &given.key)];
            if url.is_plain() {
                for (key, text) in keys {
                    if let Some(text) = text {
                        let flaw = Flaw::new(
                            "has no effect: the URL turns TLS off",
                            "leave the URL's mode out, or name another",
                        );
                        self.error(at(text), &format!("store.tls.{key}"), flaw);
                    }
                }
            }
            if let Some(name) = &given.server_name {
                let flaw = Flaw::new(
                    "a database server must show a certificate for the host of the URL",
                    "leave it out, and write the name that is in the certificate in the URL",
                );
                self.error(at(name), "store.tls.server_name", flaw);
            }
            tls.ca = given.ca.as_ref().map(|ca| {
                let file = self.path(&ca.value);
                self.authorities(&file, at(ca), "store.tls.ca");
                file
            });
            let client = self.client_certificate(given);
            tls.identity = client.map(|client| (client.certificate, client.key));
        }
        server::ServerSettings { login, tls, ..server::ServerSettings::new(url) }
    }

    fn redis(
        &mut self,
        url: RedisUrl,
        namespace: &str,
        place: Option<Place>,
        given: &Store,
    ) -> store::redis::RedisSettings {
        let login = self.store_login(&given.username, &given.password_file, url.login(), "store");
        let has_sentinels = matches!(url.kind(), UrlKind::Sentinel { .. });
        let mut sentinel = Login::default();
        if let Some(given) = &given.sentinel {
            for (key, value) in
                [("username", &given.username), ("password_file", &given.password_file)]
            {
                if !has_sentinels {
                    self.no_effect(value, &format!("sentinel.{key}"), "the URL names no Sentinels");
                }
            }
            if has_sentinels {
                let (user, file) = (&given.username, &given.password_file);
                sentinel = self.store_login(user, file, &Login::default(), "store.sentinel");
            }
        }
        let tls = given.tls.as_ref().map_or_else(Tls::default, |tls| self.store_tls(&url, tls));
        if let Some((host, _)) = url.addresses().iter().find(|(host, _)| url_needs_name(host))
            && url.has_tls()
            && tls.server_name.is_none()
        {
            let flaw = Flaw::new(
                format!("`{host}` is no name that a certificate could have"),
                "add `tls: { server_name: NAME }`",
            );
            self.error(place, "store", flaw);
        }
        store::redis::RedisSettings {
            login,
            sentinel,
            tls,
            require_replicas: given.require_replicas.as_ref().map_or(0, |number| number.value),
            ..store::redis::RedisSettings::new(url, namespace)
        }
    }

    /// Who we are: what is given beside the URL, and then what the URL says.
    fn store_login(&mut self, user: &Text, file: &Text, in_url: &Login, path: &str) -> Login {
        let user_path = format!("{path}.username");
        let file_path = format!("{path}.password_file");
        if let (Some(user), Some(_)) = (user, &in_url.username) {
            let flaw = Flaw::new("the URL names a user too", "leave one of them out");
            self.error(at(user), &user_path, flaw);
        }
        if let (Some(file), Some(_)) = (file, &in_url.password) {
            let flaw = Flaw::new("the URL has a password too", "leave one of them out");
            self.error(at(file), &file_path, flaw);
        }
        if let (Some(user), None, None) = (user, file, &in_url.password) {
            let flaw = Flaw::new("a user needs a password", "add `password_file: FILE`");
            self.error(at(user), &user_path, flaw);
        }
        let username = self.optional(user, &user_path, |text| match text {
            "" => Err(Flaw::new("is empty", "name a user, or leave the key out")),
            text => Ok(text.to_owned()),
        });
        Login {
            username: username.or_else(|| in_url.username.clone()),
            password: self
                .password_file(file, &file_path)
                .map(Secret::File)
                .or_else(|| in_url.password.clone()),
        }
    }

    /// A file with a password. A name alone may be that of a credential of the service manager's.
    pub(super) fn password_file(&mut self, given: &Text, path: &str) -> Option<PathBuf> {
        let given = given.as_ref()?;
        let system = &*self.environment.system;
        let credential = match &self.environment.credentials_directory {
            Some(directory) if !given.value.contains('/') => Some(directory.join(&given.value)),
            _ => None,
        };
        let file = credential
            .filter(|file| system.mode(file).is_some())
            .unwrap_or_else(|| self.path(&given.value));
        let shown = file.display();
        let read = system.read(&file).map_err(|error| {
            Flaw::new(
                format!("cannot read `{shown}`: {error}"),
                "check the path, and that the user who runs cloakroom may read it",
            )
        });
        let password = read.and_then(|bytes| {
            let bytes = zeroize::Zeroizing::new(bytes);
            Password::from_file(&bytes).map_err(|reason| {
                Flaw::new(format!("`{shown}` {reason}"), "it must hold the password in one line")
            })
        });
        match (password, system.mode(&file)) {
            (Err(flaw), _) => self.error(at(given), path, flaw),
            (Ok(_), Some(mode)) if mode & 0o007 != 0 => self.warning(
                at(given),
                path,
                Flaw::new(
                    format!("every user of this machine can reach `{shown}` (mode {mode:04o})"),
                    format!("chmod 600 {shown}"),
                ),
            ),
            (Ok(_), _) => {}
        }
        Some(file)
    }

    fn store_tls(&mut self, url: &RedisUrl, given: &StoreTls) -> Tls {
        const PATH: &str = "store.tls";
        let keys = [
            ("ca", &given.ca),
            ("certificate", &given.certificate),
            ("key", &given.key),
            ("server_name", &given.server_name),
        ];
        if !url.has_tls() {
            for (key, text) in keys {
                if let Some(text) = text {
                    let flaw = Flaw::new(
                        "has no effect: the connection is not encrypted",
                        "write `rediss` in place of `redis` in the URL",
                    );
                    self.error(at(text), &format!("{PATH}.{key}"), flaw);
                }
            }
            return Tls::default();
        }
        let ca = given.ca.as_ref().map(|given| {
            let file = self.path(&given.value);
            self.authorities(&file, at(given), &format!("{PATH}.ca"));
            file
        });
        let client = self.client_certificate(given);
        let server_name = self.optional(&given.server_name, "store.tls.server_name", |text| {
            store::redis::server_name(text)
                .map_err(|reason| Flaw::new(reason, "write a host name or an IP address"))?;
            Ok(text.to_owned())
        });
        Tls { ca, client, server_name }
    }

    /// What we show to a server that asks who we are.
    fn client_certificate(&mut self, given: &StoreTls) -> Option<ClientCertificate> {
        match (&given.certificate, &given.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                let files = (self.path(&certificate.value), self.path(&key.value));
                self.certificate(
                    (&files.0, at(certificate), "store.tls.certificate"),
                    (&files.1, at(key), "store.tls.key"),
                    None,
                );
                Some(ClientCertificate { certificate: files.0, key: files.1 })
            }
            (Some(lonely), None) => {
                let flaw = Flaw::new("has no key", "add `key: FILE`");
                self.error(at(lonely), "store.tls.certificate", flaw);
                None
            }
            (None, Some(lonely)) => {
                let flaw = Flaw::new("has no certificate", "add `certificate: FILE`");
                self.error(at(lonely), "store.tls.key", flaw);
                None
            }
        }
    }

    /// Keys that say something to a server only.
    fn only_for_servers(&mut self, given: &Store) {
        const WHY: &str = "the store is no server";
        self.no_effect(&given.username, "username", WHY);
        self.no_effect(&given.password_file, "password_file", WHY);
        if let Some(tls) = &given.tls {
            for (key, text) in [
                ("tls.ca", &tls.ca),
                ("tls.certificate", &tls.certificate),
                ("tls.key", &tls.key),
                ("tls.server_name", &tls.server_name),
            ] {
                self.no_effect(text, key, WHY);
            }
        }
        self.only_for_redis(given);
    }

    /// Keys that say something to Redis only.
    fn only_for_redis(&mut self, given: &Store) {
        if let Some(sentinel) = &given.sentinel {
            const WHY: &str = "the store has no Sentinels";
            self.no_effect(&sentinel.username, "sentinel.username", WHY);
            self.no_effect(&sentinel.password_file, "sentinel.password_file", WHY);
        }
        if let Some(number) = given.require_replicas.as_ref().filter(|number| number.value > 0) {
            let flaw = Flaw::new("has no effect: only Redis has such replicas", "leave it out");
            self.warning(at(number), "store.require_replicas", flaw);
        }
    }

    fn no_effect(&mut self, given: &Text, key: &str, why: &str) {
        if let Some(given) = given {
            let flaw = Flaw::new(format!("has no effect: {why}"), "leave it out");
            self.warning(at(given), &format!("store.{key}"), flaw);
        }
    }
}

fn url_needs_name(host: &str) -> bool {
    store::redis::server_name(host).is_err()
}

/// Reads where records are kept. Messages never repeat the URL, which may hold a password.
fn read(text: &str, base: &Path) -> Parsed<Url> {
    let scheme = text.split(':').next().unwrap_or_default();
    match scheme {
        "memory" if text == scheme => Ok(Url::Memory),
        "sqlite" if text != scheme => {
            let path = text.trim_start_matches("sqlite:");
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.starts_with(':') || path.contains('?') {
                return Err(Flaw::new(
                    "names no SQLite file",
                    "write `sqlite:` and a path, or `memory`",
                ));
            }
            Ok(Url::Sqlite(base.join(path)))
        }
        "redis" | "rediss" | "redis+sentinel" | "rediss+sentinel" | "redis+cluster"
        | "rediss+cluster"
            if text.starts_with(&format!("{scheme}://")) =>
        {
            let form = match scheme.split_once('+') {
                Some((_, "sentinel")) => "[USER:PASSWORD@]HOST:PORT,HOST:PORT,HOST:PORT/MASTER/DB",
                Some(_) => "[USER:PASSWORD@]HOST:PORT,HOST:PORT,HOST:PORT",
                None => "[USER:PASSWORD@]HOST:PORT/DB",
            };
            RedisUrl::parse(text)
                .map(Url::Redis)
                .map_err(|message| Flaw::new(message, format!("write `{scheme}://{form}`")))
        }
        "postgres" | "postgresql" | "mysql" | "mariadb"
            if text.starts_with(&format!("{scheme}://")) =>
        {
            ServerUrl::parse(text).map(Url::Server).map_err(|message| {
                let form = format!("write `{scheme}://[USER:PASSWORD@]HOST:PORT/DATABASE`");
                Flaw::new(message, form)
            })
        }
        other => Err(Flaw::new(
            "names no store that there is",
            format!("{}{HELP}", did_you_mean(other, &SCHEMES)),
        )),
    }
}
