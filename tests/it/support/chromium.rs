//! A real Chromium, driven by `tests/chromium/drive.js` over the DevTools protocol.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::process::Process;

/// Runs one scenario of `drive.js` against `https://<host>/`, which is at `address` and shows the
/// certificate with this pin, and returns what it saw, so many times.
///
/// # Panics
/// If there is no Chromium, or the scenario does not come to its end.
pub async fn scenario(
    name: &str,
    host: &str,
    address: SocketAddr,
    pin: &str,
    results: usize,
) -> Vec<Value> {
    let profile = tempfile::tempdir().expect("a temporary directory can be made");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chromium/drive.js");
    let mut process = Process::spawn(
        "chromium",
        Command::new("node")
            .arg(script)
            .arg(name)
            .arg(profile.path())
            .args([host, &address.port().to_string(), pin])
            .env_remove("NODE_OPTIONS")
            // What a browser writes outside of its profile goes with it all the same.
            .env("HOME", profile.path())
            .env("XDG_CONFIG_HOME", profile.path())
            .env("XDG_CACHE_HOME", profile.path()),
    );
    // The splitter and the proxies run in this runtime.
    tokio::task::spawn_blocking(move || {
        let next = |_| {
            let seen = process.wait_line("RESULT ").unwrap_or_else(|problem| {
                panic!("{problem}\n(`scripts/setup` installs Chromium; CHROMIUM names another one)")
            });
            serde_json::from_str(&seen).expect("the script prints JSON")
        };
        let seen = (0..results).map(next).collect();
        process.wait_exit();
        drop(profile);
        seen
    })
    .await
    .expect("the browser comes to its end")
}
