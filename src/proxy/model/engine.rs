//! The store under the model, called as a function: whoever calls has its answer on return.
//!
//! Paused time moves by itself as soon as a runtime waits for real input or output. So the engines
//! that have some live on a runtime of their own, in a thread of its own.

use std::any::Any;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::clock::{Clock, UnixMillis};
use crate::store::SharedStore;

/// An engine and its time.
pub struct Engine {
    pub store: SharedStore,
    now: Arc<AtomicU64>,
    home: Option<Home>,
}

/// The thread that an engine lives on.
struct Home {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _keep_alive: Box<dyn Any + Send>,
}

impl Engine {
    /// An engine that never waits.
    pub fn here(open: impl FnOnce(Clock) -> SharedStore) -> Self {
        let now = begin();
        Self { store: open(Clock::Held(now.clone())), now, home: None }
    }

    /// An engine on a thread of its own, with the server or directory that it needs.
    pub fn elsewhere<Fut, K>(open: impl FnOnce(Clock) -> Fut + Send + 'static) -> Self
    where
        Fut: Future<Output = (SharedStore, K)>,
        K: Send + 'static,
    {
        let now = begin();
        let clock = Clock::Held(now.clone());
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let (store, keep_alive) = open(clock).await;
                let keep_alive: Box<dyn Any + Send> = Box::new(keep_alive);
                tell.send((store, keep_alive, Handle::current())).expect("somebody waits");
                let _ = stopped.await;
            });
        });
        let (store, keep_alive, handle) = told.recv().expect("the engine opens");
        let home = Home { handle, stop: Some(stop), thread: Some(thread), _keep_alive: keep_alive };
        Self { store, now, home: Some(home) }
    }

    /// Carries work out and returns its result.
    pub fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let Some(home) = &self.home else {
            return match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(result) => result,
                Poll::Pending => panic!("an engine in this process waits for nothing"),
            };
        };
        let (tell, told) = mpsc::channel();
        home.handle.spawn(async move {
            let _ = tell.send(work.await);
        });
        told.recv().expect("the engine's thread goes on")
    }

    /// The time of the whole model.
    pub fn clock(&self) -> Clock {
        Clock::Held(self.now.clone())
    }

    pub fn now(&self) -> UnixMillis {
        UnixMillis(self.now.load(Ordering::Relaxed))
    }

    /// Moves the time.
    pub fn pass(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).expect("short times");
        self.now.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn begin() -> Arc<AtomicU64> {
    Arc::new(AtomicU64::new(1_795_462_335_000))
}
