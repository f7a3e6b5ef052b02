//! Hearing of changes: a connection on which keys are read tells when one of them was written.
//!
//! The server remembers which keys a tracked connection has read, and writes an invalidation into
//! the same stream as the answers (`CLIENT TRACKING`, default mode, own writes included). A
//! connection's driver hands pushes over in the order of the stream, before it answers whatever
//! came after them: an answer to PING proves that all invalidations before it were counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redis::{PushInfo, PushKind, Value};

use super::fault::Fault;
use super::layout::Namespace;
use crate::session::outcome::RecordKey;
use crate::store::changes::{Changes, Link};

/// What a connection's driver tells of it. Dropped with the driver, however that ends.
pub(super) struct Watcher {
    pub(super) changes: Arc<Changes>,
    pub(super) namespace: Namespace,
    /// None where this connection is not tracked.
    pub(super) link: Option<Arc<Link>>,
    pub(super) broken: Arc<AtomicBool>,
    pub(super) fault: Arc<Fault>,
}

impl Watcher {
    /// Called by the driver, inline.
    pub(super) fn hear(&self, push: &PushInfo) {
        match push.kind {
            PushKind::Invalidate => count(&self.changes, &self.namespace, &push.data),
            PushKind::Disconnection => self.disconnected(),
            _ => {}
        }
    }

    fn disconnected(&self) {
        if let Some(link) = &self.link {
            link.lose();
        }
        self.broken.store(true, Ordering::SeqCst);
        self.fault.wear();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.disconnected();
    }
}

/// Counts what an invalidation names. One that names nothing in particular (FLUSHALL, FLUSHDB), or
/// that cannot be read, is of everything.
fn count(changes: &Changes, namespace: &Namespace, data: &[Value]) {
    let [Value::Array(names)] = data else { return changes.all() };
    for name in names {
        match name {
            Value::BulkString(name) => match read(namespace, name) {
                Some(Named::Record(key)) => changes.record(key),
                Some(Named::Epoch(tag)) => changes.tag(tag),
                None => {}
            },
            _ => changes.all(),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Named {
    Record(RecordKey),
    Epoch([u8; 8]),
}

/// What one of our keys names; none for one that is not kept anywhere (indexes, leases, the era),
/// and one that is not ours.
fn read(namespace: &Namespace, name: &[u8]) -> Option<Named> {
    let rest = name.strip_prefix(namespace.as_bytes())?.strip_prefix(b":{")?;
    let (tag, rest) = rest.split_at_checked(11)?;
    let tag = decode(tag)?;
    if rest == b"}:e" {
        return Some(Named::Epoch(tag));
    }
    let id = decode(rest.strip_prefix(b"}:s:")?)?;
    Some(Named::Record(RecordKey { tag, id, has_subject: false }))
}

fn decode<const BYTES: usize>(text: &[u8]) -> Option<[u8; BYTES]> {
    // A little more than the sixteen bytes of an identifier, as base64 asks for.
    let mut bytes = [0; 24];
    let length =
        (text.len() <= 22).then(|| URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok())??;
    bytes.get(..length)?.try_into().ok()
}

/// Counts a write of this process: when made, which is before the write is sent, and when dropped,
/// which is when its answer is there, or nobody waits for one any more.
pub(super) struct Writing<'a> {
    changes: &'a Changes,
    named: Named,
}

impl<'a> Writing<'a> {
    pub(super) fn record(changes: &'a Changes, key: RecordKey) -> Self {
        Self::begin(changes, Named::Record(key))
    }

    pub(super) fn epoch(changes: &'a Changes, tag: [u8; 8]) -> Self {
        Self::begin(changes, Named::Epoch(tag))
    }

    fn begin(changes: &'a Changes, named: Named) -> Self {
        let writing = Self { changes, named };
        writing.count();
        writing
    }

    fn count(&self) {
        match self.named {
            Named::Record(key) => self.changes.record(key),
            Named::Epoch(tag) => self.changes.tag(tag),
        }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: RecordKey = RecordKey { tag: [0xfb; 8], id: [0xff; 16], has_subject: true };
    const OTHER: RecordKey = RecordKey { tag: [0x01; 8], id: [0x02; 16], has_subject: true };

    fn namespace() -> Namespace {
        Namespace::parse("a:b").expect("a valid namespace")
    }

    #[test]
    fn names_of_records_and_epochs_are_read_and_others_are_none() {
        let names = namespace();
        assert_eq!(read(&names, names.key(KEY).as_bytes()), Some(Named::Record(KEY)));
        assert_eq!(read(&names, names.epoch(KEY.tag).as_bytes()), Some(Named::Epoch(KEY.tag)));
        let record = names.key(KEY);
        for (what, name) in [
            ("an index", names.index(KEY.tag)),
            ("a lease", names.lease(KEY)),
            ("the era", names.era()),
            ("another namespace", format!("x{record}")),
            ("a longer namespace", record.replacen("a:b", "a:b:c", 1)),
            ("a longer identifier", format!("{record}A")),
            ("an identifier that is cut", record[..record.len() - 1].to_owned()),
            ("another last digit", format!("{}x", &record[..record.len() - 1])),
            ("a tag that is cut", "a:b:{AAAA}:e".to_owned()),
            ("a longer epoch", format!("{}:", names.epoch(KEY.tag))),
            ("a monster", format!("a:b:{{AAAAAAAAAAA}}:s:{}", "A".repeat(9999))),
            ("nothing", String::new()),
        ] {
            assert_eq!(read(&names, name.as_bytes()), None, "{what}: {name}");
        }
    }

    #[test]
    fn an_invalidation_counts_what_it_names_and_everything_where_it_does_not() {
        let names = namespace();
        let bulk = |name: String| Value::BulkString(name.into_bytes());
        let record = || bulk(names.key(KEY));
        let epoch = || bulk(names.epoch(KEY.tag));
        let foreign = || bulk("foreign".to_owned());
        for (data, key_is_current, other_is_current) in [
            (vec![Value::Array(vec![record()])], false, true),
            (vec![Value::Array(vec![epoch()])], false, true),
            (vec![Value::Array(vec![foreign(), epoch()])], false, true),
            (vec![Value::Array(vec![foreign()])], true, true),
            (vec![Value::Array(vec![])], true, true),
            (vec![Value::Nil], false, false),
            (vec![], false, false),
            (vec![record()], false, false),
            (vec![Value::Array(vec![Value::Int(1)])], false, false),
        ] {
            let changes = Changes::default();
            let marks = (changes.mark(KEY), changes.mark(OTHER));
            count(&changes, &names, &data);
            assert_eq!(changes.is_current(KEY, marks.0), key_is_current, "{data:?}");
            assert_eq!(changes.is_current(OTHER, marks.1), other_is_current, "{data:?}");
        }
    }

    #[test]
    fn a_write_counts_when_it_begins_and_when_it_ends() {
        let changes = Changes::default();
        let before = changes.mark(KEY);
        let writing = Writing::record(&changes, KEY);
        assert!(!changes.is_current(KEY, before), "begun");
        let meanwhile = changes.mark(KEY);
        drop(writing);
        assert!(!changes.is_current(KEY, meanwhile), "ended");

        let before = changes.mark(KEY);
        let writing = Writing::epoch(&changes, KEY.tag);
        assert!(!changes.is_current(KEY, before), "begun");
        let meanwhile = changes.mark(KEY);
        drop(writing);
        assert!(!changes.is_current(KEY, meanwhile), "ended");
    }

    #[test]
    fn a_driver_that_ends_in_whatever_way_loses_its_link() {
        for tell in [true, false] {
            let (link, fault) = (Arc::new(Link::default()), Arc::new(Fault::default()));
            let broken = Arc::new(AtomicBool::new(false));
            let now = std::time::Instant::now();
            link.prove(now);
            let watcher = Watcher {
                changes: Arc::default(),
                namespace: namespace(),
                link: Some(link.clone()),
                broken: broken.clone(),
                fault,
            };
            if tell {
                watcher.hear(&PushInfo { kind: PushKind::Disconnection, data: vec![] });
            } else {
                drop(watcher);
            }
            assert!(!link.is_proved(std::time::Duration::from_secs(9), now), "told: {tell}");
            assert!(broken.load(Ordering::SeqCst), "told: {tell}");
        }
    }
}
