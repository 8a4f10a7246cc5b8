//! The process at one end, as who started it sees it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use dmsc_lab::wait;

use super::order::{Answer, Order};
use super::site::{By, Side};

/// A running end; killed when this value goes.
pub struct Process {
    child: Child,
    /// `None` once it was told that nothing comes any more.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    what: &'static str,
}

impl Process {
    /// Starts it and waits until it is in its place.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(by: By, side: Side, dir: &Path, core: usize) -> anyhow::Result<Process> {
        // The kernel ends it when this process dies, however it dies; setpriv becomes the program.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(std::env::current_exe()?)
            .args(["attach-end", "--by", by.as_str(), "--side", side.as_str()])
            .args(["--core", &core.to_string()])
            .arg("--dir")
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot run setpriv: install util-linux")?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let (Some(orders), Some(answers)) = pipes else {
            bail!("a process was started without pipes");
        };
        let mut process = Process {
            child,
            orders: Some(orders),
            answers: BufReader::new(answers),
            what: side.as_str(),
        };
        process.hear()?;
        Ok(process)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells it what to do, and waits for the answer.
    ///
    /// # Errors
    /// When it could not do it, or somebody asked to stop meanwhile.
    pub fn ask(&mut self, order: Order) -> anyhow::Result<Answer> {
        let line = serde_json::to_string(&order)? + "\n";
        let orders = self.orders.as_mut().context("it was stopped")?;
        orders
            .write_all(line.as_bytes())
            .with_context(|| format!("the {} is gone", self.what))?;
        let answer = self.hear()?;
        if wait::interrupted() {
            bail!("interrupted by a signal; everything was ended and removed");
        }
        Ok(answer)
    }

    fn hear(&mut self) -> anyhow::Result<Answer> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.is_empty() {
            bail!(
                "the {} ended before its time: {}",
                self.what,
                self.child.wait()?
            );
        }
        match serde_json::from_str(&line)? {
            Answer::Failed(error) => bail!("the {} could not go on: {error}", self.what),
            answer => Ok(answer),
        }
    }

    /// Lets it end by itself.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.orders = None;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the {} ended badly: {status}", self.what);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
