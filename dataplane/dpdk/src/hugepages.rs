//! Whether EAL takes hugepages: decided before it starts, because it starts once.

use std::fmt;
use std::fs;
use std::path::Path;

/// What the operator wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Huge {
    /// Hugepages, or an error that says how to get them.
    Yes,
    /// Ordinary pages: no privileges needed, 3.5 times slower; for functional tests.
    No,
    /// Hugepages if enough are free, else ordinary pages; [`crate::Eal::memory`] says which.
    #[default]
    Auto,
}

/// What EAL was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    /// `--in-memory`: hugepages without a mount.
    Hugepages,
    /// `--no-huge`: ordinary pages.
    Ordinary,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hugepages => "hugepages",
            Self::Ordinary => "ordinary pages (slower; free hugepages are too few or not wanted)",
        })
    }
}

/// `need_mb` of hugepages are not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Missing {
    pub free_mb: u64,
}

pub(crate) fn choose(huge: Huge, free_mb: u64, need_mb: u32) -> Result<Memory, Missing> {
    let enough = free_mb >= u64::from(need_mb);
    match (huge, enough) {
        (Huge::No, _) | (Huge::Auto, false) => Ok(Memory::Ordinary),
        (_, true) => Ok(Memory::Hugepages),
        (Huge::Yes, false) => Err(Missing { free_mb }),
    }
}

/// MiB of free hugepages of all sizes. 0 where the kernel has none.
pub(crate) fn free_mb() -> u64 {
    free_hugepages_mb(Path::new("/sys/kernel/mm/hugepages"))
}

/// MiB of free hugepages of all sizes under a folder that has one per size: `/sys/kernel/mm/hugepages` of the machine,
/// `/sys/devices/system/node/nodeN/hugepages` of a node. 0 where there are none.
pub fn free_hugepages_mb(root: &Path) -> u64 {
    let Ok(sizes) = fs::read_dir(root) else {
        return 0;
    };
    let kib: u64 = sizes
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let size: u64 = name
                .to_str()?
                .strip_prefix("hugepages-")?
                .strip_suffix("kB")?
                .parse()
                .ok()?;
            let free: u64 = fs::read_to_string(entry.path().join("free_hugepages"))
                .ok()?
                .trim()
                .parse()
                .ok()?;
            size.checked_mul(free)
        })
        .sum();
    kib / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_hugepages_only_if_enough_are_free() {
        assert_eq!(choose(Huge::Auto, 256, 256), Ok(Memory::Hugepages));
        assert_eq!(choose(Huge::Auto, 255, 256), Ok(Memory::Ordinary));
        assert_eq!(choose(Huge::No, 1024, 256), Ok(Memory::Ordinary));
        assert_eq!(choose(Huge::Yes, 255, 256), Err(Missing { free_mb: 255 }));
    }

    #[test]
    fn free_pages_of_all_sizes_count() {
        let dir = tempfile::tempdir().unwrap();
        for (size, free) in [
            ("hugepages-2048kB", "3\n"),
            ("hugepages-1048576kB", "1\n"),
            ("other", "9\n"),
        ] {
            fs::create_dir(dir.path().join(size)).unwrap();
            fs::write(dir.path().join(size).join("free_hugepages"), free).unwrap();
        }
        assert_eq!(free_hugepages_mb(dir.path()), 3 * 2 + 1024);
        assert_eq!(free_hugepages_mb(&dir.path().join("none")), 0);
    }
}
