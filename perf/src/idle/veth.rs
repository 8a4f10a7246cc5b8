//! Two af_packet ports on veth pairs, a neighbour behind each: calls come in by one and leave by the other.

use std::time::{Duration, Instant};

use anyhow::Context;
use dmsc_proto::v1;
use hdrhistogram::Histogram;

use super::{LatencyUs, Measured};
use crate::rig::{
    Bench, Call, CpuClock, Neighbour, Place, af_packet, head, number, prefix, start_on_veth,
    until_up,
};
use crate::torture::dataplane::Dataplane;

const IN: Place = Place(1);
const OUT: Place = Place(2);
/// Packets whose time of sending is remembered.
const UNDER_WAY: usize = 1 << 16;
/// What is still on its way at the end gets so long.
const DRAIN: Duration = Duration::from_millis(100);

/// The dataplane and its neighbours.
pub struct Rig {
    dataplane: Dataplane,
    neighbours: Vec<Neighbour>,
    call: (Vec<u8>, usize),
    text: [(&'static str, String); 2],
}

impl Rig {
    /// Starts it and waits until both links are up.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn start(bench: &Bench) -> anyhow::Result<Rig> {
        let text = ["block", "poll"].map(|idle| {
            let mut text = head(&bench.dir, "idle", idle, 64);
            for place in [IN, OUT] {
                let device = format!("interface = \"{}\"", place.interface());
                text += &place.section("af_packet", &device);
            }
            (idle, text)
        });
        let mut dataplane = start_on_veth(bench, "idle", &text[0].1, &[IN, OUT]).await?;
        let mut neighbours = Vec::new();
        for place in [IN, OUT] {
            neighbours.push(Neighbour::open(bench, place, &af_packet(place))?);
            dataplane.apply(place.operations()).await?;
        }
        until_up(bench, &mut dataplane, &mut neighbours).await?;
        let call = neighbours[0].call(&Call {
            name: prefix(0),
            gateway: OUT.node(),
            flow: 1,
            length: 256,
        });
        Ok(Rig {
            dataplane,
            neighbours,
            call,
            text,
        })
    }

    /// Sends for so long, evenly spaced.
    ///
    /// # Errors
    /// When the dataplane does not take the configuration, and once a signal came.
    pub async fn measure(
        &mut self,
        bench: &Bench,
        rate: u64,
        idle: &'static str,
        seconds: u64,
    ) -> anyhow::Result<Measured> {
        let text = self.text.iter().find(|(name, _)| *name == idle);
        let request = v1::AgentConfigRequest {
            action: "apply".into(),
            text: text.map(|(_, text)| text.clone()).unwrap_or_default(),
        };
        let applied = self.dataplane.client().config(request).await;
        applied.context("the dataplane does not change how it waits")?;
        bench.check()?;
        self.turn_for(Duration::from_millis(300), 0)?;
        let before = CpuClock::read(self.dataplane.id())?;
        let length = Duration::from_secs(seconds);
        let (latency, sent, lost, took) = self.turn_for(length, rate)?;
        let after = CpuClock::read(self.dataplane.id())?;
        let (cpu_percent, threads) = after.percent_since(&before);
        bench.check()?;
        Ok(Measured {
            packets_per_s: rate,
            idle,
            cpu_percent,
            threads,
            latency_us: LatencyUs::of(&latency),
            lost,
            sent_per_s: sent as f64 / took,
        })
    }

    /// Polls and sends without sleeping: this core is the generator's. With no packets to send it sleeps between hellos, so that it
    /// does not keep the dataplane's own threads on this core from what little they do.
    fn turn_for(
        &mut self,
        length: Duration,
        rate: u64,
    ) -> anyhow::Result<(Histogram<u64>, u64, u64, f64)> {
        let mut latency = Histogram::new_with_bounds(1, 10_000_000_000, 3)?;
        let mut sent_at = vec![Instant::now(); UNDER_WAY];
        let (start, mut sent, mut arrived) = (Instant::now(), 0u64, 0u64);
        let end = start + length;
        loop {
            let now = Instant::now();
            let over = now >= end;
            if over && (arrived >= sent || now >= end + DRAIN) {
                break;
            }
            let due = (now.duration_since(start).as_secs_f64() * rate as f64) as u64;
            if !over && sent < due {
                number(&mut self.call, sent);
                sent_at[sent as usize % UNDER_WAY] = Instant::now();
                self.neighbours[0].send(&self.call.0);
                sent += 1;
            }
            let mut busy = false;
            for neighbour in &mut self.neighbours {
                let turn = neighbour.turn(now, |id, _| {
                    let at = sent_at[id as usize % UNDER_WAY];
                    latency.saturating_record(at.elapsed().as_nanos() as u64);
                    arrived += 1;
                });
                busy |= turn.frames > 0;
            }
            if rate == 0 && !busy {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let lost = sent.saturating_sub(arrived);
        Ok((latency, sent, lost, length.as_secs_f64()))
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it does not end well.
    pub async fn stop(self) -> anyhow::Result<()> {
        drop(self.neighbours);
        self.dataplane.stop().await
    }
}
