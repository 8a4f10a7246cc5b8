//! Two memif ports: nothing to block on, so the worker sleeps in growing steps. What that costs without traffic, and what it costs
//! the first packet after silence.

use std::time::{Duration, Instant};

use dmsc_dpdk::{Device, MemifRole};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::LatencyUs;
use crate::rig::{
    Bench, CONTROL_CORE, Call, CpuClock, Neighbour, Place, head, number, pin, prefix, until_up,
};
use crate::torture::dataplane::Dataplane;

const IN: Place = Place(3);
const OUT: Place = Place(4);
/// Packets after silence, each.
const PACKETS: u64 = 40;
/// Silence before each of them: hellos come between, as they do.
const SILENCE: Duration = Duration::from_millis(37);
/// A packet that takes longer is lost.
const LOST: Duration = Duration::from_millis(100);

/// What came out.
#[derive(Debug, Serialize)]
pub struct Idle {
    /// Without traffic, of one core, all threads.
    pub cpu_percent: f64,
    /// By name of the thread.
    pub threads: std::collections::BTreeMap<String, f64>,
    /// Of packets that came after silence.
    pub first_packet_us: LatencyUs,
    /// Of them, those that did not arrive.
    pub lost: u64,
}

/// Starts a dataplane, lets it idle, and sends packets one at a time.
///
/// # Errors
/// When it cannot be had, and once a signal came.
pub async fn measure(bench: &Bench, round: u32, seconds: u64) -> anyhow::Result<Idle> {
    let name = format!("memif{round}");
    let socket = |place: Place| bench.dir.join(format!("{name}-{}.sock", place.name()));
    let mut text = head(&bench.dir, &name, "block", 64);
    for place in [IN, OUT] {
        let device = format!("socket = \"{}\"\nserver = true", socket(place).display());
        text += &place.section("memif", &device);
    }
    bench.unpin()?;
    let mut dataplane = Dataplane::start(&bench.program, &bench.dir, &name, &text).await?;
    pin(CONTROL_CORE)?;
    let mut neighbours = Vec::new();
    for place in [IN, OUT] {
        let device = Device::Memif {
            role: MemifRole::Client,
            socket: socket(place).display().to_string(),
            id: 0,
            ring_size_log2: 10,
            buffer_size: 2048,
            mac: Some(place.peer_mac()),
            zero_copy: false,
        };
        neighbours.push(Neighbour::open(bench, place, &device)?);
        dataplane.apply(place.operations()).await?;
    }
    until_up(bench, &mut dataplane, &mut neighbours).await?;
    bench.pause(Duration::from_millis(200)).await?;
    let before = CpuClock::read(dataplane.id())?;
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        for neighbour in &mut neighbours {
            neighbour.turn(Instant::now(), |_, _| {});
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let (cpu_percent, threads) = CpuClock::read(dataplane.id())?.percent_since(&before);
    let mut call = neighbours[0].call(&Call {
        name: prefix(0),
        gateway: OUT.node(),
        flow: 1,
        length: 256,
    });
    let mut latency = Histogram::<u64>::new_with_bounds(1, 10_000_000_000, 3)?;
    let mut lost = 0;
    for packet in 0..PACKETS {
        bench.check()?;
        number(&mut call, packet);
        let due = Instant::now() + SILENCE;
        let (mut sent, mut arrived) = (None, false);
        while !arrived && sent.is_none_or(|at: Instant| at.elapsed() < LOST) {
            let now = Instant::now();
            if sent.is_none() && now >= due {
                sent = Some(Instant::now());
                neighbours[0].send(&call.0);
            }
            for neighbour in &mut neighbours {
                neighbour.turn(now, |id, _| arrived |= id == packet);
            }
        }
        match sent {
            Some(at) if arrived => latency.saturating_record(at.elapsed().as_nanos() as u64),
            _ => lost += 1,
        }
    }
    drop(neighbours);
    dataplane.stop().await?;
    Ok(Idle {
        cpu_percent,
        threads,
        first_packet_us: LatencyUs::of(&latency),
        lost,
    })
}
