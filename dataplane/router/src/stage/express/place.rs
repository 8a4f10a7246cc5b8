//! Where calls without a gateway go: the longest prefixes of their names, and the members of the groups.

use arrayvec::ArrayVec;
use dmsc_fib::{LookupKey, PrefixMatch};
use dmsc_wire::NodeId;

use super::look::Look;
use crate::frame::Frame;
use crate::meter::Station;
use crate::packet::BATCH;
use crate::stage::Env;

/// The prefixes that were found, by packet.
pub(super) type Matches = [Option<PrefixMatch>; BATCH];

/// Looks up the names of all packets that have no gateway, and writes the gateway that each of these calls belongs to, as long as that
/// is reachable. Calls that this router delivers itself, which is for the stages, get none.
#[inline(never)]
pub(super) fn run<F: Frame>(env: &Env<'_>, frames: &[F], looks: &mut [Look]) -> Matches {
    let mut found: Matches = [None; BATCH];
    let mut keys: ArrayVec<LookupKey<'_>, BATCH> = ArrayVec::new();
    let mut places: ArrayVec<u8, BATCH> = ArrayVec::new();
    for (place, (look, frame)) in looks.iter().zip(frames).enumerate() {
        if !look.by_name {
            continue;
        }
        let packet = frame.bytes().get(usize::from(look.offset)..).unwrap_or(&[]);
        let Some(name) = dmsc_wire::destination_name(packet) else {
            return found;
        };
        let rest = packet.get(dmsc_wire::FIXED_LEN..).unwrap_or(&[]);
        keys.push(LookupKey::in_packet(look.domain, name, rest));
        places.push(place as u8);
    }
    let mut matches: Matches = [None; BATCH];
    env.chooser
        .tables
        .fib
        .lookup_burst(&keys, &mut matches[..keys.len()]);
    env.counters.meter.mark(Station::Lookup);
    let mut groups = [None; BATCH];
    for (group, found) in groups.iter_mut().zip(&matches) {
        let id = found.and_then(|found| found.value.group);
        *group = id.and_then(|id| env.chooser.group(id));
    }
    // A slot and a member for each flow, and both far from those of the others.
    for (&place, group) in places.iter().zip(groups) {
        if let (Some(group), Some(look)) = (group, looks.get(usize::from(place))) {
            group.prefetch(look.flow);
        }
    }
    for ((&place, group), prefix) in places.iter().zip(groups).zip(matches) {
        let Some(look) = looks.get_mut(usize::from(place)) else {
            continue;
        };
        let member = group.and_then(|group| group.select(look.flow, |_| true));
        look.gateway = member
            .map(|member| member.gateway)
            .filter(|gateway| *gateway != env.chooser.node)
            .unwrap_or(NodeId::NONE);
        if let Some(found) = found.get_mut(usize::from(place)) {
            *found = prefix;
        }
    }
    found
}
