//! Packets whose gateway is known, as nearly all are that a router passes on: read, checked and written in one loop, with nothing
//! kept of one packet when the next one is looked at.

use dmsc_fib::{FirstHopsOf, Topology};
use dmsc_wire::patch;

use super::look::{AHEAD, Looker};
use super::way::Ways;
use crate::frame::Frame;
use crate::outer::Plain;
use crate::stage::Env;

/// Makes the first frames of a burst ready to leave, up to the first one that is not as most are; returns how many. Nothing of the
/// others is changed.
#[inline(never)] // on its own it keeps what it needs in registers
pub(super) fn run<'a, F: Frame>(
    env: &Env<'a>,
    looker: &mut Looker<'a>,
    ways: &mut Ways<'a>,
    hops: &mut FirstHopsOf<'_>,
    frames: &mut [F],
    exits: &mut [u8],
) -> usize {
    for (index, exit) in exits.iter_mut().enumerate() {
        if let Some(later) = frames.get(index + AHEAD) {
            later.prefetch();
        }
        let Some(frame) = frames.get_mut(index) else {
            return index;
        };
        let Some(out) = pass(env, looker, ways, hops, frame) else {
            return index;
        };
        *exit = out;
    }
    frames.len().min(exits.len())
}

/// The port by which a packet leaves, ready to do so; `None`, and nothing changed, if it is not as most are.
#[inline(always)]
fn pass<'a, F: Frame>(
    env: &Env<'a>,
    looker: &mut Looker<'a>,
    ways: &mut Ways<'a>,
    hops: &mut FirstHopsOf<'_>,
    frame: &mut F,
) -> Option<u8> {
    if !frame.is_contiguous() {
        return None;
    }
    let bytes = frame.bytes_mut();
    let length = bytes.len();
    let (head, packet) = bytes.split_first_chunk_mut::<{ Plain::LEN }>()?;
    let outer_ecn = looker.look_plain(head, length)?;
    let (glance, names) = dmsc_wire::glance(packet)?;
    let (gateway, flow) = (glance.destination_gateway, glance.flow_label);
    let (class, ecn) = (glance.class.0, glance.ecn.bits());
    let total = usize::from(glance.total_len);
    if !gateway.is_some()
        || gateway == env.chooser.node
        || (outer_ecn != 0 && outer_ecn != ecn)
        || glance.hop_limit <= 1
        || total != packet.len()
        || !names.are_canonical()
    {
        return None;
    }
    let topology = Topology::of(class, glance.by_delay);
    let first = hops.get(topology, gateway, flow)?;
    let place = ways.by(env, looker.came(), first)?;
    let way = ways.get(place)?;
    let plain = way.plain.as_ref()?;
    if total > way.largest {
        return None;
    }
    patch::set_hop_limit(packet, glance.hop_limit - 1);
    plain.put(head, length, flow.0, class, ecn);
    Some(way.port)
}
