//! The main run: one dataplane with a router port and a pod port of every kind, all of them under fire at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use dmsc_dpdk::{Mempool, MempoolConfig};
use dmsc_proto::v1::PortCounters;

use super::Context;
use super::dataplane::{self, Dataplane};
use super::generator::{Generator, Order};
use super::kind::Kind;
use super::net;
use super::peer::{self, Peer};
use super::report::{Memory, Report, Row, in_flight};
use super::site::{self, LOST_IN_RINGS, MTU, Role, Site};
use super::tables;
use super::valid::World;

/// Longest wait for neighbours at the start, for the last frame to end, and for echoes.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest wait for neighbours at the end: a damaged hello may have asked for a hold time of up to 60 s.
const RECOVERY: Duration = Duration::from_secs(75);
/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(5);
/// Frames sent for every hundred that are wanted: some kinds lose a few before the dataplane sees them.
const SURPLUS: f64 = 1.05;

/// The ports of these kinds.
pub fn sites(kinds: &[Kind]) -> Vec<Site> {
    let mut sites = Vec::new();
    for &kind in kinds {
        let roles: &[Role] = match kind {
            Kind::Pcap => &[],
            // Without a budget it would give frames without end.
            Kind::Null => &[Role::Pod],
            _ => &[Role::Router, Role::Pod],
        };
        for &role in roles {
            sites.push(Site::new(sites.len() as u8 + 1, kind, role));
        }
    }
    sites
}

/// Whether the other end must be there before the dataplane is.
fn is_first(site: &Site) -> bool {
    site.kind == Kind::VirtioUser
}

/// Runs `kinds` for the time of the options.
///
/// # Errors
/// When it cannot be run, when the dataplane dies, and on SIGTERM.
pub async fn run(context: &Context, kinds: &[Kind]) -> anyhow::Result<Report> {
    let sites = sites(kinds);
    if sites.is_empty() {
        return Ok(Report::default());
    }
    let name = if kinds.len() == 1 {
        kinds[0].as_str()
    } else {
        "all"
    };
    for site in &sites {
        net::before(site)?;
    }
    let world = Arc::new(World::new(sites.clone()));
    let devices = sites
        .iter()
        .filter(|s| s.kind.is_driven())
        .map(|s| peer::device(s, &context.dir));
    let room = devices
        .map(|d| d.min_data_room(MTU))
        .max()
        .unwrap_or(2048)
        .max(2176);
    let config = MempoolConfig {
        // Small: a vhost port of the dataplane maps it, and what it touched counts as the dataplane's memory.
        count: 8191,
        cache: 256,
        data_room: room,
    };
    let pool = Mempool::new(&context.eal, name, config)?;
    let open = |site: &Site| {
        Peer::open(
            &context.eal,
            &pool,
            site,
            &context.dir,
            world.clone(),
            context.options.seed,
        )
    };
    let mut peers = Vec::new();
    for site in sites.iter().filter(|s| is_first(s)) {
        peers.push(open(site)?);
    }
    let rate = context.options.rate;
    let budget = |site: &Site| {
        if site.kind == Kind::Null {
            rate * 11 / 10
        } else {
            rate * 10
        }
    };
    let text = site::configuration(
        &sites,
        &context.dir,
        &dataplane::socket(&context.dir, name),
        budget,
    );
    let mut dataplane = loop {
        let program = &context.options.dataplane;
        let dataplane = Dataplane::start(program, &context.dir, name, &text).await?;
        if !net::fanouts_collide(&sites, dataplane.id())? {
            break dataplane;
        }
        context.say("torture: the dataplane's process id is an unlucky one: started once more");
        dataplane.stop().await?;
    };
    for site in sites.iter().filter(|s| s.kind.is_driven() && !is_first(s)) {
        net::after(site)?;
        peers.push(open(site)?);
    }
    dataplane.apply(tables::operations(&sites)).await?;
    let generator = Generator::start(context.eal.clone(), peers, rate as f64 / 2.0 * SURPLUS)?;
    let mut run = Run {
        context,
        name,
        sites: &sites,
        dataplane: &mut dataplane,
        generator: &generator,
        fired: false,
    };
    let result = match run.all().await {
        Err(error) if run.fired => context.judge(&error),
        other => other,
    };
    let peers = generator.stop();
    let failed = result
        .as_ref()
        .map_or(true, |report| !report.problems.is_empty());
    if failed {
        for peer in &peers {
            let path = context
                .dir
                .join(format!("{}-last-frames.pcap", peer.site().name));
            peer.save(&path)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    let mut report = result?;
    // The other ends go first, while the dataplane runs: that, too, must not disturb it.
    drop(peers);
    if let Err(error) = dataplane.stop().await {
        report.problems.push(format!("{error:#}"));
    }
    sites.iter().for_each(net::remove);
    Ok(report)
}

struct Run<'a> {
    context: &'a Context,
    name: &'a str,
    sites: &'a [Site],
    dataplane: &'a mut Dataplane,
    generator: &'a Generator,
    /// Frames were sent: from here on an error is the router's.
    fired: bool,
}

impl Run<'_> {
    async fn all(&mut self) -> anyhow::Result<Report> {
        self.neighbours(PATIENCE, &[Kind::Null]).await?;
        let before = self.dataplane.counters().await?;
        let (memory, seconds) = self.fire().await?;
        let mut report = Report {
            memory: vec![memory],
            ..Report::default()
        };
        let fired = self.drain().await?;
        // Pods of which the kernel said that they are gone come back when they send; here they are silent now.
        if let Err(error) = self.neighbours(RECOVERY, Kind::ALL).await {
            self.context.check()?;
            report
                .problems
                .push(format!("after the last frame: {error:#}"));
        }
        self.echo().await?;
        if let Err(error) = self.dataplane.is_same().await {
            report.problems.push(format!("{error:#}"));
        }
        // Hellos go on, so that a reading now and then falls between two counters.
        let counters = self.drain().await?;
        report.ports = self.rows(&counters, seconds).await?;
        for row in &mut report.ports {
            let rx = |counters: &BTreeMap<String, PortCounters>| {
                counters.get(&row.port).map_or(0, |c| c.rx)
            };
            row.received = rx(&fired).saturating_sub(rx(&before));
            if row.echo.is_none() {
                row.frames = row.received;
            }
        }
        report.judge(self.context.options.rate);
        Ok(report)
    }

    /// Waits until all neighbours are up, and all pods are found but those of the kinds `mute`.
    async fn neighbours(&mut self, patience: Duration, mute: &[Kind]) -> anyhow::Result<()> {
        let of_kinds = |kinds: &[Kind]| -> Vec<&Site> {
            let sites = self.sites.iter();
            sites.filter(|site| kinds.contains(&site.kind)).collect()
        };
        let mute: Vec<&str> = of_kinds(mute).iter().map(|s| s.name.as_str()).collect();
        let mut silent = vec![tables::DEAD_ADJACENCY];
        for ring in of_kinds(&[Kind::Ring]) {
            silent.extend(LOST_IN_RINGS.map(|peer| ring.adjacency(peer)));
        }
        let end = Instant::now() + patience;
        loop {
            self.dataplane.check()?;
            let unready = self.dataplane.unready(&silent, &mute).await?;
            if unready.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("not ready within {patience:?}: {}", unready.join(", "));
            }
            self.pause(Duration::from_millis(20)).await?;
        }
    }

    /// Sends frames for the time of the options.
    async fn fire(&mut self) -> anyhow::Result<(Memory, f64)> {
        let options = &self.context.options;
        let start = Instant::now();
        self.generator.order(Order::Fire);
        self.fired = true;
        let (mut early_kib, mut shown) = (None, start);
        let mut before = self.received().await?;
        loop {
            self.pause(Duration::from_millis(200)).await?;
            self.dataplane.check()?;
            let elapsed = start.elapsed();
            if early_kib.is_none() && elapsed.as_secs_f64() >= options.seconds as f64 / 10.0 {
                early_kib = Some(self.dataplane.rss_kib()?);
            }
            if shown.elapsed() >= PROGRESS {
                let since = shown.elapsed().as_secs_f64();
                shown = Instant::now();
                let now = self.received().await?;
                let rates = now.iter().map(|(kind, rx)| {
                    let more = rx.saturating_sub(before.get(kind).copied().unwrap_or(0));
                    format!("{kind} {:.0}/s", more as f64 / since)
                });
                let rates = rates.collect::<Vec<_>>().join(", ");
                let mib = self.dataplane.rss_kib()? / 1024;
                self.context.say(&format!(
                    "torture: {} s: received {rates}; {mib} MiB",
                    elapsed.as_secs()
                ));
                before = now;
            }
            if elapsed.as_secs() >= options.seconds || self.context.failed.load(Relaxed) {
                self.generator.order(Order::Quiet);
                let late_kib = self.dataplane.rss_kib()?;
                let memory = Memory {
                    dataplane: self.name.into(),
                    early_kib: early_kib.unwrap_or(late_kib),
                    late_kib,
                };
                return Ok((memory, elapsed.as_secs_f64()));
            }
        }
    }

    /// Frames received by kind.
    async fn received(&self) -> anyhow::Result<BTreeMap<&'static str, u64>> {
        let counters = self.dataplane.counters().await?;
        let mut sums = BTreeMap::new();
        for site in self.sites {
            let rx = counters.get(&site.name).map_or(0, |c| c.rx);
            *sums.entry(site.kind.as_str()).or_default() += rx;
        }
        Ok(sums)
    }

    /// Waits until every packet of every port is in a counter; the counters of each port when that was so, or when patience ended.
    async fn drain(&mut self) -> anyhow::Result<BTreeMap<String, PortCounters>> {
        self.pause(Duration::from_millis(300)).await?;
        let mut settled: BTreeMap<String, PortCounters> = BTreeMap::new();
        let end = Instant::now() + PATIENCE;
        loop {
            self.dataplane.check()?;
            let counters = self.dataplane.counters().await?;
            let over = Instant::now() > end;
            for (name, counters) in counters {
                if over && !settled.contains_key(&name) || in_flight(&counters) == 0 {
                    settled.insert(name, counters);
                }
            }
            if settled.len() == self.sites.len() {
                return Ok(settled);
            }
            self.pause(Duration::from_millis(50)).await?;
        }
    }

    /// Waits until every port's echo is answered, or patience ends.
    async fn echo(&mut self) -> anyhow::Result<()> {
        self.generator.order(Order::Echo);
        let end = Instant::now() + PATIENCE;
        let answered = || {
            self.generator
                .tallies()
                .iter()
                .all(|(_, t)| t.answered.load(Relaxed))
        };
        while !answered() && Instant::now() < end {
            self.dataplane.check()?;
            self.pause(Duration::from_millis(20)).await?;
        }
        self.generator.order(Order::Quiet);
        Ok(())
    }

    async fn rows(
        &self,
        counters: &BTreeMap<String, PortCounters>,
        seconds: f64,
    ) -> anyhow::Result<Vec<Row>> {
        let missed = self.dataplane.missed().await?;
        let rows = self.sites.iter().map(|site| {
            let tally = self
                .generator
                .tallies()
                .iter()
                .find(|(name, _)| *name == site.name);
            let mut row = Row {
                kind: site.kind.as_str().into(),
                port: site.name.clone(),
                seconds,
                missed: missed.get(&site.name).copied().unwrap_or(0),
                echo: tally.map(|(_, t)| t.answered.load(Relaxed)),
                ..Row::default()
            };
            if let Some(counters) = counters.get(&site.name) {
                row.count(counters);
            }
            row.frames = tally.map_or(0, |(_, t)| t.sent.load(Relaxed));
            row
        });
        Ok(rows.collect())
    }

    async fn pause(&self, time: Duration) -> anyhow::Result<()> {
        self.context.check()?;
        tokio::time::sleep(time).await;
        Ok(())
    }
}
