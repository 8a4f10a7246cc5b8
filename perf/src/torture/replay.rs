//! Capture files: a dataplane that replays them, started again for every batch of frames.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::Context;
use super::capture::{self, Writer};
use super::dataplane::{self, Dataplane};
use super::kind::Kind;
use super::outer::Frame;
use super::peer::{echo, introduction, is_answer};
use super::report::{Memory, Report, Row, in_flight};
use super::site::{self, PEERS, Role, Site};
use super::tables;
use super::valid::{Factory, World};

/// How long one batch lasts on the pod port, which has a budget; the router port takes its batch as fast as it can.
const BATCH_SECONDS: u64 = 8;
/// Longest time for a batch to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Name of the dataplane.
const NAME: &str = "pcap";
/// Numbers of its two ports: far from those of the main run, which is in the same network namespace.
const NUMBERS: (u8, u8) = (40, 41);

/// Runs batches for the time of the options.
///
/// # Errors
/// When it cannot be run, when the dataplane dies, and on SIGTERM.
pub async fn run(context: &Context) -> anyhow::Result<Report> {
    let sites = vec![
        Site::new(NUMBERS.0, Kind::Pcap, Role::Router),
        Site::new(NUMBERS.1, Kind::Pcap, Role::Pod),
    ];
    let world = Arc::new(World::new(sites.clone()));
    let factories = sites
        .iter()
        .map(|site| Factory::new(world.clone(), site.clone(), context.options.seed))
        .collect();
    let mut replay = Replay {
        context,
        factories,
        rows: sites.iter().map(row).collect(),
        memory: Vec::new(),
        sites,
        problems: Vec::new(),
    };
    let start = Instant::now();
    while start.elapsed().as_secs() < context.options.seconds && !context.failed.load(Relaxed) {
        match replay.batch().await {
            Err(error) => replay.problems.extend(context.judge(&error)?.problems),
            Ok(()) if !replay.problems.is_empty() => context.failed.store(true, Relaxed),
            Ok(()) => {}
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    replay.rows.iter_mut().for_each(|row| row.seconds = seconds);
    // Every batch has a process of its own; the one that grew most stands for all.
    let growth = |memory: &Memory| memory.late_kib.saturating_sub(memory.early_kib);
    replay.memory.sort_by_key(growth);
    let mut report = Report {
        ports: replay.rows,
        memory: replay.memory.pop().into_iter().collect(),
        problems: replay.problems,
        ..Report::default()
    };
    report.judge(context.options.rate);
    Ok(report)
}

fn row(site: &Site) -> Row {
    Row {
        kind: site.kind.as_str().into(),
        port: site.name.clone(),
        echo: (site.role == Role::Pod).then_some(true),
        ..Row::default()
    }
}

struct Replay<'a> {
    context: &'a Context,
    sites: Vec<Site>,
    factories: Vec<Factory>,
    rows: Vec<Row>,
    memory: Vec<Memory>,
    problems: Vec<String>,
}

impl Replay<'_> {
    /// Writes files, lets a dataplane read them, checks it, and ends it.
    async fn batch(&mut self) -> anyhow::Result<()> {
        let dir = self.context.dir.clone();
        // Time goes by between batches, too: each has more than its share.
        let share = self.context.options.rate / 2;
        let count = share * BATCH_SECONDS * 3 / 2;
        let mut frames = Vec::new();
        for (site, factory) in self.sites.iter().zip(&mut self.factories) {
            let (path, site) = (site.rx_file(&dir), site.clone());
            // The factory comes back with its sequence.
            let mut moved = factory.clone();
            let written = tokio::task::spawn_blocking(move || {
                let extra = write(&path, &site, &mut moved, count);
                (extra, moved)
            });
            let (extra, moved) = written.await?;
            *factory = moved;
            frames.push(count + extra.context("a capture file cannot be written")?);
        }
        let socket = dataplane::socket(&dir, NAME);
        let text = site::configuration(&self.sites, &dir, &socket, |_| count / BATCH_SECONDS);
        let mut dataplane =
            Dataplane::start(&self.context.options.dataplane, &dir, NAME, &text).await?;
        dataplane.apply(tables::operations(&self.sites)).await?;
        let early_kib = self.replayed(&mut dataplane, &frames, 10).await?;
        let late_kib = self.replayed(&mut dataplane, &frames, 100).await?;
        self.memory.push(Memory {
            dataplane: NAME.into(),
            early_kib,
            late_kib,
        });
        dataplane.is_same().await?;
        let counters = dataplane.counters().await?;
        for ((site, row), count) in self.sites.iter().zip(&mut self.rows).zip(&frames) {
            row.frames += count;
            if let Some(counters) = counters.get(&site.name) {
                row.received += counters.rx;
                row.count(counters);
            }
        }
        dataplane.stop().await?;
        self.check_echo(&dir)
    }

    /// Waits until the pod port has read so many per cent of its frames (at 100: both ports all, and all in a counter);
    /// the memory at that time.
    async fn replayed(
        &self,
        dataplane: &mut Dataplane,
        frames: &[u64],
        percent: u64,
    ) -> anyhow::Result<u64> {
        let end = Instant::now() + PATIENCE;
        loop {
            self.context.check()?;
            dataplane.check()?;
            let counters = dataplane.counters().await?;
            let read = |index: usize| counters.get(&self.sites[index].name);
            let pod = read(1).map_or(0, |c| c.rx);
            let reached = if percent < 100 {
                pod * 100 >= frames[1] * percent
            } else {
                // Address resolution goes on, so one reading may fall between two counters.
                (0..2).all(|i| read(i).is_some_and(|c| c.rx >= frames[i] && in_flight(c) == 0))
            };
            if reached {
                return dataplane.rss_kib();
            }
            if Instant::now() > end {
                let state: Vec<String> = (0..2)
                    .map(|i| {
                        let (rx, rest) = read(i).map_or((0, 0), |c| (c.rx, in_flight(c)));
                        format!(
                            "{}: {rx} of {} frames read, {rest} in no counter",
                            self.sites[i].name, frames[i]
                        )
                    })
                    .collect();
                bail!(
                    "capture files were not replayed within {PATIENCE:?}: {}",
                    state.join("; ")
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Looks for the answer to the echo that each batch ends with.
    fn check_echo(&mut self, dir: &std::path::Path) -> anyhow::Result<()> {
        for (site, row) in self.sites.iter().zip(&mut self.rows) {
            let file = site.tx_file(dir);
            let mut answered = false;
            capture::read(&file, |frame| answered |= is_answer(site, frame))
                .with_context(|| format!("cannot read {}", file.display()))?;
            row.echo = row.echo.map(|before| before && answered);
            if row.echo == Some(false) {
                self.problems.push(format!(
                    "port {}: the echo of a batch was not answered",
                    site.name
                ));
            }
            let paths: [PathBuf; 2] = [site.rx_file(dir), file];
            if self.problems.is_empty() {
                paths.iter().try_for_each(std::fs::remove_file)?;
            }
        }
        Ok(())
    }
}

/// Writes `count` frames, then what tells where the peers are, then an echo-request; how many frames that is more.
fn write(
    path: &std::path::Path,
    site: &Site,
    factory: &mut Factory,
    count: u64,
) -> std::io::Result<u64> {
    let mut file = Writer::create(path)?;
    let mut frame = Frame::default();
    for number in 0..count {
        factory.next(&mut frame);
        file.frame(number, &frame.bytes)?;
    }
    let mut number = count;
    for peer in 0..PEERS {
        for text in introduction(peer) {
            text(site, &mut frame, peer);
            file.frame(number, &frame.bytes)?;
            number += 1;
        }
    }
    echo(site, &mut frame);
    file.frame(number, &frame.bytes)?;
    file.finish()?;
    Ok(number + 1 - count)
}
