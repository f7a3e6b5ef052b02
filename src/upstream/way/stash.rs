//! Buffers between two uses: a kept connection holds none.

/// As many as are worth keeping; exchanges come in bursts.
const KEPT_MAX: usize = 64;

/// Buffers that nobody uses.
#[derive(Default)]
pub(super) struct Stash {
    buffers: Vec<Vec<u8>>,
    /// The fewest that lay here since the last sweep: nobody needed those.
    unused: usize,
}

impl Stash {
    /// An empty buffer, perhaps with room.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.unused = self.unused.min(self.buffers.len());
        buffer
    }

    /// Keeps a buffer, unless it is larger than `capacity_max`, or there are enough.
    pub(super) fn give_back(&mut self, mut buffer: Vec<u8>, capacity_max: usize) {
        let is_worth_it = (1..=capacity_max).contains(&buffer.capacity());
        if is_worth_it && self.buffers.len() < KEPT_MAX {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    /// Frees what was not needed since the last time.
    pub(super) fn sweep(&mut self) {
        self.buffers.drain(..self.unused);
        self.unused = self.buffers.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_and_with_their_room() {
        let mut stash = Stash::default();
        let mut buffer = Vec::with_capacity(100);
        buffer.push(1);
        stash.give_back(buffer, 100);
        let again = stash.take();
        assert_eq!((again.len(), again.capacity() >= 100), (0, true));
        assert_eq!(stash.take().capacity(), 0, "there was one");
    }

    #[test]
    fn large_ones_and_more_than_enough_are_freed() {
        let mut stash = Stash::default();
        stash.give_back(Vec::with_capacity(101), 100);
        stash.give_back(Vec::new(), 100);
        assert_eq!(stash.buffers.len(), 0);
        for _ in 0..2 * KEPT_MAX {
            stash.give_back(Vec::with_capacity(1), 100);
        }
        assert_eq!(stash.buffers.len(), KEPT_MAX);
    }

    #[test]
    fn what_lies_unused_between_two_sweeps_is_freed() {
        let mut stash = Stash::default();
        let fill = |stash: &mut Stash, count| {
            (0..count).for_each(|_| stash.give_back(Vec::with_capacity(1), 100));
        };
        fill(&mut stash, 3);
        stash.sweep();
        assert_eq!(stash.buffers.len(), 3, "they came since");
        let used = [stash.take(), stash.take()];
        used.into_iter().for_each(|buffer| stash.give_back(buffer, 100));
        stash.sweep();
        assert_eq!(stash.buffers.len(), 2, "two were in use at a time");
        stash.sweep();
        assert_eq!(stash.buffers.len(), 0);
    }
}
