//! Starts the proxy in this process, built exactly as `main` builds it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cloakroom::app::{self, App};
use cloakroom::clock::Clock;
use cloakroom::config::environment::Environment;
use cloakroom::config::{self, Config};

use super::proxy::{Proxy, Running};

impl Proxy {
    /// Starts a proxy. `{directory}` in the configuration stands for a directory of its own;
    /// listeners have port 0.
    pub fn start(yaml: &str) -> Self {
        Self::start_with(|text| boot(text, Clock::System), yaml)
    }

    /// As [`Proxy::start`], with a clock that the test puts forward.
    pub fn start_at(clock: &TestClock, yaml: &str) -> Self {
        let clock = Clock::Shifted(clock.0.clone());
        Self::start_with(move |text| boot(text, clock), yaml)
    }

    /// As [`Proxy::start`], for configurations that are wrong.
    ///
    /// # Errors
    /// What a user would see.
    pub fn try_start(yaml: &str) -> Result<Self, String> {
        Self::try_start_with(|text| boot(text, Clock::System), yaml)
    }
}

/// The system's clock, put forward by hand. Nodes that share one stay together.
#[derive(Clone, Default)]
pub struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).expect("tests stay within this age");
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Running for app::Running {
    fn addresses(&self) -> Vec<SocketAddr> {
        app::Running::addresses(self).to_vec()
    }

    fn admin_address(&self) -> Option<String> {
        app::Running::admin_address(self).map(|address| address.to_string())
    }

    fn reload(&self) {
        app::Running::reload(self);
    }

    fn reload_with(&self, yaml: &str) -> Result<(Vec<&'static str>, Vec<SocketAddr>), String> {
        app::Running::reload_with(self, parsed(yaml)?)
    }

    fn drain(self: Box<Self>) {
        app::Running::drain(*self).expect("the proxy ends well");
    }

    fn stop(self: Box<Self>) {
        app::Running::stop(*self).expect("the proxy ends well");
    }
}

fn parsed(yaml: &str) -> Result<Config, String> {
    config::parse(yaml, "cloakroom.yaml", &Environment::of_process())
        .map_err(|problem| problem.to_string())
}

fn boot(yaml: &str, clock: Clock) -> Result<Box<dyn Running>, String> {
    let app = App::build(parsed(yaml)?, clock).map_err(|problem| problem.to_string())?;
    Ok(Box::new(app.start().map_err(|problem| problem.to_string())?))
}
