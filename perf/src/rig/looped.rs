//! The closed loop of `load`, `churn` and `failover`: two memif ports of one dataplane are the two ends of one link, and the router is its own
//! neighbour over it. A packet goes round until its hop limit is used up, so the worker is always busy, whatever else runs; what is
//! lost that way is replaced by calls from a pod port, each of which is resolved by name. Neighbours beside the loop, if there are any,
//! are next hops like the link itself: of the calls, those whose flow is theirs leave there, and all others never come by them.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use dmsc_dpdk::{Burst, Device, MacAddr, MemifRole, Port, PortConfig};
use dmsc_proto::v1::dataplane_agent_client::DataplaneAgentClient;
use dmsc_proto::v1::{self, op::Op};
use dmsc_wire::{Domain, FlowLabel, Kind, NameBuf, PacketBuilder};
use tonic::transport::Channel;

use super::{Bench, CONTROL_CORE, Neighbour, Occupied, Place, Sampler, Samples, head, names, pin};
use crate::prng::Prng;
use crate::torture::dataplane::Dataplane;
use crate::torture::outer::{self, Frame};

/// Gateways behind the loop, and as many groups of two of them.
const GATEWAYS: u32 = 64;
/// Their node ids begin here.
const FIRST_GATEWAY: u32 = 1_000;
/// The dataplane's own node id: it is its own neighbour.
const NODE: u32 = 1;
/// The adjacencies of the link to itself, by both ends.
const LINK: [u32; 2] = [1, 2];
/// The port of the pod that calls. It answers nothing, so its attachment does not come up.
const POD_PORT: &str = "c";
/// Different calls that are sent in turn.
const CALLS: usize = 16_384;
/// Of a frame, bytes.
const FRAME: usize = 192;
/// Longest wait until the loop runs.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two bursts of calls.
const TICK: Duration = Duration::from_micros(300);

/// What goes round.
#[derive(Debug, Clone, Copy)]
pub struct Traffic {
    /// Calls are to the first so many prefixes.
    pub prefixes: u64,
    /// Calls per second.
    pub calls_per_s: u64,
}

/// A dataplane whose worker is busy with its own packets.
pub struct Looped {
    /// The process.
    pub dataplane: Dataplane,
    feeder: Feeder,
}

impl Looped {
    /// Starts a dataplane with the first `prefixes` prefixes and waits until its link to itself is up. The calling thread is on the
    /// control core from then on.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn start(bench: &Bench, name: &str, traffic: Traffic) -> anyhow::Result<Looped> {
        let (looped, _) = Looped::start_beside(bench, name, traffic, &[]).await?;
        Ok(looped)
    }

    /// As [`Looped::start`], with neighbours beside the loop, at the other ends of memif ports: every gateway is behind each of them, too.
    /// From here on they are to be turned by whoever gets them.
    ///
    /// # Errors
    /// As there.
    pub async fn start_beside(
        bench: &Bench,
        name: &str,
        traffic: Traffic,
        places: &[Place],
    ) -> anyhow::Result<(Looped, Vec<Neighbour>)> {
        bench.unpin()?;
        let text = configuration(&bench.dir, name, places);
        let mut dataplane = Dataplane::start(&bench.program, &bench.dir, name, &text).await?;
        pin(CONTROL_CORE)?;
        let mut neighbours = Vec::new();
        for place in places {
            let device = client(socket(&bench.dir, name, &place.name()), place.peer_mac());
            neighbours.push(Neighbour::open(bench, *place, &device)?);
            dataplane.apply(place.operations()).await?;
        }
        dataplane.apply(operations(&next_hops(places))).await?;
        for first in (0..traffic.prefixes).step_by(10_000) {
            let last = traffic.prefixes.min(first + 10_000);
            dataplane.apply((first..last).map(route).collect()).await?;
        }
        until_up(bench, &mut dataplane, || {
            for neighbour in &mut neighbours {
                neighbour.turn(Instant::now(), |_, _| {});
            }
        })
        .await?;
        let feeder = Feeder::start(bench, name, traffic)?;
        Ok((Looped { dataplane, feeder }, neighbours))
    }

    /// Waits until the link and all neighbours, which somebody turns meanwhile, are up.
    ///
    /// # Errors
    /// When that takes too long, and once a signal came.
    pub async fn until_up(&mut self, bench: &Bench) -> anyhow::Result<()> {
        until_up(bench, &mut self.dataplane, || {}).await
    }

    /// The agent.
    pub fn client(&self) -> DataplaneAgentClient<Channel> {
        self.dataplane.client()
    }

    /// Samples for so long while nobody changes anything.
    ///
    /// # Errors
    /// When the dataplane does not answer, and once a signal came.
    pub async fn quiet(&self, bench: &Bench, time: Duration) -> anyhow::Result<Samples> {
        let sampler = Sampler::start(self.client());
        bench.pause(time).await?;
        sampler.stop().await
    }

    /// As [`Looped::quiet`], while the control core runs an empty loop: what of the gaps is the machine's.
    ///
    /// # Errors
    /// As there, and when the loop cannot be started.
    pub async fn occupied(&self, bench: &Bench, time: Duration) -> anyhow::Result<Samples> {
        let _busy = Occupied::start(2 * time)?;
        self.quiet(bench, time).await
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it does not end well.
    pub async fn stop(self) -> anyhow::Result<()> {
        drop(self.feeder);
        self.dataplane.stop().await
    }
}

/// Waits until everything but the pod, which says nothing, is up; `turn` is called now and then.
async fn until_up(
    bench: &Bench,
    dataplane: &mut Dataplane,
    mut turn: impl FnMut(),
) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        dataplane.check()?;
        turn();
        let unready = dataplane.unready(&[], &[POD_PORT]).await?;
        if unready.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            bail!(
                "the loop is not up within {PATIENCE:?}: {}",
                unready.join(", ")
            );
        }
        bench.pause(Duration::from_millis(20)).await?;
    }
}

/// The operation that adds prefix number `index`.
pub fn route(index: u64) -> v1::Op {
    names::put_prefix(&names::prefix(index), group_of(index))
}

/// The adjacencies of the loop and of neighbours beside it.
pub fn next_hops(beside: &[Place]) -> Vec<u32> {
    let beside = beside.iter().map(|place| u32::from(place.0));
    LINK.into_iter().chain(beside).collect()
}

/// The operations that put all gateways behind these adjacencies, at equal cost.
pub fn behind(next_hops: &[u32]) -> Vec<v1::Op> {
    let of = |gateway| {
        [0, 1].map(|topology| v1::Op {
            op: Some(Op::PutGateway(v1::Gateway {
                topology,
                gateway,
                metric: 10,
                next_hops: next_hops.to_vec(),
                ..v1::Gateway::default()
            })),
        })
    };
    (FIRST_GATEWAY..FIRST_GATEWAY + GATEWAYS)
        .flat_map(of)
        .collect()
}

/// The group that prefix number `index` belongs to.
fn group_of(index: u64) -> u32 {
    1 + (index % u64::from(GATEWAYS)) as u32
}

fn socket(dir: &Path, name: &str, port: &str) -> String {
    dir.join(format!("{name}-{port}.sock"))
        .display()
        .to_string()
}

/// The end of a memif link that comes to the dataplane's.
fn client(socket: String, mac: MacAddr) -> Device {
    Device::Memif {
        role: MemifRole::Client,
        socket,
        id: 0,
        ring_size_log2: 10,
        buffer_size: 2048,
        mac: Some(mac),
        zero_copy: false,
    }
}

fn configuration(dir: &Path, name: &str, beside: &[Place]) -> String {
    let mut text = head(dir, name, "block", 128);
    let (link, pods) = (socket(dir, name, "link"), socket(dir, name, "pods"));
    for (port, server, mac, address) in [
        ("a", true, "02:00:00:00:01:01", "10.1.0.1/24"),
        ("b", false, "02:00:00:00:01:02", "10.1.0.2/24"),
    ] {
        text += &format!(
            "[[port]]\nname = \"{port}\"\nkind = \"memif\"\nsocket = \"{link}\"\nserver = {server}\nmac = \"{mac}\"\naddresses = [\"{address}\"]\nexception = \"none\"\nrole = \"router\"\n\n"
        );
    }
    for place in beside {
        let device = format!(
            "socket = \"{}\"\nserver = true",
            socket(dir, name, &place.name())
        );
        text += &place.section("memif", &device);
    }
    text + &format!(
        "[[port]]\nname = \"{POD_PORT}\"\nkind = \"memif\"\nsocket = \"{pods}\"\nserver = true\nmac = \"02:00:00:00:03:01\"\naddresses = [\"10.3.0.1/24\"]\nexception = \"none\"\nrole = \"pod\"\nbudget_pps = 10000000\nbudget_mbps = 100000\n"
    )
}

fn operations(next_hops: &[u32]) -> Vec<v1::Op> {
    let adjacency = |id, port: &str, own: &str, peer: &str| {
        Op::PutAdjacency(v1::Adjacency {
            id,
            port: port.into(),
            peer: NODE,
            encapsulation: "udp".into(),
            local_address: own.into(),
            remote_address: peer.into(),
            ..v1::Adjacency::default()
        })
    };
    let mut ops = vec![
        adjacency(LINK[0], "a", "10.1.0.1", "10.1.0.2"),
        adjacency(LINK[1], "b", "10.1.0.2", "10.1.0.1"),
    ];
    for number in 0..GATEWAYS {
        let member = |number: u32| v1::Member {
            gateway: FIRST_GATEWAY + number % GATEWAYS,
            metric: 10,
            weight: 1,
            delay_weight: 0,
        };
        ops.push(Op::PutGroup(v1::Group {
            id: 1 + number,
            members: vec![member(number), member(number + 1)],
            weighted: true,
        }));
    }
    ops.push(Op::Attach(v1::Attachment {
        port: POD_PORT.into(),
        address: POD.0.to_string(),
        udp_port: u32::from(POD.1),
        domain: names::domain(),
        identity: "caller".into(),
        owns: vec![caller().as_bytes().to_vec()],
        ..v1::Attachment::default()
    }));
    let ops = ops.into_iter().map(|op| v1::Op { op: Some(op) });
    ops.chain(behind(next_hops)).collect()
}

/// The pod that calls.
const POD: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 3, 0, 2), 4000);

fn caller() -> NameBuf {
    NameBuf::parse("/id/caller").expect("names in this program are canonical")
}

/// Calls from the pod, each to another name.
fn calls(prefixes: u64) -> Vec<Vec<u8>> {
    let (mut random, caller) = (Prng::new(1, 0), caller());
    let one = |_| {
        let name = names::service(random.below(prefixes as usize) as u64);
        let builder = PacketBuilder::new(Kind::Request)
            .destination(name.as_name())
            .source(caller.as_name())
            .domain(Domain(names::domain()))
            .hop_limit(255)
            .flow_label(FlowLabel(random.bits() as u32));
        let payload = vec![0x5a; FRAME.saturating_sub(42 + builder.header_len())];
        let mut frame = Frame::default();
        let (to, from) = (MacAddr([2, 0, 0, 0, 3, 1]), MacAddr([2, 0, 0, 0, 3, 2]));
        frame.ethernet(to, from, 0, outer::IPV4);
        frame.ip(
            POD.0.into(),
            Ipv4Addr::new(10, 3, 0, 1).into(),
            outer::UDP,
            255,
            0,
        );
        frame.udp(POD.1, dmsc_wire::UDP_PORT);
        let packet = builder.payload(&payload).to_vec();
        frame.bytes.extend(packet.unwrap_or_default());
        frame.seal();
        frame.bytes
    };
    (0..CALLS).map(one).collect()
}

/// The thread that sends calls; it ends when this value goes.
struct Feeder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Feeder {
    fn start(bench: &Bench, name: &str, traffic: Traffic) -> anyhow::Result<Feeder> {
        let mac = MacAddr([2, 0, 0, 0, 3, 2]);
        let device = client(socket(&bench.dir, name, "pods"), mac);
        let port = Port::create(&bench.eal, &format!("calls-{name}"), &device)
            .and_then(|port| port.start(PortConfig::new(&bench.pool)))
            .context("the other end of the pod port cannot be had")?;
        let (mut rx, mut tx) = port
            .queues
            .into_iter()
            .next()
            .context("a port has a queue")?;
        let (eal, pool) = (bench.eal.clone(), bench.pool.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let frames = calls(traffic.prefixes);
        let thread = std::thread::Builder::new()
            .name("calls".into())
            .spawn(move || {
                let _lcore = eal.register_thread(); // without an id the pool's cache is not used
                let (start, mut sent, mut burst) = (Instant::now(), 0, Burst::new());
                while !stopped.load(Relaxed) {
                    rx.burst(&mut burst);
                    burst.clear();
                    let due = (start.elapsed().as_secs_f64() * traffic.calls_per_s as f64) as u64;
                    // What could not be sent in time is not sent later: the loop is full then, or the worker away.
                    sent = sent.max(due.saturating_sub(1_024));
                    while sent < due {
                        while sent < due && burst.room() > 0 {
                            let frame = &frames[sent as usize % frames.len()];
                            sent += 1;
                            if let Some(mut mbuf) = pool.alloc()
                                && mbuf.copy_from(frame)
                            {
                                let _ = burst.push(mbuf); // there is room
                            }
                        }
                        tx.burst(&mut burst);
                        burst.clear();
                    }
                    std::thread::sleep(TICK);
                }
            })?;
        Ok(Feeder {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // its panic was printed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_beside_the_loop_are_next_hops_of_every_gateway() {
        assert_eq!(next_hops(&[]), LINK);
        let hops = next_hops(&[Place(4), Place(5)]);
        assert_eq!(hops, [1, 2, 4, 5]);
        let ops = behind(&hops);
        assert_eq!(ops.len(), 2 * GATEWAYS as usize);
        let all_hops = |op: &v1::Op| match &op.op {
            Some(Op::PutGateway(gateway)) => gateway.next_hops == hops,
            _ => false,
        };
        assert!(ops.iter().all(all_hops));
        let text = configuration(Path::new("/t"), "x", &[Place(4)]);
        assert!(text.contains("socket = \"/t/x-r4.sock\"\nserver = true"));
    }
}
