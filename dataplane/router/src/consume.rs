//! What ends at this router: hellos, address resolution, complaints, its own name, the kernel; and what it makes itself.

mod hello;
mod probe;
mod resolution;

use std::sync::atomic::Ordering::Relaxed;

use dmsc_dpdk::Mbuf;
use dmsc_wire::{
    AttachmentId, EchoSource, ErrorCode, Header, Kind, PacketBuilder, PortId, Probe, RecordSlot,
    RouterName, record,
};

use crate::adjacency::{Adjacency, State};
use crate::counters::{DropReason, EventKind};
use crate::frame::Frame;
use crate::hello::Word;
use crate::icmp::{self, Complaint};
use crate::mac::MacAddress;
use crate::neighbour;
use crate::net::{self, Ethernet};
use crate::packet::{Context, Origin, Verdict};
use crate::shared::{Shared, WorkerLink};
use crate::stage::Env;
use crate::tables::Tables;
use crate::traffic::Traffic;
use crate::worker::Floor;

/// How often hello timers are looked at.
const TIMER_MS: u64 = 5;
/// How often address resolution is looked at.
const RESOLUTION_MS: u64 = 100;
/// Path MTU that was learned is believed this long (RFC 1191).
const PATH_MTU_MS: u64 = 600_000;
/// Parcels taken from other threads per round.
const PARCELS: usize = 32;

/// Hands an answer to who waits for it.
fn hear(shared: &Shared, env: &Env<'_>, packet: &[u8], port: u8, for_herald: &mut bool) -> Verdict {
    if !shared.own.offer(port, false, env.now, packet, usize::MAX) {
        return Verdict::Drop(DropReason::LateAnswer);
    }
    *for_herald = true;
    Verdict::Consumed
}

impl Floor {
    /// Handles a packet that is not forwarded, and says how it ended.
    pub(crate) fn consume(&mut self, env: &Env<'_>, mbuf: &mut Mbuf, context: &mut Context) {
        context.verdict = match context.verdict {
            Verdict::Hello(id) => match env.chooser.tables.adjacencies.get(id) {
                Some(adjacency) => {
                    let adjacency = adjacency.clone();
                    self.hello(env, &adjacency, mbuf, context)
                }
                None => Verdict::Drop(DropReason::UnknownNeighbour),
            },
            Verdict::Probe(id) => match env.chooser.tables.adjacencies.get(id) {
                Some(adjacency) => {
                    let adjacency = adjacency.clone();
                    self.probe(env, &adjacency, mbuf, context)
                }
                None => Verdict::Drop(DropReason::UnknownNeighbour),
            },
            Verdict::Arp => self.resolution(env, mbuf, context),
            Verdict::Icmp => self.icmp(env, mbuf, context),
            Verdict::Own => self.own(env, mbuf, context),
            _ => self.punt(env, mbuf.data(), context),
        };
    }

    /// Sends a packet of one hop over an adjacency, in the class of control.
    pub(super) fn say(
        &mut self,
        env: &Env<'_>,
        adjacency: &Adjacency,
        mac: MacAddress,
        packet: &[u8],
    ) {
        let number = adjacency.config.port;
        let Some(mut mbuf) = self.pool.alloc() else {
            return;
        };
        if mbuf.fill(packet)
            && adjacency
                .outer
                .write(&mut mbuf, mac, 0, dmsc_wire::Class::CONTROL.0, 0)
        {
            self.counters.ports[number].originated.add(1);
            self.enqueue(env, number, mbuf, number);
        }
    }

    fn icmp(&mut self, env: &Env<'_>, mbuf: &Mbuf, context: &Context) -> Verdict {
        let Some(ethernet) = Ethernet::parse(mbuf.data()) else {
            return Verdict::Drop(DropReason::Truncated);
        };
        let packet = &mbuf.data()[ethernet.length..];
        if let Some(heard) = neighbour::parse_discovery(packet) {
            return self.resolve_address(env, mbuf, context, &ethernet, &heard);
        }
        if let Some(complaint) = icmp::parse(packet)
            && self.learn(env, context, complaint)
        {
            return Verdict::Consumed;
        }
        let port = &self.shared.ports[usize::from(context.port)];
        if port.drops_plain_ip() {
            return Verdict::Drop(DropReason::PlainIp);
        }
        self.punt(env, mbuf.data(), context)
    }

    /// Believes a complaint only if it is about a datagram that this router sends: to an attachment of that pod port, or over an adjacency.
    fn learn(&mut self, env: &Env<'_>, context: &Context, complaint: Complaint) -> bool {
        let number = usize::from(context.port);
        let tables: &Tables = env.chooser.tables;
        match complaint {
            Complaint::PortUnreachable(about) => {
                let endpoint =
                    crate::attachment::Endpoint::Udp(about.destination, about.destination_port);
                let Some(attachment) = tables.attachments.from(number, endpoint) else {
                    return false;
                };
                if !self.shared.ports[number].owns(about.source)
                    || about.source_port != env.udp_port
                {
                    return false;
                }
                attachment.reachable.store(false, Relaxed);
                self.counters.ports[number].event(EventKind::PortUnreachable);
                self.shared.changed.store(true, Relaxed);
                self.for_herald = true;
                true
            }
            Complaint::TooBig(about, mtu) => {
                let sent_by = |a: &&std::sync::Arc<Adjacency>| {
                    a.config.udp == Some((about.source, about.destination))
                };
                let Some(adjacency) = tables.adjacencies.on_port(number).iter().find(sent_by)
                else {
                    return false;
                };
                if about.destination_port != env.udp_port || mtu >= adjacency.config.mtu {
                    return false;
                }
                adjacency.live.path_mtu.store(mtu, Relaxed);
                adjacency
                    .live
                    .path_mtu_until
                    .store(env.now + env.clock.from_ms(PATH_MTU_MS), Relaxed);
                self.counters.ports[number].event(EventKind::PathMtuLearned);
                self.shared.changed.store(true, Relaxed);
                self.for_herald = true;
                true
            }
        }
    }

    /// A packet for this router's own name: echoes are answered, answers go to who asked.
    fn own(&mut self, env: &Env<'_>, mbuf: &mut Mbuf, context: &Context) -> Verdict {
        let Some(header) = context.header else {
            return Verdict::Drop(DropReason::BadHeader);
        };
        let Some(packet) = mbuf.data_mut().get_mut(usize::from(context.offset)..) else {
            return Verdict::Drop(DropReason::Truncated);
        };
        match header.kind {
            Kind::EchoRequest => {
                let in_port = match context.origin {
                    Origin::Router(_) => u16::from(context.port) + 1,
                    _ => 0,
                };
                let slot = RecordSlot {
                    node: env.chooser.node,
                    in_port: PortId(in_port),
                    out_port: PortId(0),
                    residence_ns: env
                        .clock
                        .to_ns((env.tsc)().saturating_sub(context.arrived))
                        .min(u64::from(u32::MAX)) as u32,
                };
                record::fill_next(packet, &header, slot);
                let source = EchoSource {
                    gateway: env.chooser.node,
                    attachment: AttachmentId::ANY,
                    name: None,
                };
                let built =
                    dmsc_wire::build_echo_reply(packet, &header, source, &mut self.scratch[..]);
                if let Ok(length) = built {
                    self.originate(env, context.port, length);
                }
                Verdict::Consumed
            }
            Kind::Probe => match Probe::decode(header.payload(packet)) {
                Err(_) => Verdict::Drop(DropReason::BadProbe),
                Ok(probe) if probe.is_question() => {
                    let (t2, t3) = (context.arrived, (env.tsc)());
                    // A router has no load of its own to tell.
                    let probe = probe.answered(env.clock.to_ns(t2), env.clock.to_ns(t3), None);
                    let source = EchoSource {
                        gateway: env.chooser.node,
                        attachment: AttachmentId::ANY,
                        name: None,
                    };
                    let out = &mut self.scratch[..];
                    let built = dmsc_wire::build_probe_answer(packet, &header, &probe, source, out);
                    if let Ok(length) = built {
                        self.originate(env, context.port, length);
                    }
                    Verdict::Consumed
                }
                Ok(_) => hear(
                    &self.shared,
                    env,
                    packet,
                    context.port,
                    &mut self.for_herald,
                ),
            },
            Kind::EchoReply | Kind::Error => hear(
                &self.shared,
                env,
                packet,
                context.port,
                &mut self.for_herald,
            ),
            _ => Verdict::Drop(DropReason::KindNotAllowed),
        }
    }

    /// Tells the source of a dropped packet why, as often as the rate allows.
    pub(crate) fn make_error(
        &mut self,
        env: &Env<'_>,
        mbuf: &Mbuf,
        context: &Context,
        code: ErrorCode,
        mtu: u16,
    ) {
        let counters = &self.counters.ports[usize::from(context.port)];
        if !self.error_rate[usize::from(context.port)].allow(env.now) {
            counters.event(EventKind::ErrorSuppressed);
            return;
        }
        let (Some(header), Some(packet)) = (
            context.header,
            mbuf.data().get(usize::from(context.offset)..),
        ) else {
            return;
        };
        let node = env.chooser.node;
        let Some(mut length) =
            dmsc_wire::build_error(code, mtu, node, packet, &header, &mut self.scratch[..])
        else {
            return;
        };
        if code == ErrorCode::SourceNotOwned {
            // The offender's source name is not its own; the error goes to a name that is, or it would not be delivered.
            let Origin::Pod(id) = context.origin else {
                return;
            };
            let Some(attachment) = env.chooser.tables.attachments.get(id) else {
                return;
            };
            let Some(own) = attachment.owns.first().or(attachment.serves.first()) else {
                return;
            };
            let Ok(built) = dmsc_wire::parse(&self.scratch[..length]) else {
                return;
            };
            let router = RouterName::new(node);
            let mut renamed = [0; 1024];
            let rebuilt = PacketBuilder::new(Kind::Error)
                .destination(own.as_name())
                .source(router.as_name())
                .domain(header.domain)
                .flow_label(header.flow_label)
                .request_id(header.request_id)
                .source_gateway(node)
                .destination_gateway(node)
                .destination_attachment(id)
                .payload(built.payload(&self.scratch[..length]))
                .write(&mut renamed);
            match rebuilt {
                Ok(n) => {
                    self.scratch[..n].copy_from_slice(&renamed[..n]);
                    length = n;
                }
                Err(_) => return,
            }
        }
        self.originate(env, context.port, length);
    }

    /// Puts the DMSC packet in the scratch buffer among those that this router made.
    fn originate(&mut self, env: &Env<'_>, port: u8, length: usize) {
        let Ok(header) = dmsc_wire::parse(&self.scratch[..length]) else {
            return;
        };
        self.add_made(env, port, header, length);
    }

    fn add_made(&mut self, env: &Env<'_>, port: u8, header: Header, length: usize) {
        let counters = &self.counters.ports[usize::from(port)];
        let context = Context::originated(usize::from(port), header, env.now);
        let made = self
            .pool
            .alloc()
            .filter(|_| !self.made.frames.is_full())
            .and_then(|mut mbuf| mbuf.fill(&self.scratch[..length]).then_some(mbuf))
            .is_some_and(|mbuf| self.made.push(mbuf, context).is_ok());
        if made {
            counters.originated.add(1);
        } else {
            counters.event(EventKind::NotOriginated);
        }
    }

    /// Sends a whole frame that this router made on `port`.
    fn send_own(&mut self, env: &Env<'_>, port: usize, frame: &[u8]) {
        match self
            .pool
            .alloc()
            .and_then(|mut m| m.fill(frame).then_some(m))
        {
            Some(mbuf) => {
                self.counters.ports[port].originated.add(1);
                self.enqueue(env, port, mbuf, port);
            }
            None => self.counters.ports[port].event(EventKind::NotOriginated),
        }
    }

    /// Sends a frame of the kernel, which knows nothing of the port's VLAN.
    fn send_from_kernel(&mut self, env: &Env<'_>, port: usize, frame: &[u8]) {
        let Some(mut mbuf) = self.pool.alloc() else {
            return;
        };
        if mbuf.fill(frame) && net::tag(&mut mbuf, self.shared.ports[port].config.vlan) {
            self.counters.ports[port].originated.add(1);
            self.enqueue(env, port, mbuf, port);
        }
    }

    /// Takes frames from the kernel and packets from the agent.
    pub(crate) fn take_parcels(&mut self, env: &Env<'_>, link: &WorkerLink) -> usize {
        let missed = link.raw.missed();
        if missed != self.raw_missed {
            // Which port they were for is not known any more; the first one tells.
            for _ in self.raw_missed..missed {
                self.counters.ports[0].event(EventKind::LostFromKernel);
            }
            self.raw_missed = missed;
        }
        let mut taken = 0;
        while taken < PARCELS
            && let Some(parcel) = link.raw.take()
        {
            taken += 1;
            let port = usize::from(parcel.port);
            self.send_from_kernel(env, port, &parcel.bytes);
            self.counters.ports[port].event(EventKind::FromKernel);
            link.raw.give_back(parcel.bytes);
        }
        let mut injected = 0;
        while injected < PARCELS
            && let Some(parcel) = link.inject.take()
        {
            injected += 1;
            let length = parcel.bytes.len().min(self.scratch.len());
            self.scratch[..length].copy_from_slice(&parcel.bytes[..length]);
            self.originate(env, parcel.port, length);
            link.inject.give_back(parcel.bytes);
        }
        self.walk_made(env);
        taken + injected
    }

    /// Hellos, their expiry, and address resolution of the ports that this worker owns.
    pub(crate) fn run_timers(&mut self, env: &Env<'_>) {
        let hurry = &self.shared.workers[self.id].hurry;
        if hurry.load(Relaxed) {
            hurry.store(false, Relaxed);
            self.next_timer = env.now;
            self.next_resolution = env.now;
            self.tune(env);
        }
        if env.now < self.next_timer {
            return;
        }
        self.next_timer = env.now + env.clock.from_ms(TIMER_MS);
        self.leave_deserted(env);
        let mut due = u64::MAX;
        for adjacency in env.chooser.tables.adjacencies.iter() {
            let port = adjacency.config.port;
            if self.shared.owner(port) != self.id {
                continue;
            }
            let live = &adjacency.live;
            let change = if self.shared.ports[port].is_up() {
                self.shared.speaker.expire(adjacency, env.now)
            } else {
                self.shared.speaker.turn(adjacency, State::Down)
            };
            if let Some(change) = change {
                self.adjacency_changed(port as u8, change);
            }
            if !self.shared.ports[port].is_up() {
                continue;
            }
            if env.now >= live.next_hello.load(Relaxed) {
                self.send_hello(env, adjacency, Word::Alive);
                // With a hello, so that nobody wakes for it.
                self.ask(env, adjacency);
            }
            due = due.min(live.next_hello.load(Relaxed));
            if adjacency.is_up() {
                due = due.min(live.heard.load(Relaxed) + live.hold.load(Relaxed) + 1);
            }
        }
        if env.now >= self.next_resolution {
            self.next_resolution = env.now + env.clock.from_ms(RESOLUTION_MS);
            self.ask_neighbours(env);
        }
        // Idle workers sleep until something is due, at least the address resolution.
        self.next_timer = due.clamp(self.next_timer, self.next_resolution.max(self.next_timer));
    }

    /// Who was attached at the other end of shared memory comes back when it sends or registers: whoever comes next may be another process.
    fn leave_deserted(&mut self, env: &Env<'_>) {
        for port in self.shared.ports.iter() {
            if !port.deserted.load(Relaxed) || self.shared.owner(port.number) != self.id {
                continue;
            }
            port.deserted.store(false, Relaxed);
            for attachment in env.chooser.tables.attachments.on_port(port.number) {
                attachment.reachable.store(false, Relaxed);
            }
        }
    }

    /// Tells every neighbour that this router goes away, so that it need not find out, or that another process goes on in a moment.
    pub(crate) fn last_word(&mut self, tables: &Tables, traffic: &Traffic) {
        let word = if self.shared.is_handing_over() {
            Word::Pause
        } else {
            Word::Farewell
        };
        let shared = self.shared.clone();
        let counters = self.counters.clone();
        let env = Env {
            chooser: crate::choose::Chooser {
                tables,
                ports: &shared.ports,
                node: shared.config.node,
            },
            counters: &counters,
            traffic,
            habit: &Default::default(),
            class_rules: &shared.config.class_rules,
            udp_port: shared.config.udp_port,
            now: dmsc_dpdk::tsc(),
            clock: shared.clock,
            tsc: dmsc_dpdk::tsc,
        };
        for adjacency in tables.adjacencies.iter() {
            if shared.owner(adjacency.config.port) == self.id && adjacency.is_up() {
                self.send_hello(&env, adjacency, word);
            }
        }
        self.flush_all(&env);
        self.drain(&env);
    }
}
