//! A million prefixes as a large provider has them: 3 or 4 components, 40 bytes on average.

use dmsc_proto::v1::{self, op::Op};
use dmsc_wire::NameBuf;

use crate::prng::Prng;

/// Tenant of everything.
pub const fn domain() -> u32 {
    1
}

/// Prefix number `index`, the same in every run; different numbers are different prefixes.
pub fn prefix(index: u64) -> NameBuf {
    let mut random = Prng::new(index, 0x6e61_6d65);
    let team = random.below(2_000);
    let service = random.below(400);
    let mut components = vec![
        format!("team-{team:04}"),
        format!("service-{service:03}"),
        format!("{index:08x}"),
    ];
    if random.chance(60) {
        components.push(format!("v{:03}", random.below(1_000)));
    } else {
        components[2].push_str("-api-internal");
    }
    NameBuf::from_components(&components).expect("names in this program are canonical")
}

/// A name that prefix number `index` is the longest match of.
pub fn service(index: u64) -> NameBuf {
    prefix(index)
        .child("get")
        .expect("names in this program are canonical")
}

/// The operation that adds a prefix.
pub fn put_prefix(name: &NameBuf, group: u32) -> v1::Op {
    v1::Op {
        op: Some(Op::PutPrefix(v1::Prefix {
            domain: domain(),
            name: name.as_bytes().to_vec(),
            group,
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_differ_and_are_as_long_as_said() {
        let names: std::collections::HashSet<NameBuf> = (0..10_000).map(prefix).collect();
        assert_eq!(names.len(), 10_000);
        let bytes: usize = names.iter().map(|name| name.as_bytes().len()).sum();
        let components: usize = names.iter().map(|n| n.as_name().component_count()).sum();
        assert!((36..=44).contains(&(bytes / names.len())), "{bytes}");
        assert!((35_000..=37_000).contains(&components), "{components}");
    }
}
