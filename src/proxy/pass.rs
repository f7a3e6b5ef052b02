//! An exchange inside the gate of its session.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::proxy::cut::Cut;
use crate::proxy::gate::{Gates, SessionGate, lock};
use crate::session::admission::Closed;
use crate::session::ticket::Selector;

/// An exchange inside a gate. Dropping it lets others in.
#[derive(Debug)]
pub struct Pass {
    gates: Arc<Gates>,
    selector: Selector,
    gate: Arc<SessionGate>,
    cut: Arc<Cut>,
    closes: bool,
    /// It found the gate closed, or others inside when it closed it.
    has_waited: bool,
    /// It was let in for its patience, beside a login that still has the gate closed.
    beside_login: bool,
}

#[derive(Debug)]
pub(super) struct Inside {
    cut: Arc<Cut>,
    /// No login cuts it before, where it was promised time.
    until: Option<Instant>,
}

impl Pass {
    /// An exchange that is not inside yet.
    pub(super) fn outside(gates: Arc<Gates>, selector: Selector, gate: Arc<SessionGate>) -> Self {
        Self {
            gates,
            selector,
            gate,
            cut: Arc::default(),
            closes: false,
            has_waited: false,
            beside_login: false,
        }
    }

    /// Goes in, after waiting until `deadline` where the gate is closed.
    pub(super) async fn go_in(&mut self, deadline: Instant, grace: Duration) {
        while !self.slip_in(grace) {
            let changed = self.gate.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            // It may have opened before anybody listened.
            if self.slip_in(grace) {
                break;
            }
            self.has_waited = true;
            if timeout_at(deadline, changed).await.is_err() {
                lock(&self.gate.inner).inside.push(Inside::begin(&self.cut, grace));
                self.beside_login = true;
                break;
            }
        }
    }

    /// Goes in where the gate is open.
    fn slip_in(&self, grace: Duration) -> bool {
        let mut inner = lock(&self.gate.inner);
        if !inner.closed {
            inner.inside.push(Inside::begin(&self.cut, grace));
        }
        !inner.closed
    }

    /// What ends this exchange from outside.
    pub fn cut(&self) -> &Arc<Cut> {
        &self.cut
    }

    /// Says that nobody has to wait for this exchange: it is a stream. A login that has closed the
    /// gate meanwhile would have cut it then, so it ends here.
    pub fn mark_stream(&self) {
        let inner = lock(&self.gate.inner);
        self.cut.mark_stream();
        if inner.closed && !self.closes && !self.beside_login {
            self.cut.cut();
            self.gate.changed.notify_waiters();
        }
    }

    /// Whether it had to wait for a login, or as a login for others.
    pub fn has_waited(&self) -> bool {
        self.has_waited
    }

    /// Whether it was let in beside a login: its record may read as live only because the login
    /// has not suspended it yet.
    pub fn is_beside_login(&self) -> bool {
        self.beside_login
    }

    /// Closes the gate and waits until the others are out: streams are cut at once, everything
    /// else after `patience`, or later where it was promised more time when it came in. The gate
    /// opens again when this pass is dropped.
    pub async fn close(&mut self, patience: Duration) -> Closed {
        let all_have = Instant::now() + patience;
        {
            let mut inner = lock(&self.gate.inner);
            if inner.closed && !self.closes {
                return Closed::Taken;
            }
            inner.closed = true;
            self.closes = true;
        }
        self.cut_streams();
        loop {
            let changed = self.gate.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let next = {
                let inner = lock(&self.gate.inner);
                let others = inner.inside.iter().filter(|other| !other.is(&self.cut));
                let others = others.filter(|other| !other.cut.is_cut());
                others.map(|other| other.until.map_or(all_have, |until| until.max(all_have))).min()
            };
            let Some(next) = next else { return Closed::Alone };
            self.has_waited = true;
            if timeout_at(next, changed).await.is_err() {
                let now = Instant::now();
                self.cut_others(|other| other.until.is_none_or(|until| until <= now));
            }
        }
    }

    /// Cuts the other streams of the session: it has ended.
    pub fn cut_streams(&self) {
        self.cut_others(|other| other.cut.is_stream());
    }

    fn cut_others(&self, which: impl Fn(&Inside) -> bool) {
        for other in &lock(&self.gate.inner).inside {
            if !other.is(&self.cut) && which(other) {
                other.cut.cut();
            }
        }
    }
}

impl Inside {
    fn begin(cut: &Arc<Cut>, grace: Duration) -> Self {
        let until = (!grace.is_zero()).then(|| Instant::now() + grace);
        Self { cut: cut.clone(), until }
    }

    fn is(&self, cut: &Arc<Cut>) -> bool {
        Arc::ptr_eq(&self.cut, cut)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gates.leave(&self.selector, &self.gate, |inner| {
            inner.inside.retain(|inside| !inside.is(&self.cut));
            if self.closes {
                inner.closed = false;
            }
        });
    }
}
