//! A vhost port, and dmsc-vhost as its guest: what each sends the other gets as it was, either end sleeps and is woken, and either goes away and comes back.

mod common;

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{eal, pair};
use dmsc_dpdk::{Burst, Device, Eal, Mempool, MempoolConfig, Port as HostPort, PortConfig};
use dmsc_vhost::{Config, Port, VhostError};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

const PATIENCE: Duration = Duration::from_secs(30);

/// The host's end, which sends back what it gets and sleeps when there is nothing.
struct Host {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    fn start(eal: &Eal, pool: &Mempool, name: &str, path: &Path) -> Host {
        let device = Device::Vhost {
            path: path.to_str().unwrap().into(),
            queues: 1,
            client: false,
        };
        let config = PortConfig {
            rx_descriptors: 256,
            tx_descriptors: 256,
            ..PortConfig::new(pool)
        };
        let port = HostPort::create(eal, name, &device).unwrap();
        let (handle, mut rx, mut tx) = pair(port.start(config).unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut burst = Burst::new();
            let mut turn = || {
                let received = rx.burst(&mut burst);
                let end = Instant::now() + PATIENCE;
                while !burst.is_empty() && handle.link_up() {
                    tx.burst(&mut burst);
                    assert!(Instant::now() < end, "the guest takes nothing");
                }
                burst.clear(); // of a guest that went
                received
            };
            while !stopped.load(Relaxed) {
                while turn() > 0 {}
                // Each guest kicks by another descriptor.
                let Some(fd) = handle.poll_fds(0).pop() else {
                    continue;
                };
                fd.arm();
                if turn() > 0 {
                    continue;
                }
                let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, 20_u16).unwrap();
                fd.wake();
            }
        });
        Host {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Attaches as soon as the host has let go of who was there before.
fn attach(path: &Path) -> Port {
    let config = Config {
        patience: PATIENCE,
        ..Config::default()
    };
    Port::connect(path, config).unwrap()
}

/// Whether it becomes readable in time.
fn wait(what: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(what.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::try_from(PATIENCE).unwrap()).unwrap() == 1
}

/// A frame that tells which it is.
fn frame(number: u32, length: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..length as u32)
        .map(|at| (at * 7 + number) as u8)
        .collect();
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
    frame[14..18].copy_from_slice(&number.to_be_bytes());
    frame
}

/// Sends frames of these lengths, no more than `window` of them under way, and compares what comes back.
fn echo(port: &mut Port, lengths: &[usize], window: usize) {
    let (mut sent, mut back) = (0, 0);
    while back < lengths.len() {
        while sent < lengths.len() && sent - back < window {
            let frame = frame(sent as u32, lengths[sent]);
            let (header, payload) = frame.split_at(14);
            if !port.transmit.push(&[header, b"", payload]).unwrap() {
                break;
            }
            sent += 1;
        }
        port.transmit.flush().unwrap();
        let shown = port.receive.receive(&mut |got| {
            assert!(got == frame(back as u32, lengths[back]), "frame {back}");
            back += 1;
            true
        });
        if shown.unwrap() == 0 && port.receive.arm().unwrap() {
            assert!(wait(&port.receive), "{back} of {}", lengths.len());
            let _ = port.receive.call().read();
        }
    }
}

#[test]
fn a_guest_without_dpdk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vhost.sock");
    let eal = eal(128);
    let config = MempoolConfig {
        count: 4_095,
        cache: 0,
        data_room: 10_240,
    };
    let pool = Mempool::new(&eal, "p", config).unwrap();
    let nobody = Port::connect(&path, Config::default());
    assert!(matches!(nobody, Err(VhostError::Connect { .. })));

    let host = Host::start(&eal, &pool, "h", &path);
    let mut port = attach(&path);
    echo(&mut port, &[60], 1);
    let around = (4_000..4_200).chain(8_100..8_300).chain(8_900..9_019);
    echo(&mut port, &around.collect::<Vec<_>>(), 16);
    echo(&mut port, &[9_018; 1_000], 40);
    // So many that every index wraps.
    echo(&mut port, &vec![64; 70_000], 128);
    assert_eq!(port.receive.too_long(), 0);
    let long = port.transmit.push(&[&[0; 9_019]]);
    assert!(matches!(long, Err(VhostError::TooLong { .. })));
    // Nobody is woken who is awake.
    let before = port.transmit.kicks();
    echo(&mut port, &[1_200; 64], 64);
    assert!(port.transmit.kicks() <= before + 2);
    no_room_here(&mut port);
    assert!(!port.line.is_down());

    // One at a time, and one after another.
    let second = Port::connect(&path, Config::default());
    assert!(matches!(second, Err(VhostError::InUse { .. })));
    echo(&mut port, &[60, 9_000], 1);
    drop(port);
    let mut port = attach(&path);
    echo(&mut port, &[60, 9_000], 1);

    drop(host);
    assert!(wait(&port.line) && port.line.is_down());
    // Nobody takes them any more, which is no error.
    while port.transmit.push(&[&[0; 1_000]]).unwrap() {
        port.transmit.flush().unwrap();
    }
    assert!(port.transmit.arm().unwrap());
    drop(port);
    let _host = Host::start(&eal, &pool, "h2", &path);
    let mut port = attach(&path);
    echo(&mut port, &[60, 9_000], 1);
}

/// A frame for which there is no room is shown again.
fn no_room_here(port: &mut Port) {
    for number in 0..3 {
        assert!(port.transmit.push(&[&frame(number, 100)]).unwrap());
    }
    port.transmit.flush().unwrap();
    let mut shown = Vec::new();
    while shown.len() < 6 {
        let looked = port.receive.receive(&mut |got| {
            shown.push(got[17]);
            shown.len() % 2 == 0
        });
        looked.unwrap();
        if shown.len() < 6 && port.receive.arm().unwrap() {
            assert!(wait(&port.receive));
        }
    }
    assert_eq!(shown, [0, 0, 1, 1, 2, 2]);
}
