//! The files under `config/` are good, and the reference tells the truth about defaults.

use std::path::{Path, PathBuf};

use super::diagnostic::Severity;
use super::environment::testing::Given;
use super::{Config, Diagnostics, parse};

/// The text of a file under `config/`.
pub(super) fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A certificate for `shop.example.com` with its key, both PEM.
pub(super) fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["shop.example.com".to_owned()]);
    let made = made.expect("a certificate can be made");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn read(text: &str) -> Result<Config, Diagnostics> {
    let (chain, key) = certificate();
    let users = ("/etc/cloakroom/users", "ann:{SHA}x\n".to_owned(), 0o640);
    let mut environment = Given::default().with(users.0, users.1, users.2).with(
        "/etc/cloakroom/eab.key",
        "Zm9v\n",
        0o600,
    );
    for name in ["shop", "blog", "any", "client", "workers"] {
        let file = |kind: &str| format!("/etc/cloakroom/tls/{name}.{kind}");
        environment = environment.with(&file("pem"), chain.clone(), 0o644).with(
            &file("key"),
            key.clone(),
            0o600,
        );
    }
    parse(text, "config.yaml", &environment.environment())
}

/// All that a configuration does; notices name lines, which may differ.
fn effect(text: &str) -> Result<String, Diagnostics> {
    let mut config = read(text)?;
    config.notices.clear();
    config.warnings = Diagnostics::default();
    Ok(format!("{config:#?}"))
}

#[test]
fn every_shipped_file_is_good() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut files: Vec<PathBuf> = Vec::new();
    for directory in [directory.clone(), directory.join("examples")] {
        let entries = std::fs::read_dir(&directory).expect("config/ is there");
        files.extend(entries.map(|entry| entry.expect("config/ can be listed").path()));
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    assert!(files.len() >= 18, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a shipped file can be read");
        let config = read(&text).unwrap_or_else(|found| panic!("{}:\n{found}", file.display()));
        let warnings: Vec<_> =
            config.warnings.iter().filter(|found| found.severity == Severity::Warning).collect();
        // Examples must run anywhere, so they make their own certificate; nothing else is doubtful.
        let expected = warnings.iter().all(|found| found.path.ends_with(".self_signed"));
        assert!(expected, "{}:\n{}", file.display(), config.warnings);
    }
}

/// Lines of the reference of the form `key: value`, with what their comment says.
fn settings(text: &str) -> Vec<(usize, bool)> {
    let setting = |line: &str| {
        let line = line.trim_start();
        let (key, value) = line.split_once(": ")?;
        let is_key = key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let has_default = !value.contains("# example") && !value.contains("# required");
        is_key.then_some(has_default)
    };
    let numbered = text.lines().enumerate();
    numbered.filter_map(|(number, line)| Some((number, setting(line)?))).collect()
}

fn without_line(text: &str, number: usize) -> String {
    let lines = text.lines().enumerate().filter(|(other, _)| *other != number);
    lines.map(|(_, line)| format!("{line}\n")).collect()
}

#[test]
fn leaving_a_default_of_the_reference_out_changes_nothing_and_an_example_something() {
    let text = shipped("reference.yaml");
    let whole = effect(&text).expect("the reference is good");
    let settings = settings(&text);
    assert!(settings.iter().filter(|(_, default)| *default).count() > 50, "{settings:?}");
    for (number, default) in settings {
        let line = text.lines().nth(number).unwrap_or_default();
        let same = effect(&without_line(&text, number)).is_ok_and(|effect| effect == whole);
        assert_eq!(same, default, "config/reference.yaml:{}: {line}", number + 1);
    }
}

#[test]
fn the_minimal_file_keeps_sessions_behind_the_counter() {
    let config = read(&shipped("minimal.yaml")).expect("the minimal file is good");
    assert_eq!(config.sessions[0].cookie.name, "__Host-app");
    assert_eq!(config.servers[0].names, ["_"]);
    assert!(config.may_make_keyring());
}
