//! Where a worker's time goes, by station: only in builds with the feature `cycles`. In all others every call is nothing.

/// A part of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Station {
    /// The PMD's receive, with counters and what a measurement stamps.
    Receive,
    /// Cross-connection: new MAC addresses.
    Cross,
    /// Outer and DMSC header read and checked.
    Parse,
    /// Hashes of names, and the longest prefixes.
    Lookup,
    /// Group and member, gateway and next hop, and the new outer header.
    Rewrite,
    /// The stages, for packets that are not as most are.
    Stages,
    /// The PMD's transmit, with counters.
    Transmit,
    /// Timers, parcels, generations, pace.
    Rest,
}

impl Station {
    /// All, in the order of their numbers.
    pub const ALL: [Station; 8] = [
        Station::Receive,
        Station::Cross,
        Station::Parse,
        Station::Lookup,
        Station::Rewrite,
        Station::Stages,
        Station::Transmit,
        Station::Rest,
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Station::Receive => "receive",
            Station::Cross => "cross",
            Station::Parse => "parse",
            Station::Lookup => "lookup",
            Station::Rewrite => "rewrite",
            Station::Stages => "stages",
            Station::Transmit => "transmit",
            Station::Rest => "rest",
        }
    }
}

/// TSC cycles by station, of one worker.
#[derive(Debug, Default)]
pub struct Meter {
    #[cfg(feature = "cycles")]
    last: std::sync::atomic::AtomicU64,
    #[cfg(feature = "cycles")]
    cycles: [crate::counters::Counter; Station::ALL.len()],
}

impl Meter {
    /// Everything since the last call was this station.
    #[inline(always)]
    pub fn mark(&self, station: Station) {
        #[cfg(feature = "cycles")]
        {
            use std::sync::atomic::Ordering::Relaxed;
            let now = dmsc_dpdk::tsc();
            let last = self.last.load(Relaxed);
            self.last.store(now, Relaxed);
            if last != 0 {
                self.cycles[station as usize].add(now.saturating_sub(last));
            }
        }
        #[cfg(not(feature = "cycles"))]
        let _ = station;
    }

    /// Cycles of a station so far; `None` in a build that does not measure.
    pub fn cycles(&self, station: Station) -> Option<u64> {
        #[cfg(feature = "cycles")]
        return Some(self.cycles[station as usize].get());
        #[cfg(not(feature = "cycles"))]
        {
            let _ = station;
            None
        }
    }
}
