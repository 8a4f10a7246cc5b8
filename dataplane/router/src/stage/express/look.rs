//! One look at a frame.

use std::sync::Arc;

use dmsc_fib::{AdjacencyId, Topology};
use dmsc_wire::{Domain, FlowLabel, GlancedNames, NodeId};

use crate::adjacency::Adjacency;
use crate::choose::Call;
use crate::frame::Frame;
use crate::outer::Plain;
use crate::packet::BATCH;
use crate::port::PortState;
use crate::stage::Env;

/// What the look at a packet found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// The adjacency that it came over, and, of a call that was resolved and is ready to leave, the one that it leaves by.
    pub hop: AdjacencyId,
    /// Of the DMSC header in the frame.
    pub offset: u16,
    /// Bytes of DMSC header and payload.
    pub total: u16,
    pub hop_limit: u8,
    pub class: u8,
    pub ecn: u8,
    /// By which it goes.
    pub topology: Topology,
    /// A call that is placed here goes by delay, whatever its class.
    pub by_delay: bool,
    /// Its gateway is not in the packet: the name says which.
    pub by_name: bool,
    /// Where it goes; [`NodeId::NONE`]: not known, or not known yet.
    pub gateway: NodeId,
    pub domain: Domain,
    pub flow: FlowLabel,
}

impl Look {
    /// At nothing.
    pub const NONE: Look = Look {
        hop: AdjacencyId(0),
        offset: 0,
        total: 0,
        hop_limit: 0,
        class: 0,
        ecn: 0,
        topology: Topology::Metric,
        by_delay: false,
        by_name: false,
        gateway: NodeId::NONE,
        domain: Domain(0),
        flow: FlowLabel(0),
    };

    /// It is placed at a gateway here.
    #[inline(always)]
    pub fn place(&mut self, gateway: NodeId, by_delay: bool) {
        self.gateway = gateway;
        self.by_delay = by_delay;
        self.topology = Topology::of(self.class, by_delay);
    }

    /// What the choice of a member depends on.
    #[inline]
    pub fn call(&self) -> Call {
        Call {
            domain: self.domain,
            flow: self.flow,
            topology: Topology::for_class(self.class),
            came_over: Some(self.hop),
            excluded: NodeId::NONE,
        }
    }
}

/// Frames whose data is asked for ahead.
pub(super) const AHEAD: usize = 4;

/// How far a burst is as most are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Its first frames.
    pub frames: usize,
    /// Some of them have no gateway.
    pub by_name: bool,
}

/// Looks at the frames of a burst, up to the first one that is not as most are.
#[inline(never)] // on its own it keeps what it needs in registers
pub(super) fn run<F: Frame>(
    looker: &mut Looker<'_>,
    frames: &[F],
    looks: &mut [Look; BATCH],
) -> Seen {
    let mut seen = Seen::default();
    let mut names = [GlancedNames::default(); BATCH];
    for (index, ((frame, look), names)) in
        frames.iter().zip(&mut *looks).zip(&mut names).enumerate()
    {
        if let Some(later) = frames.get(index + AHEAD) {
            later.prefetch();
        }
        // Written where they stay: what is copied as a whole waits for its parts.
        if looker.look(frame, look, names).is_none() {
            break;
        }
        seen.by_name |= look.by_name;
        seen.frames = index + 1;
    }
    // A loop of its own: a step over a component waits for the one before, and many packets fit into the time of one.
    let bad = names
        .iter()
        .take(seen.frames)
        .position(|names| !names.are_canonical());
    seen.frames = bad.unwrap_or(seen.frames);
    seen
}

/// Looks at the frames of one port.
pub(super) struct Looker<'a> {
    port: &'a PortState,
    neighbours: &'a [Arc<Adjacency>],
    /// Who sent the last one: most bursts are from one neighbour.
    last: &'a Adjacency,
    node: NodeId,
}

impl<'a> Looker<'a> {
    /// `None` where no frame of the port is as most are.
    #[inline]
    pub fn of(env: &Env<'a>, port: &'a PortState) -> Option<Looker<'a>> {
        let neighbours = env.chooser.tables.adjacencies.on_port(port.number);
        let last = neighbours.first()?;
        (port.config.vlan == 0).then_some(Looker {
            port,
            neighbours,
            last,
            node: env.chooser.node,
        })
    }

    /// The adjacency that the last frame came over.
    #[inline(always)]
    pub fn came(&self) -> AdjacencyId {
        self.last.config.id
    }

    /// ECN bits of a plain outer header of a frame of `length` bytes, from whichever neighbour; `None` for everything else.
    #[inline(always)]
    pub fn look_plain(&mut self, head: &[u8; Plain::LEN], length: usize) -> Option<u8> {
        let (ttl, mtu) = (self.last.config.minimum_ttl, self.port.config.mtu);
        let outer = &self.last.outer;
        outer
            .look_plain(head, length, ttl, mtu)
            .or_else(|| self.look_plain_otherwise(head, length))
    }

    /// From another neighbour than the one before.
    #[cold]
    fn look_plain_otherwise(&mut self, head: &[u8; Plain::LEN], length: usize) -> Option<u8> {
        let mtu = self.port.config.mtu;
        let (came, ecn) = self.neighbours.iter().find_map(|came| {
            let ttl = came.config.minimum_ttl;
            let ecn = came.outer.look_plain(head, length, ttl, mtu)?;
            Some((came, ecn))
        })?;
        self.last = came;
        Some(ecn)
    }

    /// `None` where a frame is not as most are. The names are to be checked yet.
    #[inline(always)]
    fn look<'f, F: Frame>(
        &mut self,
        frame: &'f F,
        look: &mut Look,
        names: &mut GlancedNames<'f>,
    ) -> Option<()> {
        if !frame.is_contiguous() {
            return None;
        }
        let bytes = frame.bytes();
        if let Some((head, packet)) = bytes.split_first_chunk::<{ Plain::LEN }>() {
            let (ttl, mtu) = (self.last.config.minimum_ttl, self.port.config.mtu);
            let outer = &self.last.outer;
            if let Some(ecn) = outer.look_plain(head, bytes.len(), ttl, mtu) {
                return self.read(packet, Plain::LEN, ecn, look, names);
            }
        }
        self.look_otherwise(bytes, look, names)
    }

    /// From another neighbour, in another carrier, or with bytes behind it.
    #[inline(never)]
    fn look_otherwise<'f>(
        &mut self,
        frame: &'f [u8],
        look: &mut Look,
        names: &mut GlancedNames<'f>,
    ) -> Option<()> {
        let mtu = self.port.config.mtu;
        let (came, carried) = self.neighbours.iter().find_map(|came| {
            let carried = came.outer.look(frame, came.config.minimum_ttl, mtu)?;
            (came.config.vlan == 0).then_some((came, carried))
        })?;
        self.last = came;
        let packet = frame.get(carried.offset..carried.offset + carried.length)?;
        self.read(packet, carried.offset, carried.ecn, look, names)
    }

    #[inline(always)]
    fn read<'f>(
        &self,
        packet: &'f [u8],
        offset: usize,
        outer_ecn: u8,
        look: &mut Look,
        names: &mut GlancedNames<'f>,
    ) -> Option<()> {
        let (glance, its) = dmsc_wire::glance(packet)?;
        let gateway = glance.destination_gateway;
        let ecn = glance.ecn.bits();
        let by_name = !gateway.is_some();
        if gateway == self.node
            || (outer_ecn != 0 && outer_ecn != ecn)
            || (by_name && (!glance.is_call() || dmsc_wire::is_to_router(packet)))
        {
            return None;
        }
        *look = Look {
            hop: self.last.config.id,
            offset: offset as u16,
            total: glance.total_len,
            hop_limit: glance.hop_limit,
            class: glance.class.0,
            ecn,
            topology: Topology::of(glance.class.0, glance.by_delay),
            by_delay: false,
            by_name,
            gateway,
            domain: glance.domain,
            flow: glance.flow_label,
        };
        *names = its;
        Some(())
    }
}
