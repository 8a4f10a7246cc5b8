//! What single things cost on this machine, measured alone: what cannot be told apart in a running process is reckoned with these.

use std::io::{Read as _, Write as _};
use std::time::Instant;

use anyhow::Context as _;
use nix::time::{ClockId, clock_gettime};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde::Serialize;

/// Rounds of each measurement.
const TIMES: u32 = 20_000;
/// Head of a request or an answer, bytes, about.
const HEAD: usize = 128;

/// Prices.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Prices {
    /// A thread goes to sleep and is woken by another, the two system calls included, µs of CPU time.
    pub wake_up_us: f64,
    /// One request and its answer are sealed and opened once, AES-128-GCM, µs.
    pub crypto_us: f64,
}

impl Prices {
    /// Measures them; takes a fraction of a second.
    ///
    /// # Errors
    /// When there are no pipes.
    pub fn measure(size: usize) -> anyhow::Result<Self> {
        Ok(Self {
            wake_up_us: wake_up().context("cannot measure what a wake-up costs")?,
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

/// Two threads that wake each other by a byte in a pipe.
fn wake_up() -> std::io::Result<f64> {
    let (mut here_in, mut there_out) = std::io::pipe()?;
    let (mut there_in, mut here_out) = std::io::pipe()?;
    let other = std::thread::spawn(move || {
        let mut byte = [0];
        while there_in.read(&mut byte).is_ok_and(|n| n == 1) {
            if there_out.write_all(&byte).is_err() {
                break;
            }
        }
    });
    let before = cpu_ns();
    let mut byte = [0];
    for _ in 0..TIMES {
        here_out.write_all(&byte)?;
        here_in.read_exact(&mut byte)?;
    }
    let used = cpu_ns() - before;
    drop(here_out);
    let _ = other.join(); // it ends with the pipe
    Ok(used as f64 / f64::from(2 * TIMES) / 1_000.0)
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
    use super::*;

    #[test]
    fn prices_are_those_of_a_computer() {
        let prices = Prices::measure(1_024).expect("pipes");
        assert!((0.1..1_000.0).contains(&prices.wake_up_us), "{prices:?}");
        assert!((0.05..1_000.0).contains(&prices.crypto_us), "{prices:?}");
    }
}
