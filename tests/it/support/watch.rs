//! An attacker who asks without end who he is.

use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use super::browser::Browser;
use super::within;

/// Asks `/whoami` again and again from a task of its own. Each answer has to be 200, to nobody
/// in particular, and without a cookie.
pub struct Watch {
    asked: Receiver<usize>,
    stop: Sender<bool>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins to ask as this browser, with the cookies that it has now.
    pub fn begin(what: &str, browser: &Browser) -> Self {
        let (what, mut browser) = (what.to_owned(), browser.clone());
        let (count, asked) = channel(0);
        let (stop, stopped) = channel(false);
        let task = tokio::spawn(async move {
            while !*stopped.borrow() {
                let answer = browser.get("/whoami").await.expect(200);
                assert!(answer.json()["user"].is_null(), "{what}: {}", answer.text());
                assert!(answer.set_cookies().is_empty(), "{what}: {:?}", answer.set_cookies());
                count.send_modify(|count| *count += 1);
            }
        });
        Self { asked, stop, task }
    }

    /// Waits until so many requests were sent, and answered, from now on.
    pub async fn asks(&mut self, more: usize) {
        // The one that is on its way was not sent from now on.
        let enough = *self.asked.borrow() + 1 + more;
        // An error means that the task has panicked, which `end` passes on.
        let _ = within("an attacker's answer", self.asked.wait_for(|count| *count >= enough)).await;
    }

    /// Stops.
    ///
    /// # Panics
    /// If an answer was to somebody.
    pub async fn end(self) {
        // Nobody is there to be told where the task has panicked.
        let _ = self.stop.send(true);
        if let Err(problem) = within("the last answer", self.task).await {
            std::panic::resume_unwind(problem.into_panic());
        }
    }
}
