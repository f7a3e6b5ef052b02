//! What is kept for each endpoint of an upstream, which may come and go.

/// Values by the ids of endpoints. Those that an upstream begins with have the first ids, so that theirs
/// lie at their places.
#[derive(Debug)]
pub(super) struct ByEndpoint<T>(Vec<(usize, T)>);

impl<T> Default for ByEndpoint<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> ByEndpoint<T> {
    pub(super) fn get(&mut self, id: usize) -> Option<&mut T> {
        self.place(id).ok().map(|place| &mut self.0[place].1)
    }

    pub(super) fn get_or(&mut self, id: usize, made: impl FnOnce() -> T) -> &mut T {
        let place = self.place(id).unwrap_or_else(|place| {
            self.0.insert(place, (id, made()));
            place
        });
        &mut self.0[place].1
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn into_values(self) -> impl Iterator<Item = T> {
        self.0.into_iter().map(|(_, value)| value)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// Forgets what is not worth keeping.
    pub(super) fn retain(&mut self, mut is_worth_it: impl FnMut(&mut T) -> bool) {
        self.0.retain_mut(|(_, value)| is_worth_it(value));
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, value)| value)
    }

    /// Where it lies, else where it belongs.
    fn place(&self, id: usize) -> Result<usize, usize> {
        match self.0.get(id) {
            Some((known, _)) if *known == id => Ok(id),
            _ => self.0.binary_search_by_key(&id, |(known, _)| *known),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_whatever_order_they_came_in() {
        let mut values = ByEndpoint::default();
        for id in [7, 2, 0, 9] {
            *values.get_or(id, || 0) += id;
            *values.get_or(id, || 100) += 1;
        }
        let found = [0, 1, 2, 7, 9].map(|id| values.get(id).copied());
        assert_eq!(found, [Some(1), None, Some(3), Some(8), Some(10)]);
        values.retain(|value| *value != 3);
        assert_eq!([2, 9].map(|id| values.get(id).copied()), [None, Some(10)]);
    }
}
