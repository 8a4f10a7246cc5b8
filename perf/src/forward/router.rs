//! The measured router as the command sees it: a process that is told what to do, and stopped while the peer runs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use dmsc_lab::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Mode;
use super::child::{Answer, Count, Order, RouterArgs};

/// Between two looks for a signal while an answer is waited for.
const LOOK: Duration = Duration::from_millis(100);

/// The process; killed when dropped.
pub struct Router {
    child: Child,
    orders: Option<ChildStdin>,
    answers: Receiver<String>,
    stopped: bool,
}

/// What it said of its tables.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Prefixes in the table.
    pub prefixes: usize,
    /// Seconds that loading took.
    pub seconds: f64,
    /// Of these, with names that do not fit into the frame.
    pub too_long: usize,
    /// How it is linked with DPDK.
    pub linking: String,
}

impl Router {
    /// Starts it and waits until its tables are loaded.
    ///
    /// # Errors
    /// What it says when it cannot.
    pub fn start(args: &RouterArgs) -> anyhow::Result<(Router, Loaded)> {
        Router::start_by(&std::env::current_exe()?, args)
    }

    /// As [`Router::start`], by another build of this program.
    ///
    /// # Errors
    /// What it says when it cannot.
    pub fn start_by(program: &Path, args: &RouterArgs) -> anyhow::Result<(Router, Loaded)> {
        std::fs::create_dir_all(&args.dir)?;
        let log_path = args.dir.join("router.log");
        let log = std::fs::File::create(&log_path)?;
        let mut command = Command::new("setpriv");
        // It goes when this process is killed, also while it is stopped; a signal from the terminal is for this process alone.
        command.args(["--pdeathsig", "KILL"]).process_group(0);
        command.arg(program).arg("forward-router").args(words(args));
        // Tables of a million names miss the TLB otherwise; see dataplane/fib/README.md.
        command.env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = command
            .spawn()
            .context("cannot run setpriv: install util-linux")?;
        let orders = child.stdin.take();
        let answers = child.stdout.take().context("no standard output")?;
        let mut router = Router {
            child,
            orders,
            answers: lines_of(answers),
            stopped: false,
        };
        let loaded = router.answer().map_err(|error| {
            let log = std::fs::read_to_string(&log_path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            match lines[lines.len().saturating_sub(8)..].join("\n") {
                none if none.is_empty() => error,
                log => error.context(log),
            }
        })?;
        match loaded {
            Answer::Loaded {
                prefixes,
                seconds,
                too_long,
                linking,
            } => Ok((
                router,
                Loaded {
                    prefixes,
                    seconds,
                    too_long,
                    linking,
                },
            )),
            other => bail!("the router says {other:?} instead of that it is loaded"),
        }
    }

    fn answer(&mut self) -> anyhow::Result<Answer> {
        let line = loop {
            match self.answers.recv_timeout(LOOK) {
                Ok(line) => break line,
                Err(RecvTimeoutError::Timeout) => wait::pause(Duration::ZERO)?,
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the router has ended: {}", self.child.wait()?)
                }
            }
        };
        match serde_json::from_str(&line)? {
            Answer::Failed(reason) => bail!("the router: {reason}"),
            answer => Ok(answer),
        }
    }

    fn order(&mut self, order: Order) -> anyhow::Result<Answer> {
        self.go()?;
        let orders = self.orders.as_mut().context("the router ends")?;
        writeln!(orders, "{}", serde_json::to_string(&order)?)?;
        orders.flush()?;
        self.answer()
    }

    /// Has it forward so.
    ///
    /// # Errors
    /// When it cannot.
    pub fn set(&mut self, mode: Mode, stamp: bool) -> anyhow::Result<()> {
        self.order(Order::Set { mode, stamp }).map(|_| ())
    }

    /// Counts for so long.
    ///
    /// # Errors
    /// When it has ended.
    pub fn measure(&mut self, ms: u64) -> anyhow::Result<Count> {
        match self.order(Order::Measure { ms })? {
            Answer::Count(count) => Ok(count),
            other => bail!("the router says {other:?} instead of a count"),
        }
    }

    /// Stops the whole process, so that it takes no time from the peer.
    ///
    /// # Errors
    /// When it is gone.
    pub fn pause(&mut self) -> anyhow::Result<()> {
        kill(self.pid(), Signal::SIGSTOP)?;
        self.stopped = true;
        Ok(())
    }

    fn go(&mut self) -> anyhow::Result<()> {
        if self.stopped {
            kill(self.pid(), Signal::SIGCONT)?;
            self.stopped = false;
        }
        Ok(())
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.go();
        drop(self.orders.take());
        // It ends when its input ends; what hangs, or still loads when somebody asks to stop, is ended.
        let end = Instant::now() + Duration::from_secs(10);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > end || wait::interrupted() {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn lines_of(output: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return; // nobody waits any more
            }
        }
    });
    lines
}

/// The command line of `args`.
pub fn words(args: &RouterArgs) -> Vec<String> {
    let cores: Vec<String> = args.cores.iter().map(usize::to_string).collect();
    let mut words = vec![
        format!("--dir={}", args.dir.display()),
        format!("--pmd={}", args.pmd),
        format!("--carrier={}", args.carrier),
        format!("--prefixes={}", args.prefixes),
        format!("--traffic={}", args.traffic),
        format!("--draws={}", args.draws),
        format!("--frame={}", args.frame),
        format!("--cores={}", cores.join(",")),
    ];
    if !args.interfaces.is_empty() {
        words.push(format!("--interfaces={}", args.interfaces.join(",")));
    }
    if args.no_huge {
        words.push("--no-huge".into());
    }
    if let Some(count) = args.count {
        words.push(format!("--count={count}"));
    }
    if let Some(mode) = args.mode {
        words.push(format!("--mode={mode}"));
    }
    if let Some(names) = &args.names {
        words.push(format!("--names={}", names.display()));
    }
    words
}
