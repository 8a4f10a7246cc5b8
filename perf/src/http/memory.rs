//! Memory of the processes of a node: what each has for itself, its share of what is shared (PSS), and its huge pages, which PSS leaves out.

use super::cost::{Member, Part, Side};
use serde::Serialize;

/// Memory of the processes between client and server, MB.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Memory {
    /// Services that the configuration has.
    pub services: usize,
    /// At the client's node.
    pub near_mb: f64,
    /// At the server's node.
    pub far_mb: f64,
    /// Huge pages in the larger of both.
    pub huge_mb: f64,
}

impl Memory {
    /// Of the node that has more.
    pub fn node_mb(&self) -> f64 {
        self.near_mb.max(self.far_mb)
    }

    /// Reads it.
    pub fn take(members: &[Member], services: usize) -> Self {
        let mut sides = [(0, 0); 2];
        for member in members {
            if !matches!(member.part, Part::Proxy | Part::Gateway | Part::Control) {
                continue;
            }
            let path = format!("/proc/{}/smaps_rollup", member.process);
            let (pss, huge) = read(&std::fs::read_to_string(path).unwrap_or_default());
            let side = &mut sides[usize::from(member.side == Side::Far)];
            side.0 += pss + huge;
            side.1 += huge;
        }
        let mb = |kb: u64| kb as f64 / 1_024.0;
        let [near, far] = sides;
        Self {
            services,
            near_mb: mb(near.0),
            far_mb: mb(far.0),
            huge_mb: mb(if near.0 >= far.0 { near.1 } else { far.1 }),
        }
    }
}

/// Of a process, MB: PSS and huge pages; nothing if it is gone.
pub fn of(process: u32) -> f64 {
    let path = format!("/proc/{process}/smaps_rollup");
    let (pss, huge) = read(&std::fs::read_to_string(path).unwrap_or_default());
    (pss + huge) as f64 / 1_024.0
}

/// PSS and huge pages of a `smaps_rollup`, kB.
fn read(text: &str) -> (u64, u64) {
    let of = |key: &str| -> u64 {
        text.lines()
            .find_map(|line| line.strip_prefix(key))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    };
    (of("Pss:"), of("Private_Hugetlb:") + of("Shared_Hugetlb:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_are_counted_beside_pss() {
        let text = "7f00-7fff ---p 00000000 00:00 0  [rollup]\nRss:  9000 kB\nPss:  2048 kB\nPss_Anon: 1 kB\nShared_Hugetlb:  0 kB\nPrivate_Hugetlb: 98304 kB\n";
        assert_eq!(read(text), (2_048, 98_304));
    }

    #[test]
    fn this_process_has_memory_where_it_is() {
        let member = |part| Member {
            part,
            side: Side::Far,
            process: std::process::id(),
        };
        let memory = Memory::take(&[member(Part::Proxy), member(Part::Client)], 1);
        assert!(memory.far_mb > 0.5 && memory.near_mb == 0.0, "{memory:?}");
        assert!(memory.node_mb() == memory.far_mb);
    }
}
