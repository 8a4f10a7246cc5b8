//! Where a worker's time goes, by station: only in builds with the feature `cycles`. In all others every call is nothing.

use dmsc_fib::{Fib, Habit, LookupKey, PrefixMatch};

/// A part of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Station {
    /// Packets whose gateway is known: headers read and checked, next hop, new headers.
    Through,
    /// Outer and DMSC header of others read and checked.
    Parse,
    /// Hashes of the prefixes of names.
    Hash,
    /// Names asked for in the packets, and the longest prefixes of them.
    Lookup,
    /// Group and member.
    Group,
    /// Gateway and next hop, the new headers, and what is counted of calls.
    Rewrite,
    /// The PMDs' receive and transmit, with counters.
    Io,
    /// Cross-connection: new MAC addresses.
    Cross,
    /// The stages, for packets that are not as most are.
    Stages,
    /// What a measurement does with received frames.
    Rig,
    /// Timers, parcels, generations, pace.
    Rest,
}

impl Station {
    /// All, in the order of their numbers.
    pub const ALL: [Station; 11] = [
        Station::Through,
        Station::Parse,
        Station::Hash,
        Station::Lookup,
        Station::Group,
        Station::Rewrite,
        Station::Io,
        Station::Cross,
        Station::Stages,
        Station::Rig,
        Station::Rest,
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Station::Through => "through",
            Station::Parse => "parse",
            Station::Hash => "hash",
            Station::Lookup => "lookup",
            Station::Group => "group",
            Station::Rewrite => "rewrite",
            Station::Io => "io",
            Station::Cross => "cross",
            Station::Stages => "stages",
            Station::Rig => "rig",
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

    /// [`Fib::lookup_burst_as`], of which hashes are a station and the rest is another one.
    #[inline(always)]
    pub fn lookup_burst(
        &self,
        fib: &Fib,
        habit: &mut Habit,
        keys: &[LookupKey<'_>],
        out: &mut [Option<PrefixMatch>],
    ) {
        #[cfg(feature = "cycles")]
        fib.lookup_burst_with(habit, keys, out, |pass| {
            self.mark(match pass {
                dmsc_fib::Pass::Hash => Station::Hash,
                dmsc_fib::Pass::Find => Station::Lookup,
            });
        });
        #[cfg(not(feature = "cycles"))]
        fib.lookup_burst_as(habit, keys, out);
        self.mark(Station::Lookup);
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
