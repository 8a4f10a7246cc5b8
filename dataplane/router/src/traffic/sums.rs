//! Sums by a key, in the order of the keys. Nearly every prefix has one member and one way to it, so there is room for one at first.

use super::Sum;

/// Sums by key.
#[derive(Debug, Clone)]
pub struct Sums<K>(Vec<(K, Sum)>);

impl<K> Default for Sums<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord> Sums<K> {
    /// Adds to the sum of `key`, or begins it where there are fewer than `most`.
    pub fn add(&mut self, most: usize, key: K, sum: Sum) {
        match self.place(&key) {
            Ok(at) => self.0[at].1.add(sum),
            Err(at) if self.0.len() < most => {
                if self.0.len() == self.0.capacity() {
                    // Doubled, but from one and not from four, which is what a vector begins with.
                    self.0.reserve_exact(self.0.len().max(1));
                }
                self.0.insert(at, (key, sum));
            }
            Err(_) => {}
        }
    }

    /// The sum of `key`.
    pub fn get(&self, key: &K) -> Option<Sum> {
        self.place(key).ok().map(|at| self.0[at].1)
    }

    /// All, by key.
    pub fn iter(&self) -> impl Iterator<Item = &(K, Sum)> {
        self.0.iter()
    }

    /// How many keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(packets: u64) -> Sum {
        Sum {
            packets,
            ..Sum::default()
        }
    }

    #[test]
    fn adds_by_key_in_order_and_begins_no_more_than_allowed() {
        let mut sums = Sums::default();
        for (key, count) in [(7, 1), (3, 2), (9, 4), (3, 8), (5, 16), (7, 32)] {
            sums.add(3, key, packets(count));
        }
        let all: Vec<_> = sums.iter().map(|(key, sum)| (*key, sum.packets)).collect();
        assert_eq!(all, [(3, 10), (7, 33), (9, 4)]);
        assert_eq!((sums.get(&7), sums.get(&5)), (Some(packets(33)), None));
        assert_eq!((sums.len(), sums.is_empty()), (3, false));
    }

    #[test]
    fn the_first_takes_the_room_of_one() {
        let mut sums = Sums::default();
        sums.add(256, 1, packets(1));
        assert_eq!(sums.0.capacity(), 1);
    }
}
