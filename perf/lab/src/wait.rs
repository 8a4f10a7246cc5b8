//! Waiting for events, with an end: a deadline, or somebody who asks the lab to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Asks every wait of this process to end with an error, so that the lab is taken down in order.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// Whether somebody asked to stop.
#[must_use]
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Turns SIGINT, SIGTERM and SIGHUP into [`interrupt`], for the rest of the life of this process.
///
/// # Errors
/// When no thread or signal handler can be made.
pub fn catch_signals() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot start the thread that listens for signals")?;
    let mut streams = Vec::new();
    {
        use tokio::signal::unix::{SignalKind, signal};
        let _inside = runtime.enter();
        for kind in [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ] {
            streams.push(signal(kind).context("cannot listen for signals")?);
        }
    }
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async move {
                loop {
                    let any = streams.iter_mut().map(|s| Box::pin(s.recv()));
                    futures::future::select_all(any).await;
                    interrupt();
                }
            });
        })?;
    Ok(())
}

/// Sleeps, unless somebody asks to stop.
///
/// # Errors
/// When interrupted.
pub fn pause(time: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + time;
    loop {
        if interrupted() {
            bail!("interrupted");
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(20)));
    }
}

/// Sleeps until the monotonic clock reads `at_ns`.
///
/// # Errors
/// When interrupted.
pub fn pause_until(at_ns: u64) -> anyhow::Result<()> {
    pause(Duration::from_nanos(at_ns.saturating_sub(monotonic_ns())))
}

/// Asks `condition` again and again until it gives a value. `Ok(None)` and errors mean "not yet".
///
/// # Errors
/// When interrupted, or after `limit`: the error then says what was waited for and why the last attempt was not it.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let end = Instant::now() + limit;
    let mut step = Duration::from_millis(5);
    loop {
        if interrupted() {
            bail!("interrupted while waiting for {what}");
        }
        let result = condition();
        if let Ok(Some(value)) = result {
            return Ok(value);
        }
        if Instant::now() >= end {
            return match result {
                Err(error) => {
                    Err(error.context(format!("waited {} s for {what}", limit.as_secs_f32())))
                }
                _ => bail!("waited {} s for {what}", limit.as_secs_f32()),
            };
        }
        std::thread::sleep(step);
        step = (step * 2).min(Duration::from_millis(50));
    }
}

/// Nanoseconds of CLOCK_MONOTONIC, the clock on which all processes of a lab agree.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .expect("CLOCK_MONOTONIC exists on every Linux");
    u64::try_from(now.tv_sec()).unwrap_or(0) * 1_000_000_000
        + u64::try_from(now.tv_nsec()).unwrap_or(0)
}
