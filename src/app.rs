//! A configuration made to run: `App::build`, then `App::run`. `main` and the tests use the same.
//!
//! The control runtime lives on the thread that runs the app: signals, drain, admin listener, SQL
//! store. Each worker is a thread with a `current_thread` runtime and connections to workers of its own.

mod control;
mod fixed;
mod generation;
mod in_force;
mod inside;
mod lasting;
mod notify;
mod pid_file;
mod running;
mod signals;
mod tended;
mod upgrade;

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};

use crate::admin;
use crate::clock::Clock;
use crate::config::Config;
use crate::listen::succession::Predecessor;
use crate::listen::{self, Inherited, Shutdown};
use crate::store;
use crate::store::key_watch::KeyWatch;

use self::generation::Generation;
use self::in_force::InForce;
use self::lasting::{lasting, open_ring};

pub use self::in_force::Source;
pub use self::pid_file::Report;
pub use self::running::Running;

/// Why an app could not be built: everything that was found, one line each.
#[derive(Debug)]
pub struct BuildError(Vec<String>);

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for BuildError {}

impl BuildError {
    fn one(error: impl fmt::Display) -> Self {
        Self(vec![error.to_string()])
    }
}

/// Built: sockets bound, certificates and keys read, the store open; nothing accepted yet.
pub struct App {
    control: Runtime,
    admin: Option<admin::Listener>,
    keys: Arc<KeyWatch>,
    in_force: InForce,
    workers: usize,
    addresses: Vec<SocketAddr>,
    serving: Option<Serving>,
}

/// Called when connections are taken.
type Serving = Box<dyn FnOnce() -> Result<(), String> + Send>;

impl App {
    /// Builds an app. `clock` is the system's, or one that a test moves.
    ///
    /// # Errors
    /// Everything that keeps it from running: a port that is taken, a key ring or certificate that
    /// can't be read, a store that can't be opened.
    pub fn build(config: Config, clock: Clock) -> Result<Self, BuildError> {
        let handed = Predecessor::of_this_process()
            .map_err(|error| BuildError::one(format!("the sockets of the old binary: {error}")))?;
        let (predecessor, inherited) = match handed {
            Some((predecessor, inherited)) => (Some(predecessor), inherited),
            None => (None, Inherited::from_environment()),
        };
        let mut app = Self::build_with(config, clock, inherited)?;
        app.in_force.predecessor = predecessor;
        Ok(app)
    }

    /// The same, with sockets that are bound already.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_with(
        config: Config,
        clock: Clock,
        mut inherited: Inherited,
    ) -> Result<Self, BuildError> {
        listen::tls::install_provider();
        for notice in &config.notices {
            tracing::warn!("{notice}");
        }
        let control = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| BuildError::one(format!("the control runtime: {error}")))?;
        let ring = Arc::new(open_ring(&config, &clock)?);
        let options = store::Options { lease: config.cache.lease };
        let store = control
            .block_on(store::open(&config.store, &options, clock.clone()))
            .map_err(BuildError::one)?;
        let lasting = Arc::new(lasting(&config, clock, ring, &store));
        let gate = lasting.gate.clone();
        let keys = lasting::keys(&store, &lasting);
        let admin = match &config.admin {
            Some(settings) => Some(open_admin(settings, &mut inherited)?),
            None => None,
        };
        let generation = Generation::make(&config, &lasting, None, &mut inherited)?;
        let addresses = generation.listeners.iter().filter_map(|one| one.address().tcp()).collect();
        let mut in_force = InForce::new(&config, generation, lasting, store, gate);
        if let Some(admin) = &admin {
            in_force.set_admin(admin.as_fd());
        }
        Ok(Self {
            control,
            admin,
            keys,
            in_force,
            workers: config.workers.max(1),
            addresses,
            serving: None,
        })
    }

    /// Reads the configuration by this when it is told to reload (HUP). Without, a reload is about keys
    /// and certificates alone.
    #[must_use]
    pub fn reloading_by(mut self, source: Source) -> Self {
        self.in_force.set_source(source);
        self
    }

    /// Where the listeners are, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the admin listener is, if it is on TCP.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(admin::Listener::local_addr)
    }

    /// Runs until told to stop, or until QUIT (drain), TERM or INT (stop at once) arrives.
    ///
    /// # Errors
    /// Signals can't be heard, a worker could not begin, or one ended by itself.
    pub fn run(self) -> Result<(), BuildError> {
        self.run_and_tell(|| Ok(()))
    }

    /// The same; `serving` is called when connections are taken.
    ///
    /// # Errors
    /// As [`run`](Self::run), and what `serving` says.
    pub fn run_and_tell(
        mut self,
        serving: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Result<(), BuildError> {
        self.serving = Some(Box::new(serving));
        let (orders, ordered) = watch::channel(Shutdown::Running);
        let heard = {
            let _in = self.control.enter();
            signals::hear()
                .map_err(|error| BuildError::one(format!("signals can't be heard: {error}")))?
        };
        self.obey(ordered, Some((heard, orders)), None)
    }

    /// Runs on a thread of its own until the returned value is dropped or told to stop; no signal
    /// is heard.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(self) -> std::io::Result<Running> {
        let (orders, ordered) = watch::channel(Shutdown::Running);
        let (addresses, admin) = (self.addresses.clone(), self.admin_address());
        let metrics = self.in_force.lasting.metrics.clone();
        let (asks, asked) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || self.obey(ordered, None, Some(asked)))?;
        Ok(Running { orders, thread: Some(thread), addresses, admin, metrics, asks })
    }
}

/// The admin listener, on the socket of the process whose place this one takes, where there is one.
fn open_admin(
    settings: &admin::AdminSettings,
    inherited: &mut Inherited,
) -> Result<admin::Listener, BuildError> {
    let address = match &settings.address {
        admin::Address::Inet(address) => listen::Address::Tcp(*address),
        admin::Address::Unix(path) => listen::Address::Unix(path.clone()),
    };
    match inherited.take_exactly(&address) {
        Some(socket) => Ok(admin::Listener::take(settings, socket.into())),
        None => admin::bind(settings).map_err(BuildError::one),
    }
}
