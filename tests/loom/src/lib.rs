//! Every order in which an exchange can be cut while it waits.

#[path = "../../../src/proxy/cut.rs"]
pub mod cut;

/// Loom's waker by the names of the `atomic-waker` crate.
#[derive(Default)]
pub struct AtomicWaker(loom::future::AtomicWaker);

impl AtomicWaker {
    /// Notes whom to wake.
    pub fn register(&self, waker: &std::task::Waker) {
        self.0.register_by_ref(waker);
    }

    /// Wakes who was noted last.
    pub fn wake(&self) {
        self.0.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use loom::future::block_on;
    use loom::sync::Arc;
    use loom::thread;

    use crate::cut::Cut;

    /// Who waits is woken, however the cut falls between its looks: else the model finds a thread
    /// that nothing wakes.
    #[test]
    fn a_cut_is_never_missed() {
        loom::model(|| {
            let cut = Arc::new(Cut::default());
            let other = cut.clone();
            let cutter = thread::spawn(move || other.cut());
            block_on(poll_fn(|cx| cut.poll_cut(cx)));
            assert!(cut.is_cut());
            cutter.join().expect("it does not panic");
        });
    }

    /// Two may cut at once: the session's end and a login. Three threads meet in too many orders for
    /// all: those with two preemptions at most.
    #[test]
    fn two_cuts_are_one() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| {
            let cut = Arc::new(Cut::default());
            let cutters =
                [cut.clone(), cut.clone()].map(|other| thread::spawn(move || other.cut()));
            block_on(poll_fn(|cx| cut.poll_cut(cx)));
            for cutter in cutters {
                cutter.join().expect("it does not panic");
            }
            assert!(cut.is_cut());
        });
    }

    /// What was marked before it was handed over is seen marked behind the cut.
    #[test]
    fn a_stream_is_seen_to_be_one() {
        loom::model(|| {
            let cut = Arc::new(Cut::default());
            let other = cut.clone();
            let marker = thread::spawn(move || {
                other.mark_stream();
                other.cut();
            });
            if cut.is_cut() {
                assert!(cut.is_stream());
            }
            marker.join().expect("it does not panic");
        });
    }
}
