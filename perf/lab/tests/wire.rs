//! The wire between real interfaces in namespaces: what comes out is what was asked for. Needs root; says so and passes where it is not.

use std::time::Duration;

use dmsc_lab::net::{self, Batch};
use dmsc_lab::wire::pump::{Handle, Pump};
use dmsc_lab::wire::settings::{Change, Counters, Way};
use dmsc_lab::wire::socket::PacketSocket;
use dmsc_lab::{units, wait};

/// Namespaces, removed when dropped.
struct Namespaces([String; 3]);

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = net::run("ip", &["netns", "del", name]);
        }
    }
}

/// Two end namespaces with a wire between them.
struct Rig {
    names: Namespaces,
    handle: Handle,
    pump: Option<std::thread::JoinHandle<()>>,
    left: PacketSocket,
    right: PacketSocket,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(pump) = self.pump.take() {
            let _ = pump.join();
        }
    }
}

impl Rig {
    fn new(test: &str, seed: u64) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: network namespaces need root");
            return None;
        }
        let names = Namespaces(
            ["l", "w", "r"].map(|part| format!("wt{}-{test}-{part}", std::process::id())),
        );
        let [l, w, r] = &names.0;
        let mut batch = Batch::default();
        for name in &names.0 {
            batch.add(format!("netns add {name}"));
        }
        batch.add(format!(
            "link add e netns {l} mtu 9000 type veth peer name a netns {w} mtu 9000"
        ));
        batch.add(format!(
            "link add e netns {r} mtu 9000 type veth peer name b netns {w} mtu 9000"
        ));
        batch.run(None).unwrap();
        for (name, interfaces) in [(l, &["e"][..]), (r, &["e"]), (w, &["a", "b"])] {
            let mut batch = Batch::default();
            for interface in interfaces {
                let setting = format!("net.ipv6.conf.{interface}.disable_ipv6=1");
                net::run_in(name, "sysctl", &["-q", "-w", &setting]).unwrap();
                batch.add(format!("link set dev {interface} up"));
            }
            batch.run(Some(name)).unwrap();
        }
        let handle = Handle::default();
        let inner = handle.clone();
        let pump = net::inside(w, move || Ok(Pump::open("a", "b", seed, inner)?)).unwrap();
        let end = |name: &str| net::inside(name, || Ok(PacketSocket::open("e")?)).unwrap();
        Some(Self {
            left: end(l),
            right: end(r),
            handle,
            pump: Some(std::thread::spawn(move || pump.run())),
            names,
        })
    }

    fn set(&self, change: Change) {
        self.handle.set(Way::Both, true, &change).unwrap();
    }

    /// Counters of the direction from left to right, once `count` more frames than `before` came in.
    fn counters(&self, before: Counters, count: u64) -> Counters {
        wait::until(
            "the wire to take all frames",
            Duration::from_secs(5),
            || {
                let now = self.handle.read(None).counters[0];
                Ok((now.received >= before.received + count).then_some(now))
            },
        )
        .unwrap()
    }

    /// Sends numbered frames from left to right, `gap` apart; returns number and delay of each that arrived, in order.
    fn send(
        &self,
        count: u32,
        length: usize,
        gap: Duration,
        patience: Duration,
    ) -> Vec<(u32, u64)> {
        let mut arrived = Vec::new();
        let mut buffer = vec![0; 10_000];
        let mut take = |arrived: &mut Vec<_>| {
            while let Some(frame) = self.right.receive(&mut buffer) {
                let number = u32::from_be_bytes(frame[14..18].try_into().unwrap());
                let sent = u64::from_be_bytes(frame[18..26].try_into().unwrap());
                arrived.push((number, wait::monotonic_ns().saturating_sub(sent)));
            }
        };
        let start = wait::monotonic_ns();
        for number in 0..count {
            while wait::monotonic_ns() < start + u64::from(number) * gap.as_nanos() as u64 {
                take(&mut arrived);
            }
            let mut frame = vec![0u8; length];
            frame[..6].fill(0xff);
            frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
            frame[12..14].copy_from_slice(&[0x88, 0xb6]);
            frame[14..18].copy_from_slice(&number.to_be_bytes());
            frame[18..26].copy_from_slice(&wait::monotonic_ns().to_be_bytes());
            assert!(self.left.send(&frame));
        }
        let end = wait::monotonic_ns() + patience.as_nanos() as u64;
        while wait::monotonic_ns() < end {
            take(&mut arrived);
            std::thread::sleep(Duration::from_micros(200));
        }
        arrived
    }
}

const GAP: Duration = Duration::from_micros(100);
const PATIENCE: Duration = Duration::from_millis(60);

#[test]
fn a_perfect_wire_passes_large_frames_in_order() {
    let Some(rig) = Rig::new("ok", 1) else { return };
    let arrived = rig.send(500, 9_014, GAP, PATIENCE);
    let numbers: Vec<u32> = arrived.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (0..500).collect::<Vec<_>>());
}

#[test]
fn impairments_are_those_asked_for() {
    let Some(rig) = Rig::new("bad", 7) else {
        return;
    };
    rig.set(Change {
        delay_ns: Some(20_000_000),
        jitter_ns: Some(5_000_000),
        ..Change::default()
    });
    let arrived = rig.send(300, 100, GAP, PATIENCE);
    assert_eq!(arrived.len(), 300);
    assert!(arrived.iter().all(|(_, delay)| *delay >= 20_000_000));
    let mut delays: Vec<u64> = arrived.iter().map(|(_, delay)| *delay).collect();
    delays.sort_unstable();
    // The median of delay and jitter, and what a busy machine adds.
    assert!(
        (20_000_000..40_000_000).contains(&delays[150]),
        "median {} ns",
        delays[150]
    );

    let before = rig.handle.read(None).counters[0];
    rig.set(Change {
        loss: Some(0.1),
        duplicate: Some(0.1),
        reorder: Some(0.1),
        reorder_hold_ns: Some(3_000_000),
        ..Change::default()
    });
    let arrived = rig.send(2_000, 100, GAP, PATIENCE);
    let counters = rig.counters(before, 2_000);
    let lost = counters.lost - before.lost;
    let twice = counters.duplicated - before.duplicated;
    assert_eq!(arrived.len() as u64, 2_000 - lost + twice);
    // Four standard deviations of a binomial: 53.
    assert!((150..=250).contains(&lost), "lost {lost} of 2,000");
    assert!((130..=240).contains(&twice), "duplicated {twice} of 1,800");
    let backwards = arrived.windows(2).filter(|w| w[1].0 < w[0].0).count();
    assert!(backwards > 50, "only {backwards} frames were overtaken");

    rig.set(Change {
        rate_bps: Some(10_000_000),
        ..Change::default()
    });
    let start = wait::monotonic_ns();
    // 100 frames of 1,226 + 24 bytes on the cable: 1 Mbit, 100 ms at 10 Mbit/s.
    let arrived = rig.send(100, 1_226, Duration::ZERO, Duration::from_millis(160));
    assert_eq!(arrived.len(), 100);
    let last = arrived.iter().map(|(_, delay)| *delay).max().unwrap();
    assert!(
        (85_000_000..150_000_000).contains(&last),
        "the last frame took {last} ns, {} ns after the start",
        wait::monotonic_ns() - start
    );

    rig.set(Change {
        cut: Some(true),
        ..Change::default()
    });
    assert!(rig.send(50, 100, GAP, PATIENCE).is_empty());
    rig.set(Change::default());
    assert_eq!(rig.send(50, 100, GAP, PATIENCE).len(), 50);
}

#[test]
fn the_same_seed_loses_the_same_frames() {
    let numbers = |test: &str, seed| {
        let rig = Rig::new(test, seed)?;
        rig.set(Change {
            loss: Some(units::probability("20%").unwrap()),
            ..Change::default()
        });
        let arrived = rig.send(500, 100, GAP, PATIENCE);
        Some(arrived.into_iter().map(|(n, _)| n).collect::<Vec<_>>())
    };
    let Some(first) = numbers("s1", 11) else {
        return;
    };
    assert_eq!(first, numbers("s2", 11).unwrap());
    assert_ne!(first, numbers("s3", 12).unwrap());
}

#[test]
fn a_wire_survives_a_lost_carrier() {
    let Some(rig) = Rig::new("car", 1) else {
        return;
    };
    assert_eq!(rig.send(10, 100, GAP, PATIENCE).len(), 10);
    let set = |state: &str| {
        let mut batch = Batch::default();
        batch.add(format!("link set dev a {state}"));
        batch.run(Some(&rig.names.0[1])).unwrap();
    };
    set("down");
    set("up");
    let arrived = wait::until(
        "frames after the carrier is back",
        Duration::from_secs(3),
        || Ok((rig.send(10, 100, GAP, PATIENCE).len() == 10).then_some(())),
    );
    assert!(arrived.is_ok());
}

#[test]
fn a_wire_is_fast_enough_for_a_lab() {
    let Some(rig) = Rig::new("fast", 1) else {
        return;
    };
    // 20 us apart: 50,000 frames/s for half a second, on a machine that other tests use too.
    let arrived = rig.send(25_000, 200, Duration::from_micros(20), PATIENCE);
    assert!(
        arrived.len() >= 24_900,
        "{} of 25,000 arrived",
        arrived.len()
    );
}
