//! Certificates that are renewed while they are shown: their files are looked at now and then, and what has
//! changed and can be used is used from the next handshake on.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::tls::Store;
use super::{Address, Listener};
use crate::clock::UnixMillis;

/// Files of all listeners that speak TLS.
pub struct Watch(Vec<Watched>);

struct Watched {
    address: Address,
    store: Arc<Store>,
    /// As they were when they were read.
    read: Vec<State>,
    /// As they were when they were looked at last.
    seen: Vec<State>,
}

/// What tells one content of a file from the next.
type State = Option<(u64, u64, u64, i64, i64)>;

impl Watch {
    pub fn new(listeners: &[Listener]) -> Self {
        let with_tls = listeners.iter().filter_map(|one| Some((one.address(), one.tls()?)));
        let watched = with_tls.map(|(address, store)| {
            let read = states(store);
            Watched { address: address.clone(), store: store.clone(), seen: read.clone(), read }
        });
        Self(watched.collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks at all files. A change counts once nothing has changed since the last look: whoever renews
    /// writes several files. What cannot be used is told, and the old ones stay.
    pub fn look(&mut self, now: UnixMillis) {
        for one in &mut self.0 {
            let states = states(&one.store);
            let is_settled = states == one.seen;
            one.seen.clone_from(&states);
            if states == one.read || !is_settled {
                continue;
            }
            one.read = states;
            one.reload(now);
        }
    }

    /// Reads all of them again because somebody asks for it.
    pub fn reload(&mut self, now: UnixMillis) {
        for one in &mut self.0 {
            one.seen = states(&one.store);
            one.read.clone_from(&one.seen);
            one.reload(now);
        }
    }
}

impl Watched {
    fn reload(&self, now: UnixMillis) {
        let listener = &self.address;
        match self.store.reload(now) {
            Ok(warnings) => {
                tracing::info!(%listener, "certificates were read again");
                warnings.iter().for_each(|warning| tracing::warn!(%listener, "{warning}"));
            }
            Err(errors) => {
                for error in errors {
                    tracing::error!(%listener, %error, "certificates were not read again: the old ones stay");
                }
            }
        }
    }
}

fn states(store: &Store) -> Vec<State> {
    store.files().map(state).collect()
}

fn state(file: &Path) -> State {
    let about = std::fs::metadata(file).ok()?;
    Some((about.dev(), about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::CertificateDer;

    use super::super::certificate::tests::make;
    use super::super::tls::Doors;
    use super::super::{Certificates, Outside, Protocol, TlsSettings, TlsVersion};
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    #[test]
    fn what_is_renewed_is_shown_and_what_is_broken_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = make(directory.path(), "a", &["a.example"]);
        let settings = TlsSettings {
            certificates: Certificates::Files(vec![files.clone()]),
            of_servers: Vec::new(),
            min_version: TlsVersion::Tls12,
            client_certificates: None,
        };
        let outside = Outside {
            choose: Arc::new(|_, _| None),
            secrets: Arc::new(Vec::new),
            ordered: Arc::default(),
        };
        let doors = Doors { listener: 0, outside };
        let (store, _) = Store::load(&settings, &[Protocol::Http1], doors, NOW).expect("good");
        let store = Arc::new(store);
        let address = Address::Tcp(([127, 0, 0, 1], 1).into());
        let read = states(&store);
        let mut watch =
            Watch(vec![Watched { address, store: store.clone(), seen: read.clone(), read }]);
        let shown = || -> CertificateDer<'static> { store.default_certificate().expect("one") };
        let first = shown();
        watch.look(NOW);
        assert_eq!(shown(), first);

        // The chain is there already, its key is not yet.
        let key = std::fs::read(&files.key).expect("it is there");
        make(directory.path(), "a", &["a.example"]);
        let new_key = std::fs::read(&files.key).expect("it is there");
        std::fs::write(&files.key, &key).expect("written");
        watch.look(NOW);
        assert_eq!(shown(), first, "somebody may be writing");
        watch.look(NOW);
        assert_eq!(shown(), first, "they do not belong together");
        std::fs::write(&files.key, &new_key).expect("written");
        watch.look(NOW);
        watch.look(NOW);
        let second = shown();
        assert_ne!(second, first);

        std::fs::remove_file(&files.chain).expect("it was there");
        watch.look(NOW);
        watch.look(NOW);
        assert_eq!(shown(), second, "the old one stays");
    }
}
