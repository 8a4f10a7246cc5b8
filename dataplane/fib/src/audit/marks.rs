//! Numbers that were seen.

/// Numbers below a limit, each of which is marked or not.
pub(crate) struct Marks {
    words: Vec<u64>,
    limit: usize,
    count: usize,
}

impl Marks {
    /// None of the numbers below `limit`.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            words: vec![0; limit.div_ceil(64)],
            limit,
            count: 0,
        }
    }

    /// Marks a number; false where it is marked already, or not below the limit.
    #[must_use]
    pub(crate) fn mark(&mut self, number: usize) -> bool {
        if number >= self.limit || self.has(number) {
            return false;
        }
        self.words[number / 64] |= 1 << (number % 64);
        self.count += 1;
        true
    }

    /// Whether it is marked.
    pub(crate) fn has(&self, number: usize) -> bool {
        let word = self.words.get(number / 64).copied().unwrap_or(0);
        word >> (number % 64) & 1 == 1
    }

    /// How many are marked.
    pub(crate) fn count(&self) -> usize {
        self.count
    }
}
