//! Where calls without a gateway go: the longest prefixes of their names, and the members of the groups.

use arrayvec::ArrayVec;
use dmsc_fib::{Group, LookupKey, PrefixMatch, Slot};

use super::look::Look;
use crate::frame::Frame;
use crate::meter::Station;
use crate::packet::BATCH;
use crate::stage::Env;

/// The prefixes that were found, in the order of the packets that have no gateway.
pub(super) type Matches = [Option<PrefixMatch>; BATCH];

/// Looks up the names of all packets that have no gateway, and writes the gateway that each of these calls belongs to, as long as that
/// is reachable. Calls that this router delivers itself, which is for the stages, get none.
#[inline(never)]
pub(super) fn run<F: Frame>(env: &Env<'_>, frames: &[F], looks: &mut [Look]) -> Matches {
    let mut keys: ArrayVec<LookupKey<'_>, BATCH> = ArrayVec::new();
    let mut matches: Matches = [None; BATCH];
    for (look, frame) in looks.iter().zip(frames) {
        if look.by_name {
            let packet = frame.bytes().get(usize::from(look.offset)..);
            let key = packet.and_then(|packet| {
                let name = dmsc_wire::destination_name(packet)?;
                let rest = packet.get(dmsc_wire::FIXED_LEN..)?;
                Some(LookupKey::in_packet(look.domain, name, rest))
            });
            let Some(key) = key else {
                return matches;
            };
            keys.push(key);
        }
    }
    let (fib, meter) = (&env.chooser.tables.fib, &env.counters.meter);
    let mut habit = env.habit.get();
    meter.lookup_burst(fib, &mut habit, &keys, &mut matches[..keys.len()]);
    env.habit.set(habit);
    // Group by group there is a line of gateways and one with the slot of the flow, far from those of the others.
    let mut groups: [Option<(&Group, Slot)>; BATCH] = [None; BATCH];
    let calls = looks.iter_mut().filter(|look| look.by_name);
    for ((look, group), found) in calls.zip(&mut groups).zip(&matches) {
        if let Some(id) = found.and_then(|found| found.value.group)
            && let Some(found) = env.chooser.group(id)
        {
            let slot = Slot::of(look.flow);
            found.prefetch(slot);
            *group = Some((found, slot));
        }
    }
    let calls = looks.iter_mut().filter(|look| look.by_name);
    for (look, group) in calls.zip(&groups) {
        if let Some((group, slot)) = group {
            let gateway = group.first(*slot);
            if gateway != env.chooser.node {
                look.place(gateway, group.first_by_delay(*slot));
            }
        }
    }
    meter.mark(Station::Group);
    matches
}
