//! The highest class of packets that an identity may use (design §8): its gateway holds its pods to it.

/// What an identity may use of which nothing is said: all but the classes of the delay topology.
pub const DEFAULT_CLASS: u8 = 5;

/// `[[class]]`: the first that matches an identity counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassLimit {
    /// An identity, or `prefix/*` for every identity below `prefix`.
    pub identity: String,
    /// 1..=7.
    pub max_class: u8,
}

impl ClassLimit {
    /// Whether this is about `identity`; as for `[[policy]]` of an authority.
    #[must_use]
    pub fn matches(&self, identity: &str) -> bool {
        match self.identity.strip_suffix('*') {
            Some(stem) => identity.len() > stem.len() && identity.starts_with(stem),
            None => self.identity == identity,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_at_least_one_letter() {
        let limit = |identity: &str| ClassLimit {
            identity: identity.to_owned(),
            max_class: 7,
        };
        assert!(limit("pod1/*").matches("pod1/a"));
        assert!(!limit("pod1/*").matches("pod1/"));
        assert!(!limit("pod1/*").matches("pod10/a"));
        assert!(limit("pod1/a").matches("pod1/a") && !limit("pod1/a").matches("pod1/ab"));
        assert!(limit("*").matches("anybody"));
    }
}
