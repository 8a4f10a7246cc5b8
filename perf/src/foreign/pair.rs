//! Both senders at one router, by turns: on shared cores rates change by a factor of three within seconds, whoever sends.

use std::time::Duration;

use anyhow::ensure;
use dmsc_dpdk::{LcoreGuard, tsc_hz};
use dmsc_lab::wait;

use super::ForeignArgs;
use super::round::Turns;
use super::sender::{Plan, Sender};
use super::turn::Turn;
use crate::pcap;
use crate::rfc2544::{Generator, Order};
use crate::transit::{Idle, LINKS, Mode, NODE, OTHERS, Pinned, Pmd, Rig, Router, Wanted, pin};

/// The first turns of both, which nobody counts.
const WARM_UP: Duration = Duration::from_millis(500);
/// At the start of a turn: caches are the other's.
const GET_READY: Duration = Duration::from_millis(30);
/// Port of testpmd that receives what the router forwarded.
const RECEIVER: u16 = 2;

/// A router with a way for each, and who sends.
pub struct Pair {
    router: Router,
    generator: Generator,
    testpmd: Sender,
    _lcore: LcoreGuard,
    _pinned: Pinned,
}

impl Pair {
    /// Starts all three; testpmd is stopped when this returns.
    ///
    /// # Errors
    /// What could not be had.
    pub fn start(args: &ForeignArgs, rig: &mut Rig, mode: Mode) -> anyhow::Result<Pair> {
        let wanted = Wanted {
            ways: &[LINKS, OTHERS],
            pmd: Pmd::Memif,
            mtu: args.frame.mtu(),
            idle: Idle::Poll,
            prefixes: args.prefixes,
            mode,
        };
        let (router, mut far, pool) = rig.start_beside(wanted)?;
        let dir = rig.dir();
        let (traffic, hellos) = (dir.join("traffic.pcap"), dir.join("hellos.pcap"));
        let router_is = (NODE.0, router.boot_nonce()?);
        let frames = args.frames_of(mode);
        let what = (mode, args.frame, frames, args.prefixes);
        pcap::write_traffic(&traffic, OTHERS, what, Some(router_is), None)?;
        pcap::write_hellos(&hellos, OTHERS[1], router_is, wanted.mtu, 64, None)?;
        let mut testpmd = Sender::start(&Plan {
            core: rig.own_core,
            traffic,
            hellos,
            sockets: OTHERS.map(|link| link.socket(dir)),
            frames: frames + 2,
            buffer_size: 2_048.max(wanted.mtu.next_multiple_of(64) + 64),
            huge: rig.has_hugepages(),
        })?;
        router.wait_carrier()?;
        testpmd.begin()?;
        router.wait_up(&mut far)?;
        testpmd.pause()?;
        let [source, sink] = far;
        // The same names in the same order.
        let names = (frames as usize, args.prefixes);
        let generator = Generator::new((source, sink), &pool, mode, args.frame, names);
        let mut pair = Pair {
            router,
            generator,
            testpmd,
            _lcore: rig.register()?,
            _pinned: pin(rig.own_core)?,
        };
        pair.generator.run(order(WARM_UP));
        pair.turn_of_testpmd(WARM_UP)?;
        Ok(pair)
    }

    /// As many turns of each, of this length.
    ///
    /// # Errors
    /// When somebody does not answer, and once a signal came.
    pub fn turns(&mut self, (count, length): (u32, Duration)) -> anyhow::Result<Vec<Turns>> {
        let mut turns = Vec::new();
        for number in 0..count {
            // Who is first changes, so that what grows or shrinks all the time favours nobody.
            turns.push(if number % 2 == 0 {
                let ours = self.own_turn(length)?;
                let testpmd = self.turn_of_testpmd(length)?;
                Turns { ours, testpmd }
            } else {
                let testpmd = self.turn_of_testpmd(length)?;
                let ours = self.own_turn(length)?;
                Turns { ours, testpmd }
            });
        }
        Ok(turns)
    }

    fn own_turn(&mut self, length: Duration) -> anyhow::Result<Turn> {
        wait::pause(Duration::ZERO)?;
        self.generator.run(order(GET_READY));
        let before = self.router.work()?;
        let trial = self.generator.run(order(length));
        let after = self.router.work()?;
        Ok(Turn::new(trial.rate(), trial.seconds, &before, &after))
    }

    fn turn_of_testpmd(&mut self, length: Duration) -> anyhow::Result<Turn> {
        self.testpmd.resume()?;
        wait::pause(GET_READY)?;
        let before = self.router.work()?;
        self.testpmd.rate(RECEIVER)?;
        wait::pause(length)?;
        let rate = self.testpmd.rate(RECEIVER)?;
        ensure!(
            rate > 0.0,
            "of what testpmd sends nothing comes back from the router"
        );
        let after = self.router.work()?;
        self.testpmd.pause()?;
        let cycles = after.now_cycles.saturating_sub(before.now_cycles);
        let seconds = cycles as f64 / tsc_hz() as f64;
        Ok(Turn::new(rate, seconds, &before, &after))
    }

    /// Ends all three.
    ///
    /// # Errors
    /// When one does not end well.
    pub fn stop(self) -> anyhow::Result<()> {
        // First: a worker that polls memif while the other end goes may read a ring that the driver has just unmapped.
        self.router.stop()?;
        self.testpmd.stop()
    }
}

fn order(length: Duration) -> Order {
    Order {
        rate: None,
        seconds: length.as_secs_f64(),
        latency: false,
    }
}
