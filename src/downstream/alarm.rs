//! Deadlines that cost a clock reading, not a timer.
//!
//! A deadline nearly always moves on before it is reached. So the timer stays armed for the first
//! one, looks at where the deadline is by then, and is armed again for the rest.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

/// One deadline at a time.
#[derive(Debug, Default)]
pub struct Alarm {
    due: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// From now on it goes off at this time.
    pub fn set(&mut self, due: Instant) {
        self.due = Some(due);
    }

    /// It does not go off.
    pub fn clear(&mut self) {
        self.due = None;
    }

    /// Gives the timer back.
    pub fn rest(&mut self) {
        *self = Self::default();
    }

    #[cfg(test)]
    pub(super) fn has_timer(&self) -> bool {
        self.timer.is_some()
    }

    /// Ready once the deadline is reached.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.due else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due.into())));
        if timer.deadline().into_std() > due {
            timer.as_mut().reset(due.into());
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline().into_std() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_moves_on_is_met_where_it_is() {
        let begun = tokio::time::Instant::now().into_std();
        let mut alarm = Alarm::default();
        let now = |begun: Instant| tokio::time::Instant::now().into_std() - begun;
        alarm.set(begun + SECOND);
        assert!(poll_fn(|cx| Poll::Ready(alarm.poll(cx))).await.is_pending());
        // Later: the timer that stands goes off in between, and nobody notices.
        alarm.set(begun + 3 * SECOND);
        poll_fn(|cx| alarm.poll(cx)).await;
        assert_eq!(now(begun).as_secs(), 3);
        // Earlier than what the timer stands for.
        alarm.set(begun + 9 * SECOND);
        assert!(poll_fn(|cx| Poll::Ready(alarm.poll(cx))).await.is_pending());
        alarm.set(begun + 4 * SECOND);
        poll_fn(|cx| alarm.poll(cx)).await;
        assert_eq!(now(begun).as_secs(), 4);
        alarm.clear();
        assert!(poll_fn(|cx| Poll::Ready(alarm.poll(cx))).await.is_pending());
    }
}
