//! Many names in little memory, and where they come from: made up, or a file's.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context as _, bail};
use dmsc_fib::LookupKey;
use dmsc_wire::{Domain, Name, NameBuf};

use crate::prng::Prng;

/// Names with their domains, end to end.
#[derive(Debug, Default, Clone)]
pub struct Names {
    bytes: Vec<u8>,
    /// End of each in `bytes`, and its domain.
    ends: Vec<(u64, Domain)>,
}

impl Names {
    /// Number of names.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Appends one.
    pub fn push(&mut self, domain: Domain, name: Name<'_>) {
        self.bytes.extend_from_slice(name.as_bytes());
        self.ends.push((self.bytes.len() as u64, domain));
    }

    /// The one at `index`, which must be below `len`.
    pub fn get(&self, index: usize) -> LookupKey<'_> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before].0);
        let (end, domain) = self.ends[index];
        let name = Name::from_bytes(&self.bytes[start as usize..end as usize])
            .expect("only names are pushed");
        LookupKey::in_packet(domain, name, &self.bytes[start as usize..])
    }

    /// All of them, in the order of pushing.
    pub fn iter(&self) -> impl Iterator<Item = LookupKey<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Mean bytes of encoding, and mean components.
    pub fn means(&self) -> (f64, f64) {
        let components: usize = self.iter().map(|key| key.name.component_count()).sum();
        let count = self.len().max(1) as f64;
        (self.bytes.len() as f64 / count, components as f64 / count)
    }
}

/// Name number `i` of a catalogue of services: 2 to 5 components, about 40 bytes, no two alike.
pub fn made_up(i: u32) -> NameBuf {
    let r = mix(i);
    let team = r % 1000;
    let text = match i % 10 {
        0 => format!("/team-{team:04}/service-with-a-long-name-{i}"),
        1..=4 => format!("/team-{team:04}/application-{}/component-{i}", r % 97),
        5..=8 => format!("/team-{team:04}/app-{}/component-{i}/v{}", r % 97, r % 4),
        _ => format!(
            "/team-{team:04}/app-{}/part-{}/{i}/v{}",
            r % 97,
            r % 13,
            r % 4
        ),
    };
    NameBuf::parse(&text).expect("a valid name")
}

fn mix(i: u32) -> u32 {
    let i = (i ^ i >> 16).wrapping_mul(0x7feb_352d);
    let i = (i ^ i >> 15).wrapping_mul(0x846c_a68b);
    i ^ i >> 16
}

/// A name of random letters.
pub fn random(prng: &mut Prng, components: usize, component: usize) -> NameBuf {
    let mut letters = || {
        (0..component)
            .map(|_| b'a' + prng.below(26) as u8)
            .collect::<Vec<u8>>()
    };
    NameBuf::from_components((0..components).map(|_| letters())).expect("16 components of 14")
}

/// The names of a file, each once, in the first domain; then again in further ones, up to `wanted`.
pub fn from_file(path: &Path, wanted: Option<u32>) -> anyhow::Result<Names> {
    let bytes = std::fs::read(path).with_context(|| {
        format!(
            "cannot read the names file {}: give another with --names",
            path.display()
        )
    })?;
    let (mut seen, mut once, mut skipped) = (HashSet::new(), Vec::new(), 0);
    for line in bytes.split(|byte| *byte == b'\n') {
        let pieces = line
            .trim_ascii()
            .split(|byte| matches!(byte, b'.' | b'/'))
            .filter(|piece| !piece.is_empty());
        match NameBuf::from_components(pieces) {
            Ok(name) => {
                if seen.insert(name.clone()) {
                    once.push(name);
                }
            }
            Err(_) => skipped += usize::from(!line.trim_ascii().is_empty()),
        }
    }
    if skipped > 0 {
        eprintln!(
            "{}: {skipped} lines are no names (more than 16 pieces or 255 bytes) and are left out",
            path.display()
        );
    }
    if once.is_empty() {
        bail!(
            "{} has no usable name: one per line is wanted, pieces separated by '.' or '/'",
            path.display()
        );
    }
    let wanted = wanted.map_or(once.len(), |wanted| wanted as usize);
    let mut names = Names::default();
    for (index, name) in once.iter().cycle().take(wanted).enumerate() {
        let domain = Domain((index / once.len()) as u32 + 1);
        names.push(domain, name.as_name());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_names_differ_and_are_about_as_long_as_the_exact_key() {
        let mut names = Names::default();
        for i in 0..20_000 {
            names.push(Domain(1), made_up(i).as_name());
        }
        let (bytes, components) = names.means();
        assert!(
            (34.0..42.0).contains(&bytes) && (3.4..3.7).contains(&components),
            "{bytes} {components}"
        );
        let distinct: HashSet<&[u8]> = names.iter().map(|key| key.name.as_bytes()).collect();
        assert_eq!(distinct.len(), 20_000);
    }

    #[test]
    fn a_file_is_repeated_in_further_domains() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("names");
        std::fs::write(&path, "/a.b.C/D\n\na/b/C/D\nx\n").expect("written");
        let names = from_file(&path, None).expect("good");
        assert_eq!(names.len(), 2);
        let names = from_file(&path, Some(5)).expect("good");
        let all: Vec<_> = names
            .iter()
            .map(|key| (key.domain.0, key.name.to_string()))
            .collect();
        let expected = [
            (1, "/a/b/C/D"),
            (1, "/x"),
            (2, "/a/b/C/D"),
            (2, "/x"),
            (3, "/a/b/C/D"),
        ];
        assert!(all.iter().map(|(d, n)| (*d, n.as_str())).eq(expected));
        std::fs::write(&path, "//\n").expect("written");
        assert!(from_file(&path, None).is_err());
    }

    #[test]
    fn random_names_fill_what_a_name_may_have() {
        let name = random(&mut Prng::new(1, 1), 16, 14);
        assert_eq!(
            (name.as_name().component_count(), name.as_bytes().len()),
            (16, 240)
        );
    }
}
