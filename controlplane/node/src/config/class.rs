//! The highest class of packets that an identity may use (design §8): its gateway holds its pods to it.

use crate::routes::covers;

/// What an identity may use of which nothing is said: all but the classes of the delay topology.
pub const DEFAULT_CLASS: u8 = 5;

/// `[[class]]`: the first that matches an identity counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassLimit {
    /// An identity, `prefix/*` for every identity below `prefix`, or `*` for everybody.
    pub identity: String,
    /// 1..=7.
    pub max_class: u8,
}

impl ClassLimit {
    /// Whether this is about `identity`; as for `[[policy]]` of an authority.
    #[must_use]
    pub fn matches(&self, identity: &str) -> bool {
        covers(&self.identity, identity)
    }
}
