//! The plainest possible longest-prefix match, to say what the routers should have done.

use std::collections::HashMap;

/// Pieces of a name.
pub type Pieces = Vec<Vec<u8>>;

/// Who owns which name.
#[derive(Debug, Default)]
pub struct Model {
    owners: HashMap<Pieces, usize>,
}

impl Model {
    /// Gives `name` to `owner`.
    pub fn insert(&mut self, name: Pieces, owner: usize) {
        self.owners.insert(name, owner);
    }

    /// The owner of the longest prefix of `name`, whole pieces only.
    #[must_use]
    pub fn owner(&self, name: &[Vec<u8>]) -> Option<usize> {
        for length in (1..=name.len()).rev() {
            if let Some(owner) = self.owners.get(&name[..length]) {
                return Some(*owner);
            }
        }
        None
    }
}

/// Pieces of a line of a names file: split at '.' and '/', empty pieces left out.
#[must_use]
pub fn pieces(line: &[u8]) -> Pieces {
    line.split(|byte| matches!(byte, b'.' | b'/'))
        .filter(|piece| !piece.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split() {
        assert_eq!(
            pieces(b"/a.b.C//D."),
            [b"a", b"b", b"C", b"D"].map(|p| p.to_vec())
        );
        assert!(pieces(b"./").is_empty());
    }

    #[test]
    fn the_longest_prefix_of_whole_pieces_wins() {
        let mut model = Model::default();
        model.insert(pieces(b"a/b"), 1);
        model.insert(pieces(b"a/b/c"), 2);
        assert_eq!(model.owner(&pieces(b"a/b/c/d")), Some(2));
        assert_eq!(model.owner(&pieces(b"a/b/cc")), Some(1));
        assert_eq!(model.owner(&pieces(b"a/bc")), None);
        assert_eq!(model.owner(&pieces(b"a")), None);
    }
}
