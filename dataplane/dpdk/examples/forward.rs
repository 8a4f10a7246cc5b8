//! The loop of a worker, whole: receive a burst, change it, transmit it, count, and wait when there is nothing to do.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Parser;
use dmsc_dpdk::{
    Burst, Device, Eal, EalConfig, Huge, Mempool, MempoolConfig, Port, PortConfig, PortHandle,
    RxQueue, TxQueue, Woken,
};
use nix::poll::{PollFd, PollFlags, poll};

/// Forwards between two ports on one core, exchanging Ethernet addresses.
#[derive(Parser)]
#[command(after_help = "\
Examples:
  forward --seconds 1                     two null ports: the cost of the loop itself
  forward veth0 veth1 --seconds 10        between two kernel interfaces (root)
  forward veth0 veth1 --huge yes --json   figures as JSON")]
struct Args {
    /// Two kernel interfaces; none: two null ports
    #[arg(num_args = 0..=2)]
    interfaces: Vec<String>,
    /// How long
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// yes, no or auto
    #[arg(long, default_value = "auto")]
    huge: String,
    /// Figures as JSON
    #[arg(long)]
    json: bool,
}

/// Times that a full transmit queue is tried before packets are dropped.
const RETRIES: usize = 4;
/// Empty polls before the worker blocks.
const PATIENCE: u32 = 64;

#[derive(Default)]
struct Counters {
    received: u64,
    sent: u64,
    dropped: u64,
    waits: u64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let huge = match args.huge.as_str() {
        "yes" => Huge::Yes,
        "no" => Huge::No,
        "auto" => Huge::Auto,
        other => {
            bail!("--huge {other}: yes, no or auto is wanted")
        }
    };
    let devices: Vec<Device> = match args.interfaces.as_slice() {
        [] => vec![
            Device::Null {
                size: 64,
                copy: false,
                no_rx: false
            };
            2
        ],
        [a, b] => [a, b].map(Device::af_packet).into(),
        _ => bail!("two interfaces are wanted, or none"),
    };
    let eal = Eal::init(&EalConfig {
        program: "forward".into(),
        memory_mb: 128,
        huge,
        ..EalConfig::default()
    })?;
    let pool = Mempool::new(&eal, "pool", MempoolConfig::default())?;
    let mut ports = Vec::new();
    for (n, device) in devices.iter().enumerate() {
        let config = PortConfig {
            promiscuous: true,
            ..PortConfig::new(&pool)
        };
        ports.push(Port::create(&eal, &format!("p{n}"), device)?.start(config)?);
    }
    let (handles, mut queues): (Vec<PortHandle>, Vec<_>) = ports
        .into_iter()
        .map(|port| (port.handle, port.queues))
        .unzip();
    let mut pairs: Vec<(RxQueue, TxQueue)> = queues.iter_mut().filter_map(Vec::pop).collect();

    let start = Instant::now();
    let counters = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let _lcore = eal.register_thread()?;
            Ok::<_, dmsc_dpdk::LcoreError>(run(
                &mut pairs,
                &handles,
                start + Duration::from_secs(args.seconds),
            ))
        });
        worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    report(&counters, start.elapsed(), args.json);
    drop(pairs);
    eprintln!(
        "{} of {} mbufs still in use, {}",
        pool.in_use(),
        pool.count(),
        eal.memory()
    );
    Ok(())
}

fn run(pairs: &mut [(RxQueue, TxQueue)], handles: &[PortHandle], end: Instant) -> Counters {
    let mut counters = Counters::default();
    let mut burst = Burst::new();
    let mut empty = 0;
    let mut polls = 0_u32;
    loop {
        let mut got = 0;
        for from in 0..pairs.len() {
            got += pairs[from].0.burst(&mut burst);
            for mbuf in &mut burst {
                if let Some(header) = mbuf.data_mut().first_chunk_mut::<12>() {
                    header.rotate_left(6);
                }
            }
            counters.received += burst.len() as u64;
            let to = pairs.len() - 1 - from;
            for _ in 0..RETRIES {
                counters.sent += pairs[to].1.burst(&mut burst) as u64;
                if burst.is_empty() {
                    break;
                }
            }
            // What the queue did not take is still ours: free it in one call and count it.
            counters.dropped += burst.len() as u64;
            burst.clear();
        }
        polls = polls.wrapping_add(1);
        empty = if got == 0 { empty + 1 } else { 0 };
        if (empty > 0 || polls.is_multiple_of(1024)) && Instant::now() >= end {
            return counters;
        }
        if empty > PATIENCE {
            empty = 0;
            counters.waits += 1;
            wait(handles);
        }
    }
}

/// Blocks for at most 100 ms until a port has packets. A loop with more to lose polls once more between arm and poll(2).
fn wait(handles: &[PortHandle]) {
    let fds: Vec<_> = handles
        .iter()
        .flat_map(|handle| handle.poll_fds(0))
        .collect();
    fds.iter().for_each(|fd| fd.arm());
    let mut polled: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN))
        .collect();
    let _ = poll(&mut polled, 100_u16);
    for fd in &fds {
        if let Woken::Error(error) = fd.wake() {
            eprintln!("{fd:?}: {error}");
        }
    }
}

fn report(counters: &Counters, time: Duration, json: bool) {
    let Counters {
        received,
        sent,
        dropped,
        waits,
    } = counters;
    let seconds = time.as_secs_f64();
    let rate = *received as f64 / seconds / 1e6;
    if json {
        println!(
            r#"{{"received":{received},"sent":{sent},"dropped":{dropped},"waits":{waits},"seconds":{seconds:.3},"mpps":{rate:.3}}}"#
        );
    } else {
        println!(
            "received {received}, sent {sent}, dropped {dropped}, waited {waits} times: {rate:.3} Mpps"
        );
    }
}
