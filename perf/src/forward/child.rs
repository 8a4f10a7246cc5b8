//! The process that is measured: a whole dataplane, agent and all, with a rig on its workers. Orders come as lines of JSON.

use std::fmt::Write as _;
use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use dmsc_dataplane::config::Config;
use dmsc_dataplane::counters::DropReason;
use dmsc_dataplane::meter::Station;
use dmsc_dataplane::port::Cross;
use dmsc_dataplane::publisher::Publishing;
use dmsc_dataplane::rig::{Gear, Rig};
use dmsc_dataplane::shared::Shared;
use dmsc_dataplane::start;
use dmsc_wire::NameBuf;
use serde::{Deserialize, Serialize};

use super::belt::{Belt, Stamp, Turnstile, Wire};
use super::draw::{self, Head};
use super::{Carrier, Mode, Pmd, Traffic, tables};

/// Frames that go round in each direction: a burst, as testpmd's `tx_first` makes.
const FRAMES: u32 = 32;
/// Longest wait for neighbours, frames and acknowledgements.
const PATIENCE: Duration = Duration::from_secs(30);
/// Prefixes of one transaction.
const CHUNK: usize = 50_000;

/// Arguments of the measured process.
#[derive(Debug, Clone, Args, Serialize)]
pub struct RouterArgs {
    /// Folder for sockets and configuration
    #[arg(long)]
    pub dir: PathBuf,
    /// Kind of both ports
    #[arg(long)]
    pub pmd: Pmd,
    /// What carries the packets
    #[arg(long)]
    pub carrier: Carrier,
    /// Prefixes in the table
    #[arg(long)]
    pub prefixes: usize,
    /// File of names
    #[arg(long)]
    pub names: Option<PathBuf>,
    /// How names are drawn
    #[arg(long)]
    pub traffic: Traffic,
    /// Names drawn, both directions together
    #[arg(long)]
    pub draws: usize,
    /// Bytes per frame
    #[arg(long)]
    pub frame: usize,
    /// Cores of the workers
    #[arg(long, value_delimiter = ',')]
    pub cores: Vec<usize>,
    /// Ordinary memory, because valgrind gives no other
    #[arg(long)]
    pub no_huge: bool,
    /// End after so many frames in this mode
    #[arg(long, requires = "mode")]
    pub count: Option<u64>,
    /// The mode of --count
    #[arg(long)]
    pub mode: Option<Mode>,
}

/// What the process is told.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Forward so from here on, with or without the stamp.
    Set {
        /// How.
        mode: Mode,
        /// Whether frames are stamped.
        stamp: bool,
    },
    /// Count for so many milliseconds.
    Measure {
        /// How long.
        ms: u64,
    },
}

/// What it answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// An order was followed.
    Done,
    /// Tables are loaded.
    Loaded {
        /// Prefixes.
        prefixes: usize,
        /// Seconds until the last was acknowledged.
        seconds: f64,
        /// Prefixes whose names do not fit into the frame.
        too_long: usize,
    },
    /// Counted.
    Count(Count),
    /// Could not be done.
    Failed(String),
}

/// Counters over a time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Count {
    /// Frames that left.
    pub packets: u64,
    /// Frames that were dropped.
    pub drops: u64,
    /// Polls that brought frames.
    pub bursts: u64,
    /// The time.
    pub ns: u64,
    /// TSC cycles by station, in a build that measures them.
    pub stations: Option<[u64; Station::ALL.len()]>,
}

/// Runs the dataplane until standard input ends.
///
/// # Errors
/// What keeps a dataplane from starting.
pub fn run(args: &RouterArgs) -> anyhow::Result<ExitCode> {
    let path = args.dir.join("dataplane.toml");
    std::fs::write(&path, configuration(args))?;
    let config = Config::load(&path)?;
    let belt = Arc::new(Belt::new(args.frame, args.pmd == Pmd::Null));
    let workers = args.cores.len().max(1);
    let turnstile = Arc::new(Turnstile::default());
    let gear = |number| -> Box<dyn Gear> {
        let stamp = Stamp::new(belt.clone(), number, workers);
        Box::new(match args.count {
            Some(limit) => stamp.count(turnstile.clone(), limit),
            None => stamp,
        })
    };
    let gears = (0..workers).map(gear).collect();
    let is_on = Arc::new(AtomicBool::new(args.count.is_some()));
    let (ended, end) = tokio::sync::oneshot::channel();
    let control = {
        let (args, is_on, ended) = (args.clone(), is_on.clone(), Mutex::new(Some(ended)));
        Box::new(move |shared: Arc<Shared>, publishing: Publishing| {
            if let Err(error) = serve(&args, shared, &publishing, &belt, &is_on, &turnstile) {
                say(&Answer::Failed(format!("{error:#}")));
            }
            if let Some(ended) = ended.lock().ok().and_then(|mut e| e.take()) {
                let _ = ended.send(()); // the process may be ending already
            }
        })
    };
    let rig = Rig {
        gears,
        is_on,
        control,
    };
    start::run_with_rig(config, rig, async {
        let _ = end.await;
    })?;
    Ok(ExitCode::SUCCESS)
}

fn configuration(args: &RouterArgs) -> String {
    let dir = args.dir.display();
    let cores: Vec<String> = args.cores.iter().map(usize::to_string).collect();
    let mut text = format!(
        "[node]\nid = {}\nname = \"perf\"\nrole = \"sr\"\n[eal]\nmemory_mb = 128\nhuge = \"{}\"\n[workers]\ncores = [{}]\n\
         [agent]\nsocket = \"{dir}/agent\"\n",
        tables::NODE,
        if args.no_huge { "no" } else { "auto" },
        cores.join(", ")
    );
    for (port, name) in tables::PORTS.iter().enumerate() {
        let address = tables::ADDRESSES[port];
        let _ = write!(
            text,
            "[[port]]\nname = \"{name}\"\nrole = \"router\"\nexception = \"none\"\nmtu = {}\naddresses = [\"{address}/24\"]\n",
            args.frame.max(1800)
        );
        let _ = match args.pmd {
            Pmd::Null => writeln!(text, "kind = \"null\"\nsize = {}", args.frame),
            // Two spellings of one path: DPDK knows a socket either as listening or as connecting.
            Pmd::Memif => writeln!(
                text,
                "kind = \"memif\"\nserver = {}\nsocket = \"{dir}/{}memif\"\nmac = \"02:00:00:00:00:0{name}\"",
                port == 0,
                if port == 0 { "" } else { "./" }
            ),
        };
    }
    text
}

fn say(answer: &Answer) {
    if let Ok(text) = serde_json::to_string(answer) {
        println!("{text}");
        let _ = std::io::stdout().flush(); // nobody listens any more: the next read says so
    }
}

/// What the control thread knows.
struct Control<'a> {
    shared: Arc<Shared>,
    publishing: &'a Publishing,
    belt: &'a Belt,
    is_on: &'a AtomicBool,
    /// With and without a gateway.
    stamped: [Arc<Vec<Head>>; 2],
    unresolved: [Arc<Vec<Head>>; 2],
}

fn serve(
    args: &RouterArgs,
    shared: Arc<Shared>,
    publishing: &Publishing,
    belt: &Belt,
    is_on: &AtomicBool,
    turnstile: &Turnstile,
) -> anyhow::Result<()> {
    let prefixes = draw::prefixes(args.prefixes, args.names.as_deref())?;
    let start = Instant::now();
    load(args, publishing, &prefixes)?;
    let seconds = start.elapsed().as_secs_f64();
    let total = args.frame - args.carrier.length();
    let mut too_long = 0;
    let mut drawn = |stamped| -> anyhow::Result<[Arc<Vec<Head>>; 2]> {
        let mut heads: [Arc<Vec<Head>>; 2] = Default::default();
        too_long = 0;
        for (port, place) in heads.iter_mut().enumerate() {
            let drawn = draw::draw(
                &prefixes,
                port,
                args.draws / 2,
                total,
                args.traffic,
                stamped,
            )?;
            too_long += drawn.too_long;
            *place = Arc::new(drawn.heads);
        }
        Ok(heads)
    };
    let (stamped, unresolved) = (drawn(true)?, drawn(false)?);
    let count = prefixes.len();
    drop(prefixes);
    let control = Control {
        shared,
        publishing,
        belt,
        is_on,
        stamped,
        unresolved,
    };
    say(&Answer::Loaded {
        prefixes: count,
        seconds,
        too_long,
    });
    if let Some(mode) = args.mode.filter(|_| args.count.is_some()) {
        control.set(mode, true)?;
        turnstile.open();
        while !turnstile.full.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        // The worker stays at the turnstile, so nothing can be taken down.
        std::process::exit(0);
    }
    for line in std::io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?) {
            Ok(Order::Set { mode, stamp }) => control.set(mode, stamp).map(|()| Answer::Done),
            Ok(Order::Measure { ms }) => Ok(Answer::Count(control.measure(ms))),
            Err(error) => Err(error.into()),
        };
        say(&answer.unwrap_or_else(|error| Answer::Failed(format!("{error:#}"))));
    }
    Ok(())
}

fn load(args: &RouterArgs, publishing: &Publishing, names: &[NameBuf]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let apply = |ops| match runtime.block_on(publishing.apply(ops)) {
        Some(result) => result.map_err(|error| anyhow::anyhow!("{error}")),
        None => bail!("the dataplane stops"),
    };
    apply(tables::topology(args.carrier, args.count.is_some()))?;
    let mut first = 0;
    for chunk in names.chunks(CHUNK) {
        apply(tables::prefixes(first, chunk))?;
        first += chunk.len();
    }
    Ok(())
}

impl Control<'_> {
    fn set(&self, mode: Mode, stamp: bool) -> anyhow::Result<()> {
        self.drain();
        self.adjacent()?;
        let view = self.publishing.view();
        let mut wires = Vec::new();
        for port in 0..tables::PORTS.len() {
            let destination = self.shared.ports[1 - port].mac;
            let adjacency = view.tables.adjacencies.on_port(port).first();
            let outer = adjacency.context("no adjacency")?.outer.clone();
            wires.push(Wire {
                offset: outer.len(),
                outer,
                destination,
            });
        }
        let heads = match mode {
            Mode::Mac | Mode::Gateway => self.stamped.clone(),
            Mode::Name => self.unresolved.clone(),
        };
        self.belt.load(heads, wires);
        for (port, state) in self.shared.ports.iter().enumerate() {
            let to = Cross {
                port: 1 - port as u8,
                destination: self.shared.ports[1 - (1 - port)].mac,
            };
            state.tuning.set_cross((mode == Mode::Mac).then_some(to));
        }
        if self.belt.endless {
            // Null ports give what the buffers held, hellos and questions for addresses too: the buffers in use get frames first.
            self.is_on.store(true, Relaxed);
            std::thread::sleep(Duration::from_millis(50));
        }
        self.is_on.store(stamp, Relaxed);
        self.fill()
    }

    /// Takes all frames out; what of them was lost on the way is not waited for.
    fn drain(&self) {
        if self.belt.endless {
            return;
        }
        self.belt.draining.store(true, Relaxed);
        self.is_on.store(true, Relaxed);
        let mut before = u64::MAX;
        // No event tells that nothing more comes: two looks that find the same do.
        loop {
            std::thread::sleep(Duration::from_millis(20));
            let now = self.belt.drained.load(Relaxed);
            if now == before {
                break;
            }
            before = now;
        }
        self.belt.draining.store(false, Relaxed);
    }

    /// Waits until hellos have brought both adjacencies up; null ports have nobody to hear, so they are told.
    fn adjacent(&self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        let tables = self.publishing.view().tables;
        if self.belt.endless {
            for adjacency in tables.adjacencies.iter() {
                let other = self.shared.ports[1 - adjacency.config.port].mac;
                adjacency.neighbour.learn(other, u64::MAX / 4);
                adjacency.live.heard.store(u64::MAX / 4, Relaxed);
                adjacency
                    .live
                    .state
                    .store(dmsc_dataplane::adjacency::State::Up as u8, Relaxed);
            }
            return Ok(());
        }
        while !tables
            .adjacencies
            .iter()
            .all(|a| a.is_up() && a.neighbour.mac().is_some())
        {
            if Instant::now() > end {
                bail!("the two ports do not hear each other's hellos");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn fill(&self) -> anyhow::Result<()> {
        if self.belt.endless {
            return Ok(());
        }
        for wanted in &self.belt.wanted {
            wanted.store(FRAMES, Relaxed);
        }
        let end = Instant::now() + PATIENCE;
        while self.belt.wanted.iter().any(|w| w.load(Relaxed) > 0) {
            if Instant::now() > end {
                bail!("frames cannot be put into the loop");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn measure(&self, ms: u64) -> Count {
        let (before, start) = (self.read(), Instant::now());
        let stations = self.stations();
        std::thread::sleep(Duration::from_millis(ms));
        let (after, time) = (self.read(), start.elapsed());
        let now = self.stations();
        let between = |before: [u64; Station::ALL.len()], now: [u64; Station::ALL.len()]| {
            std::array::from_fn(|n| now[n] - before[n])
        };
        Count {
            stations: stations.zip(now).map(|(before, now)| between(before, now)),
            packets: after.0 - before.0,
            drops: after.1 - before.1,
            bursts: after.2 - before.2,
            ns: time.as_nanos() as u64,
        }
    }

    fn stations(&self) -> Option<[u64; Station::ALL.len()]> {
        let mut sum = [0; Station::ALL.len()];
        for worker in &self.shared.workers {
            for (sum, station) in sum.iter_mut().zip(Station::ALL) {
                *sum += worker.counters.meter.cycles(station)?;
            }
        }
        Some(sum)
    }

    /// Frames that left, frames dropped, polls that brought some.
    fn read(&self) -> (u64, u64, u64) {
        let mut sum = (0, 0, 0);
        for worker in &self.shared.workers {
            for port in &worker.counters.ports {
                sum.0 += port.tx.get();
                let drops = DropReason::ALL.iter().map(|reason| port.drops(*reason));
                sum.1 += drops.sum::<u64>();
            }
            sum.2 += worker.counters.worker.bursts.get();
        }
        sum
    }
}
