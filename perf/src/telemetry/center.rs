//! The scheduling center as a process: started, watched and ended.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::{PATIENCE, TelemetryArgs};

/// The center, killed when dropped.
pub(super) struct Center(Child);

impl Center {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Center {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn start(
    args: &TelemetryArgs,
    folder: &Path,
    address: SocketAddr,
) -> anyhow::Result<Center> {
    let program = match &args.program {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("dmsc-controlplane"),
    };
    let place = folder.display();
    let config = folder.join("scsc.toml");
    let text = format!(
        "[scsc]\nname = \"scsc1\"\nreplica = 1\nlisten = \"{address}\"\ncredentials = \"{place}/scsc1\"\nstate_dir = \"{place}/state\"\n\
         [[threshold]]\ndelay_ms = {{ raise = 50, clear = 40 }}\n"
    );
    std::fs::write(&config, text)?;
    let child = Command::new(&program)
        .args(["scsc", "--config"])
        .arg(&config)
        .env("DMSC_LOG", "warn")
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| {
            format!(
                "{}: cannot be started; name it with --program",
                program.display()
            )
        })?;
    Ok(Center(child))
}

pub(super) fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

pub(super) async fn wait_until_it_listens(address: SocketAddr) -> anyhow::Result<()> {
    let begun = Instant::now();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        if begun.elapsed() > PATIENCE {
            bail!("the scheduling center does not listen at {address}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// CPU time of a process, all threads.
pub(super) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .context("the scheduling center is gone")?;
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let ticks = |at: usize| {
        fields
            .split_whitespace()
            .nth(at)
            .and_then(|t| t.parse::<u64>().ok())
    };
    let (user, system) = ticks(11).zip(ticks(12)).context("/proc/PID/stat")?;
    // Linux tells them in hundredths of a second, whatever its own clock is.
    Ok(Duration::from_millis((user + system) * 10))
}

pub(super) fn memory(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.context("/proc/PID/status: VmHWM")?.trim().parse()?;
    Ok(kib << 10)
}
