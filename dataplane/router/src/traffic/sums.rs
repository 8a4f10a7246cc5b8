//! Sums by a key, in the order of the keys. Nearly every prefix has one member and one way to it, so there is room for one at first.

/// Counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Packets of calls.
    pub packets: u64,
    /// Their bytes, DMSC header and payload.
    pub bytes: u64,
    /// Of these packets, requests of pods here that somebody waits for the answer of.
    pub requests: u64,
}

impl Sum {
    /// Adds another one to it.
    pub fn add(&mut self, other: Sum) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.requests += other.requests;
    }
}

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

    /// All, by key.
    pub fn iter(&self) -> impl Iterator<Item = &(K, Sum)> {
        self.0.iter()
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
    }

    #[test]
    fn there_is_room_for_one_at_first_and_then_for_twice_as_many() {
        let mut sums = Sums::default();
        let room = [1, 2, 4, 4, 8].map(|room| {
            sums.add(256, sums.0.len(), packets(1));
            (room, sums.0.capacity())
        });
        assert!(
            room.iter().all(|(expected, room)| expected == room),
            "{room:?}"
        );
    }
}
