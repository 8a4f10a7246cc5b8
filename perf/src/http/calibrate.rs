//! What single things cost on this machine, measured alone: what cannot be told apart in a running process is reckoned with these.

use std::io::{Read as _, Write as _};
use std::time::Instant;

use anyhow::Context as _;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde::Serialize;

/// Rounds of each measurement.
const TIMES: u32 = 20_000;
/// Head of a request or an answer, bytes, about.
const HEAD: usize = 128;

/// Prices.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Prices {
    /// A thread goes to sleep and is woken by another on the same core, which is busy all the time; the two system calls included, µs of CPU time.
    pub wake_up_busy_us: f64,
    /// The same by a thread on another core, while each core is idle in turn.
    pub wake_up_idle_us: f64,
    /// One request and its answer are sealed and opened once, AES-128-GCM, µs.
    pub crypto_us: f64,
}

impl Prices {
    /// Measures them; takes a fraction of a second.
    ///
    /// # Errors
    /// When there are no pipes.
    pub fn measure(size: usize, cores: &[usize]) -> anyhow::Result<Self> {
        let first = cores.first().copied().unwrap_or(0);
        let last = cores.last().copied().unwrap_or(0);
        let price = |cores| wake_up(cores).context("cannot measure what a wake-up costs");
        Ok(Self {
            wake_up_busy_us: price([first, first])?,
            wake_up_idle_us: price([first, last])?,
            crypto_us: crypto(HEAD) + crypto(HEAD + size),
        })
    }
}

fn cpu_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(0, |time| {
        u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000_000
            + u64::try_from(time.tv_nsec()).unwrap_or(0)
    })
}

/// The calling thread runs on `core` from here on.
fn stay_on(core: usize) -> nix::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set)
}

/// Two threads on `cores` that wake each other by a byte in a pipe.
fn wake_up(cores: [usize; 2]) -> std::io::Result<f64> {
    let (mut here_in, mut there_out) = std::io::pipe()?;
    let (mut there_in, mut here_out) = std::io::pipe()?;
    let [here, there] = cores;
    let echo = std::thread::spawn(move || {
        stay_on(there)?;
        let mut byte = [0];
        while there_in.read(&mut byte)? == 1 {
            there_out.write_all(&byte)?;
        }
        std::io::Result::Ok(())
    });
    // Of its own, so that only it stays on a core.
    let caller = std::thread::spawn(move || {
        stay_on(here)?;
        let before = cpu_ns();
        let mut byte = [0];
        for _ in 0..TIMES {
            here_out.write_all(&byte)?;
            here_in.read_exact(&mut byte)?;
        }
        std::io::Result::Ok(cpu_ns() - before)
    });
    let panicked = |_| std::io::Error::other("a thread panicked");
    let used = caller.join().map_err(panicked)?;
    echo.join().map_err(panicked)??;
    Ok(used? as f64 / f64::from(2 * TIMES) / 1_000.0)
}

/// Sealing and opening `length` bytes, µs.
fn crypto(length: usize) -> f64 {
    let Ok(key) = UnboundKey::new(&AES_128_GCM, &[7; 16]) else {
        return 0.0; // the key has the right length
    };
    let key = LessSafeKey::new(key);
    let nonce = || Nonce::assume_unique_for_key([0; 12]);
    let mut buffer = vec![0; length];
    let began = Instant::now();
    for _ in 0..TIMES {
        buffer.truncate(length);
        let sealed = key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut buffer);
        let opened = key.open_in_place(nonce(), Aad::empty(), &mut buffer);
        if sealed.is_err() || opened.is_err() {
            return 0.0;
        }
    }
    began.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES)
}

#[cfg(test)]
mod tests {
    use nix::sched::sched_getaffinity;

    use super::*;

    #[test]
    fn prices_are_those_of_a_computer() {
        let allowed = sched_getaffinity(Pid::from_raw(0)).expect("cores");
        let cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core) == Ok(true));
        let cores: Vec<usize> = cores.take(2).collect();
        let prices = Prices::measure(1_024, &cores).expect("pipes");
        assert!(
            (0.1..1_000.0).contains(&prices.wake_up_busy_us),
            "{prices:?}"
        );
        assert!(
            (0.1..1_000.0).contains(&prices.wake_up_idle_us),
            "{prices:?}"
        );
        assert!((0.05..1_000.0).contains(&prices.crypto_us), "{prices:?}");
    }
}
