//! `cloakroom demo`: two workers of a small shop that knows nothing about security, a
//! configuration for them, and a walk through the first minute.
//!
//! The walk is data ([`steps`]): what a reader is told to type is what a test runs, and what the
//! reader is told to look for is what it checks.

mod page;
mod worker;

use std::fmt::Write;
use std::path::Path;

pub use worker::{Worker, spawn_worker};

/// Where the demo listens; all of it on the loopback interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Cloakroom itself, TLS.
    pub listen: u16,
    /// The workers, plain HTTP.
    pub workers: [u16; 2],
}

impl Default for Ports {
    fn default() -> Self {
        Self { listen: 8443, workers: [9001, 9002] }
    }
}

/// The workers' names.
pub const WORKERS: [&str; 2] = ["red", "blue"];

/// The configuration of the demo. Store and keyring are left at their defaults.
pub fn config_yaml(ports: Ports) -> String {
    let Ports { listen, workers: [red, blue] } = ports;
    format!(
        "\
# What `cloakroom demo` runs with. Everything that is not said here has its default: the store
# is a SQLite file, the keyring is made on first start, both in the state directory.

listeners:
  - address: 127.0.0.1:{listen}
    tls: {{ self_signed: true }}

sessions:
  demo:
    mode: vault
    cookie: {{ name: demo, same_site: lax }} # sent as __Host-demo
    app_cookies: [demo_sid]
    timeouts: {{ idle: 30m, absolute: 12h, renew_every: 15m, grace: 60s }}
    login:
      - {{ request: POST /login, success: {{ status: [302] }}, failure: {{ location: /login }} }}
    logout:
      - {{ request: POST /logout }}

cookies: # every other cookie on its way out
  defaults: {{ secure: true, http_only: true, same_site: lax }}

upstreams:
  demo:
    balance: session # each worker keeps its sessions in its own memory
    endpoints:
      - {{ address: 127.0.0.1:{red} }}
      - {{ address: 127.0.0.1:{blue} }}

servers:
  - names: [localhost]
    routes:
      - {{ path: /, upstream: demo, session: demo }}
      - {{ path: /account/, upstream: demo, session: demo, require: login, denied: redirect /login }}
"
    )
}

/// One step of the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it is about, and what to look at.
    pub about: &'static str,
    /// A line for `sh`. Lines share their shell's variables.
    pub command: String,
    /// All of these are in the command's output …
    pub shows: &'static [&'static str],
    /// … and none of these.
    pub hides: &'static [&'static str],
}

/// The walk, for these ports, with this program and the configuration in this file.
pub fn steps(ports: Ports, program: &Path, config: &Path) -> Vec<Step> {
    let step = |about, command, shows, hides| Step { about, command, shows, hides };
    let front = format!("https://localhost:{}", ports.listen);
    let [red, _] = ports.workers;
    vec![
        step(
            "A worker by itself. Its session cookie travels bare: no Secure, no HttpOnly, no SameSite.",
            format!("curl -si http://127.0.0.1:{red}/"),
            &["demo_sid=", "visit 1"],
            &["Secure", "HttpOnly", "SameSite"],
        ),
        step(
            "The same page through Cloakroom. demo_sid stays behind the counter; the browser carries\n\
             a sealed ticket, __Host-demo, with Secure, HttpOnly and SameSite.",
            format!("jar=$(mktemp); curl -ski -c $jar -b $jar {front}/"),
            &["__Host-demo=", "Secure", "HttpOnly", "SameSite=Lax", "visit 1"],
            &["demo_sid"],
        ),
        step(
            "Again. The worker knows us: Cloakroom put demo_sid back, as the page says.",
            format!("curl -sk -c $jar -b $jar {front}/"),
            &["visit 2", "demo_sid="],
            &["__Host-demo"],
        ),
        step(
            "Somebody plants identifiers of their own choosing. The worker sees neither of them.",
            format!("curl -sk -H 'Cookie: demo_sid=planted; __Host-demo=planted' {front}/"),
            &["visit 1"],
            &["planted"],
        ),
        step(
            "Fixation, with a genuine ticket: the attacker keeps a copy of it and waits for a login.\n\
             The worker keeps its identifier at login. The ticket changes all the same.",
            format!(
                "cp $jar $jar.attacker; curl -ski -c $jar -b $jar \
                 -d 'username=alice&password=wonderland' {front}/login"
            ),
            &["302", "/account/", "__Host-demo="],
            &["demo_sid"],
        ),
        step(
            "The new ticket is Alice.",
            format!("curl -sk -c $jar -b $jar {front}/account/"),
            &["alice"],
            &[],
        ),
        step(
            "The attacker's copy is nobody, and is sent to the login page.",
            format!("curl -ski -H 'Accept: text/html' -b $jar.attacker {front}/account/"),
            &["302", "/login"],
            &["alice"],
        ),
        step(
            "Cookies that the shop sets carelessly leave with the attributes they should have.",
            format!("curl -ski -b $jar {front}/set-cookies | grep -i '^set-cookie'"),
            &["theme=dark", "Secure", "HttpOnly", "SameSite"],
            &[],
        ),
        step(
            "Logout ends the session here, not only in the browser: the ticket from before is nobody\n\
             as well.",
            format!(
                "cp $jar $jar.before; curl -sk -c $jar -b $jar -d '' {front}/logout; \
                 curl -ski -H 'Accept: text/html' -b $jar.before {front}/account/"
            ),
            &["302", "/login"],
            &["alice"],
        ),
        step(
            "The configuration behind it, checked as it is before each start.",
            format!(
                "rm -f $jar $jar.attacker $jar.before; {} check -c {}",
                program.display(),
                config.display()
            ),
            &[],
            &[],
        ),
    ]
}

/// What `cloakroom demo` prints once it listens.
pub fn first_minute(ports: Ports, program: &Path, config: &Path) -> String {
    let Ports { listen, workers: [red, blue] } = ports;
    let mut text = format!(
        "\
Cloakroom stands in front of two workers of a small shop that knows nothing about security.

  Cloakroom     https://localhost:{listen}/   (a self-signed certificate: curl -k)
  worker red    http://127.0.0.1:{red}/
  worker blue   http://127.0.0.1:{blue}/

In another terminal:
"
    );
    for (number, Step { about, command, .. }) in (1..).zip(steps(ports, program, config)) {
        let about = about.replace('\n', "\n    ");
        write!(text, "\n{number:>2}. {about}\n      {command}\n")
            .expect("a string takes what is written to it");
    }
    text.push_str("\nCtrl-C stops it all.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: Ports = Ports { listen: 1443, workers: [1001, 1002] };

    #[test]
    fn the_configuration_names_the_ports_and_is_yaml() {
        let yaml = config_yaml(PORTS);
        for address in ["127.0.0.1:1443", "127.0.0.1:1001", "127.0.0.1:1002"] {
            assert_eq!(yaml.matches(address).count(), 1, "{address}");
        }
        assert!(!yaml.contains("{{") && !yaml.contains('\t'), "{yaml}");
    }

    #[test]
    fn the_text_has_every_command_on_a_line_of_its_own() {
        let (program, config) = (Path::new("bin/cloakroom"), Path::new("state/demo.yaml"));
        let text = first_minute(PORTS, program, config);
        for step in steps(PORTS, program, config) {
            assert!(!step.command.contains('\n'), "{}", step.command);
            let line = format!("\n      {}\n", step.command);
            assert!(text.contains(&line), "{line} is missing from\n{text}");
        }
        assert!(text.contains("bin/cloakroom check -c state/demo.yaml"));
    }
}
