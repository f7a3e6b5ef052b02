//! What stands at the root of the file: workers, limits, keyring, log, admin.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::config::schema::{Admin, File};
use crate::config::value::address::{Place, endpoint, network};
use crate::config::value::unit::{Zero, duration, size};
use crate::config::value::{Flaw, Parsed, choice, name};
use crate::{admin, listen, telemetry};

use super::{Checker, at, items};

const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
const STATE_DIRECTORY: &str = "cloakroom-state";
/// A core with more than this many of our threads is a mistake in `workers`.
const WORKERS_MAX: usize = 1024;

impl Checker<'_> {
    pub(super) fn workers(&mut self, file: &File) -> usize {
        let cores = self.environment.cores.max(1);
        self.or(&file.workers, "workers", cores, |text| match text.parse::<usize>() {
            _ if text == "auto" => Ok(cores),
            Ok(number) if (1..=WORKERS_MAX).contains(&number) => Ok(number),
            _ => Err(Flaw::new(
                format!("`{text}` is no number of workers"),
                format!("write `auto` for one per core, or a number from 1 to {WORKERS_MAX}"),
            )),
        })
    }

    pub(super) fn insecure_cookies(&mut self, file: &File) -> bool {
        let Some(switch) = file.insecure_cookies.as_ref().filter(|switch| switch.value) else {
            return false;
        };
        self.warning(at(switch), "insecure_cookies", Flaw::new(
            "tickets are sent without `Secure` and without `__Host-`: whoever reads the network can take a session over",
            "for development only: leave it out, and serve over TLS",
        ));
        true
    }

    pub(super) fn state_directory(&mut self, file: &File) -> PathBuf {
        if let Some(given) = &file.state_directory {
            if given.value.is_empty() {
                let flaw = Flaw::new("is empty", "name a directory, or leave the key out");
                self.error(at(given), "state_directory", flaw);
            }
            return self.path(&given.value);
        }
        let service = self.environment.state_directory.clone();
        service.unwrap_or_else(|| self.path(STATE_DIRECTORY))
    }

    pub(super) fn limits(&mut self, file: &File) -> listen::Limits {
        const HEADER_BYTES: std::ops::RangeInclusive<u64> = 1024..=1024 * 1024;
        // One upload may hold an eighth of it.
        const BUFFERED_BYTES_MIN: u64 = 1024 * 1024;
        let default = listen::Limits::default();
        let Some(given) = &file.limits else { return default };
        listen::Limits {
            handshake_timeout: self.duration(
                &given.handshake_timeout,
                "limits.handshake_timeout",
                default.handshake_timeout,
            ),
            header_timeout: self.duration(
                &given.header_timeout,
                "limits.header_timeout",
                default.header_timeout,
            ),
            keepalive_timeout: self.duration(
                &given.keepalive_timeout,
                "limits.keepalive_timeout",
                default.keepalive_timeout,
            ),
            keepalive_requests: self.positive(
                &given.keepalive_requests,
                "limits.keepalive_requests",
                default.keepalive_requests,
                "1 closes a connection after each request",
            ),
            send_timeout: self.duration(
                &given.send_timeout,
                "limits.send_timeout",
                default.send_timeout,
            ),
            body_timeout: self.duration(
                &given.body_timeout,
                "limits.body_timeout",
                default.body_timeout,
            ),
            connections: self.positive(
                &given.connections,
                "limits.connections",
                default.connections,
                "no request could be served",
            ),
            connections_per_client: self.positive(
                &given.connections_per_client,
                "limits.connections_per_client",
                default.connections_per_client,
                "leave it out for any number",
            ),
            header_bytes: self.or(
                &given.header_bytes,
                "limits.header_bytes",
                default.header_bytes,
                |text| {
                    let bytes = size(text)?;
                    if !HEADER_BYTES.contains(&bytes) {
                        return Err(Flaw::new(
                            format!("`{text}` is out of range"),
                            "from 1KiB to 1MiB",
                        ));
                    }
                    usize::try_from(bytes)
                        .map_err(|_| Flaw::new(format!("`{text}` is too large"), ""))
                },
            ),
            spooled_bytes: self.or(
                &given.spooled_bytes,
                "limits.spooled_bytes",
                default.spooled_bytes,
                size,
            ),
            buffered_bytes: self.or(
                &given.buffered_bytes,
                "limits.buffered_bytes",
                default.buffered_bytes,
                |text| match size(text)? {
                    bytes if bytes < BUFFERED_BYTES_MIN => {
                        Err(Flaw::new(format!("`{text}` is out of range"), "at least 1MiB"))
                    }
                    bytes => Ok(usize::try_from(bytes).unwrap_or(usize::MAX)),
                },
            ),
        }
    }

    /// The ring that is named; else the service manager's credential; else the one in the state
    /// directory, which is made at the first start.
    pub(super) fn keyring(&mut self, file: &File, state: &Path) -> PathBuf {
        let own = state.join("keyring.json");
        let credential = self
            .environment
            .credentials_directory
            .as_ref()
            .map(|directory| directory.join("keyring.json"));
        let credential = credential.filter(|path| self.environment.system.mode(path).is_some());
        let path = match &file.keyring {
            Some(given) => self.path(&given.value),
            None => credential.unwrap_or_else(|| own.clone()),
        };
        let place = file.keyring.as_ref().and_then(at);
        match self.environment.system.mode(&path) {
            None if path != own => self.error(place, "keyring", Flaw::new(
                format!("`{}` is not there, or cannot be seen", path.display()),
                format!("make it once with `cloakroom keys new {}` and give every node the same", path.display()),
            )),
            Some(mode) if mode & 0o007 != 0 => self.warning(place, "keyring", Flaw::new(
                format!("every user of this machine can reach `{}` (mode {mode:04o}): whoever reads it can forge tickets", path.display()),
                format!("chmod 600 {}, and rotate the keys if others could log in here", path.display()),
            )),
            _ => {}
        }
        path
    }

    pub(super) fn trusted_proxies(&mut self, file: &File) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for (index, given) in items(&file.trusted_proxies).iter().enumerate() {
            let path = format!("trusted_proxies[{index}]");
            match network(&given.value) {
                Err(flaw) => self.error(at(given), &path, flaw),
                Ok((net, cut)) => {
                    if cut {
                        let message = format!(
                            "`{}` has bits beyond its prefix, which are ignored",
                            given.value
                        );
                        self.warning(
                            at(given),
                            &path,
                            Flaw::new(message, format!("write `{net}`")),
                        );
                    }
                    if net.prefix_len() == 0 {
                        self.warning(
                            at(given),
                            &path,
                            Flaw::new(
                                "every client is believed about its own address and scheme",
                                "list the networks of your load balancers only",
                            ),
                        );
                    }
                    networks.push(net);
                }
            }
        }
        networks
    }

    pub(super) fn admin(
        &mut self,
        file: &File,
        listeners: &[listen::ListenerSettings],
    ) -> Option<admin::AdminSettings> {
        let given = file.admin.as_ref()?;
        let path = "admin.address";
        let place = given.value.address.as_ref().and_then(at);
        let address = self.required(
            &given.value.address,
            at(given),
            path,
            "unix:/run/cloakroom/admin.sock",
            |text| match endpoint(text)? {
                Place::Inet(address) => Ok(admin::Address::Inet(address)),
                Place::Unix(socket) => Ok(admin::Address::Unix(socket)),
                Place::Named(..) => Err(Flaw::new(
                    format!("`{text}` has a name where an address is wanted"),
                    "write `127.0.0.1:9000` or `unix:/run/cloakroom/admin.sock`",
                )),
            },
        )?;
        if let admin::Address::Inet(inet) = address {
            if listeners
                .iter()
                .any(|listener| super::listeners::collide(&listener.address, &inet.into()))
            {
                self.error(
                    place,
                    path,
                    Flaw::new(
                        format!("a listener has `{inet}` already"),
                        "give the admin listener an address of its own",
                    ),
                );
            }
            self.public_admin(inet, place);
        }
        let mut names = Vec::new();
        for (index, given) in items(&given.value.names).iter().enumerate() {
            match name::host(&given.value) {
                Ok(name) => names.push(name),
                Err(flaw) => self.error(at(given), &format!("admin.names[{index}]"), flaw),
            }
        }
        let token = self.admin_token(&given.value);
        Some(admin::AdminSettings { address, names, token })
    }

    fn admin_token(&mut self, admin: &Admin) -> Option<admin::Token> {
        const PATH: &str = "admin.token_file";
        let given = admin.token_file.as_ref()?;
        let file = self.path(&given.value);
        let read = self.environment.system.read(&file).map_err(|error| {
            let help = format!("make one: head -c 32 /dev/urandom | base64 > {}", file.display());
            Flaw::new(format!("cannot read `{}`: {error}", file.display()), help)
        });
        let token = read.and_then(|bytes| {
            admin::Token::read(&String::from_utf8_lossy(&bytes)).map_err(|flaw| {
                let help = "write one line of random text: head -c 32 /dev/urandom | base64";
                Flaw::new(format!("what `{}` holds {flaw}", file.display()), help)
            })
        });
        if self.environment.system.mode(&file).is_some_and(|mode| mode & 0o004 != 0) {
            let message = format!("everybody on this machine can read `{}`", file.display());
            let help = format!("chmod 600 {}", file.display());
            self.warning(at(given), PATH, Flaw::new(message, help));
        }
        token.map_err(|flaw| self.error(at(given), PATH, flaw)).ok()
    }

    fn public_admin(
        &mut self,
        address: SocketAddr,
        place: Option<crate::config::diagnostic::Place>,
    ) {
        if !address.ip().is_loopback() {
            self.warning(place, "admin.address", Flaw::new(
                "the admin listener asks nobody who they are, and can be reached from other machines",
                "listen on 127.0.0.1 or a `unix:` socket, or keep others out with a firewall",
            ));
        }
    }

    pub(super) fn log(&mut self, file: &File) -> telemetry::LogSettings {
        const FORMATS: [(&str, telemetry::Format); 2] =
            [("text", telemetry::Format::Text), ("json", telemetry::Format::Json)];
        let default = telemetry::LogSettings::default();
        let error_logs = self.error_logs(file);
        let Some(given) = &file.log else {
            return telemetry::LogSettings { error_logs, ..default };
        };
        telemetry::LogSettings {
            format: self.or(&given.format, "log.format", default.format, |text| {
                choice(text, "log format", &FORMATS)
            }),
            level: self.or(&given.level, "log.level", default.level, log_level),
            access: given.access.as_ref().map_or(default.access, |switch| switch.value),
            error_logs,
        }
    }

    pub(super) fn pid(&mut self, file: &File) -> Option<PathBuf> {
        let given = file.pid.as_ref()?;
        if given.value.is_empty() {
            self.error(
                at(given),
                "pid",
                Flaw::new("is empty", "name a file, or leave the key out"),
            );
            return None;
        }
        Some(self.path(&given.value))
    }

    pub(super) fn drain_timeout(&mut self, file: &File) -> Duration {
        self.or(&file.drain_timeout, "drain_timeout", DRAIN_TIMEOUT, |text| {
            duration(text, Zero::Allowed)
        })
    }
}

/// Checks a filter: a level, or a list of `target=level`.
fn log_level(text: &str) -> Parsed<String> {
    const LEVELS: [(&str, ()); 6] =
        [("error", ()), ("warn", ()), ("info", ()), ("debug", ()), ("trace", ()), ("off", ())];
    for directive in text.split(',') {
        let (target, level) = match directive.trim().split_once('=') {
            Some((target, level)) => (target, level),
            None => ("cloakroom", directive.trim()),
        };
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'-');
        if target.is_empty() || !target.bytes().all(fits) {
            return Err(Flaw::new(
                format!("`{target}` is no part of the program"),
                "write a level, or `cloakroom=debug`, several separated by commas",
            ));
        }
        choice(level, "log level", &LEVELS)?;
    }
    Ok(text.to_owned())
}
