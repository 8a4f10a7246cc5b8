//! The load generator: a closed loop for the highest rate, an open loop for everything else. One thread, so that it takes one core at most.

mod caller;
mod record;
mod schedule;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use caller::{Caller, Way};
pub use caller::{GRPC_STATUS, Question, Target};
use record::Record;
pub use record::Seen;
use schedule::Schedule;

/// Callers of an open loop: calls that can be under way at once.
const OPEN_CALLERS: usize = 64;
/// How long answers are waited for after the last request was due.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a call to every host may take.
const PROBE: Duration = Duration::from_secs(15);
/// Failures after which a load is given up.
const HOPELESS: u64 = 10_000;

/// Who decides when the next request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// The last answer: so many calls are under way all the time.
    Closed(usize),
    /// The clock: requests per second.
    Open(u64),
}

/// A load.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where calls go.
    pub target: Target,
    /// What is asked.
    pub question: Question,
    /// How fast.
    pub pace: Pace,
    /// Before anything counts, s.
    pub warm_up: f64,
    /// The window that counts, s.
    pub seconds: f64,
}

/// A load's result: what it saw, and what was sampled at both ends of the window.
#[derive(Debug)]
pub struct Loaded<S> {
    /// What it saw.
    pub seen: Seen,
    /// Right answers between both samples; of an open loop others than those due in the window.
    pub between: u64,
    /// At the beginning and the end of the window.
    pub samples: [S; 2],
}

struct Shared {
    load: Load,
    way: Way,
    began: Instant,
    /// Of an open loop: when requests were due that nobody has sent, ns after `began`.
    due: RefCell<VecDeque<u64>>,
    wake: Notify,
    record: RefCell<Record>,
    /// Of those due in the window of an open loop, or begun in that of a closed one.
    window: Cell<[u64; 2]>,
    pending: Cell<u64>,
    /// All right answers.
    answers: Cell<u64>,
    calls: Cell<u64>,
    stop: Cell<bool>,
}

impl Shared {
    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn counts(&self, at: u64) -> bool {
        let [from, to] = self.window.get();
        (from..to).contains(&at)
    }
}

/// Runs `load` in the network namespace of the calling thread; `sample` is called at both ends of the window.
///
/// # Errors
/// When nothing can be reached, nearly everything fails, or somebody asks to stop.
pub fn run<S>(load: &Load, sample: impl Fn() -> S) -> anyhow::Result<Loaded<S>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    let result = local.block_on(&runtime, all(load, sample));
    drop(local);
    result
}

/// One call to every host.
///
/// # Errors
/// What went wrong.
pub fn probe(target: &Target, question: &Question) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let once = async {
            let way = Way::open(target).await?;
            let mut caller = Caller::connect(&way, question).await?;
            for number in 0..question.hosts.len() {
                caller.call(question, number as u64).await?;
            }
            way.close().await;
            anyhow::Ok(())
        };
        let asked_to_stop = async {
            while !dmsc_lab::wait::interrupted() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            done = tokio::time::timeout(PROBE, once) => match done {
                Ok(done) => done,
                Err(_) => bail!("no answer from {target} within {} s", PROBE.as_secs()),
            },
            () = asked_to_stop => bail!("interrupted"),
        }
    })
}

async fn all<S>(load: &Load, sample: impl Fn() -> S) -> anyhow::Result<Loaded<S>> {
    let callers = match load.pace {
        Pace::Closed(callers) => callers,
        Pace::Open(_) => OPEN_CALLERS,
    };
    let way = Way::open(&load.target).await?;
    let mut connected: Vec<Caller> = Vec::with_capacity(callers);
    while connected.len() < callers {
        let shared = connected
            .last()
            .and_then(|last| last.share(connected.len()));
        connected.push(match shared {
            Some(caller) => caller,
            None => Caller::connect(&way, &load.question)
                .await
                .with_context(|| format!("cannot reach {}", load.target))?,
        });
    }
    let from = (load.warm_up * 1e9) as u64;
    let shared = Rc::new(Shared {
        load: load.clone(),
        way,
        began: Instant::now(),
        due: RefCell::default(),
        wake: Notify::new(),
        record: RefCell::default(),
        window: Cell::new([from, from + (load.seconds * 1e9) as u64]),
        pending: Cell::new(0),
        answers: Cell::new(0),
        calls: Cell::new(0),
        stop: Cell::new(false),
    });
    let tasks: Vec<_> = connected
        .into_iter()
        .map(|caller| {
            let shared = Rc::clone(&shared);
            tokio::task::spawn_local(async move {
                match shared.load.pace {
                    Pace::Closed(_) => closed(&shared, caller).await,
                    Pace::Open(_) => open(&shared, caller).await,
                }
            })
        })
        .collect();
    let clock = match load.pace {
        Pace::Closed(_) => None,
        Pace::Open(rate) => {
            let shared = Rc::clone(&shared);
            let schedule = Schedule::new(rate, load.warm_up + load.seconds);
            Some(tokio::task::spawn_local(async move {
                tick(&shared, schedule).await
            }))
        }
    };
    let [from, to] = shared.window.get();
    sleep_until(&shared, from).await?;
    let (first, answers, at) = (sample(), shared.answers.get(), shared.now());
    sleep_until(&shared, to).await?;
    let last = sample();
    let between = shared.answers.get() - answers;
    let seconds = (shared.now() - at) as f64 / 1e9;
    if let Some(clock) = clock {
        clock.await??;
        let end = Instant::now() + PATIENCE;
        while shared.pending.get() > 0 && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    shared.stop.set(true);
    for task in &tasks {
        task.abort();
    }
    for task in tasks {
        let _ = task.await; // it was ended on purpose
    }
    let shared = Rc::into_inner(shared).context("a task of the load did not end")?;
    shared.way.close().await;
    let record = shared.record.into_inner();
    if record.failed() > record.answered() {
        bail!(
            "of calls to {} most failed: {:?}",
            load.target,
            record.seen(seconds, 0).reasons
        );
    }
    Ok(Loaded {
        seen: record.seen(
            match load.pace {
                Pace::Closed(_) => seconds,
                Pace::Open(_) => load.seconds,
            },
            shared.pending.get(),
        ),
        between,
        samples: [first, last],
    })
}

async fn sleep_until(shared: &Shared, at_ns: u64) -> anyhow::Result<()> {
    loop {
        if dmsc_lab::wait::interrupted() {
            bail!("interrupted by a signal; everything was ended and removed");
        }
        if shared.record.borrow().failed() > HOPELESS {
            bail!(
                "more than {HOPELESS} calls to {} failed: {:?}",
                shared.load.target,
                shared.record.borrow().seen(1.0, 0).reasons
            );
        }
        let left = at_ns.saturating_sub(shared.now());
        if left == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_nanos(left).min(Duration::from_millis(100))).await;
    }
}

/// Makes requests due, when they are: a timer of the kernel, because that of the runtime has a grain of 1 ms.
async fn tick(shared: &Shared, mut schedule: Schedule) -> anyhow::Result<()> {
    let timer = TimerFd::new(
        ClockId::CLOCK_MONOTONIC,
        TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
    )?;
    let every = Duration::from_nanos(schedule.interval_ns());
    timer.set(
        Expiration::IntervalDelayed(every.into(), every.into()),
        TimerSetTimeFlags::empty(),
    )?;
    // Its successor is unsafe because of types that may change their descriptor; this one cannot.
    #[allow(deprecated)]
    let timer = AsyncFd::with_interest(OwnedFd::from(timer), Interest::READABLE)?;
    while !schedule.done() && !shared.stop.get() {
        while let Some(at) = schedule.take(shared.now()) {
            if shared.counts(at) {
                shared.pending.set(shared.pending.get() + 1);
            }
            shared.due.borrow_mut().push_back(at);
            shared.wake.notify_one();
        }
        let mut ready = timer.readable().await?;
        let mut expirations = [0; 8];
        // How often it fired does not matter: the clock tells what is due.
        let _ = nix::unistd::read(timer.get_ref().as_fd(), &mut expirations);
        ready.clear_ready();
    }
    Ok(())
}

async fn open(shared: &Shared, mut caller: Caller) {
    loop {
        let due = shared.due.borrow_mut().pop_front();
        let Some(at) = due else {
            shared.wake.notified().await;
            continue;
        };
        let counts = shared.counts(at);
        if counts {
            let lag = schedule::latency(at, shared.now());
            shared.record.borrow_mut().sent(lag);
        }
        let result = call(shared, &mut caller).await;
        let now = shared.now();
        if counts {
            shared.pending.set(shared.pending.get() - 1);
            let mut record = shared.record.borrow_mut();
            match &result {
                Ok(()) => record.answer(schedule::latency(at, now)),
                Err(reason) => record.failure(reason),
            }
        }
    }
}

async fn closed(shared: &Shared, mut caller: Caller) {
    while !shared.stop.get() {
        let sent = shared.now();
        let result = call(shared, &mut caller).await;
        let now = shared.now();
        if shared.counts(now) {
            let mut record = shared.record.borrow_mut();
            match &result {
                Ok(()) => record.answer(now - sent),
                Err(reason) => record.failure(reason),
            }
        }
    }
}

/// A call; after a failure the caller has a new connection, if there is one to be had.
async fn call(shared: &Shared, caller: &mut Caller) -> Result<(), String> {
    let number = shared.calls.get();
    shared.calls.set(number + 1);
    let question = &shared.load.question;
    match caller.call(question, number).await {
        Ok(()) => {
            shared.answers.set(shared.answers.get() + 1);
            Ok(())
        }
        Err(error) => {
            let new = match caller.breaks() {
                true => Caller::connect(&shared.way, question).await.ok(),
                false => None,
            };
            match new {
                Some(new) => *caller = new,
                // Not asked again and again without a pause.
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
            Err(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
