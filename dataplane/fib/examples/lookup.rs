//! A quick figure: lookups per second of one core, uniform random over N prefixes; bytes per prefix;
//! time of a small transaction. `dmsc-perf fib` measures the same beside other tables. `cargo run -p dmsc-fib --release --example lookup -- 1000000`

use std::hint::black_box;
use std::time::{Duration, Instant};

use dmsc_fib::{Fib, Habit, HashKey, LocalSetId, LookupKey, MAX_BURST, Op, PrefixValue};
use dmsc_wire::{Domain, Name, NameBuf};

const HELP: &str = "usage: lookup [PREFIXES]    (default 1000000)

Prints how many names per second one core looks up in bursts and one by one: prefixes of the table chosen uniformly
at random (exact), and the same with one more component (longer).";

/// Names of 2 to 5 components and about 40 bytes, like those of a catalogue of services.
fn name(i: u32) -> String {
    let r = mix(i);
    let team = r % 1000;
    match i % 10 {
        0 => format!("/team-{team:04}/service-with-a-long-name-{i}"),
        1..=4 => format!("/team-{team:04}/application-{}/component-{i}", r % 97),
        5..=8 => format!("/team-{team:04}/app-{}/component-{i}/v{}", r % 97, r % 4),
        _ => format!(
            "/team-{team:04}/app-{}/part-{}/{i}/v{}",
            r % 97,
            r % 13,
            r % 4
        ),
    }
}

fn mix(i: u32) -> u32 {
    let i = (i ^ i >> 16).wrapping_mul(0x7feb_352d);
    let i = (i ^ i >> 15).wrapping_mul(0x846c_a68b);
    i ^ i >> 16
}

/// Time that this thread had a CPU, so that a busy machine does not spoil the figure; the time of day where
/// the kernel does not tell.
fn on_cpu(since: Instant) -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|line| line.split(' ').next()?.parse().ok());
    nanos.map_or(since.elapsed(), Duration::from_nanos)
}

/// Calls `round` for about a second; operations per second of CPU in millions.
fn rate(per_round: usize, mut round: impl FnMut()) -> f64 {
    let start = Instant::now();
    let before = on_cpu(start);
    let mut rounds = 0;
    while start.elapsed() < Duration::from_secs(1) {
        (0..1000).for_each(|_| round());
        rounds += 1000;
    }
    (rounds * per_round) as f64 / (on_cpu(start) - before).as_secs_f64() / 1e6
}

fn main() {
    let count = match std::env::args().nth(1).map(|n| n.parse::<u32>()) {
        None => 1_000_000,
        Some(Ok(n)) if n > 0 => n,
        _ => {
            eprintln!("{HELP}");
            std::process::exit(2);
        }
    };
    let put = |i: u32| Op::PutPrefix {
        domain: Domain(1),
        name: NameBuf::parse(&name(i)).expect("a valid name"),
        value: PrefixValue::local(LocalSetId(i)),
    };
    let start = Instant::now();
    let mut fib = Fib::with_key(HashKey::random());
    for from in (0..count).step_by(10_000) {
        let ops: Vec<Op> = (from..count.min(from + 10_000)).map(put).collect();
        fib = fib.apply(&ops).expect("a valid transaction");
    }
    let (components, bytes) = fib.prefixes().fold((0, 0), |(components, bytes), prefix| {
        (
            components + prefix.name.as_name().component_count(),
            bytes + prefix.name.as_bytes().len(),
        )
    });
    let per = |n: usize| n as f64 / f64::from(count);
    println!(
        "prefixes           {count} ({:.1} components, {:.1} bytes)",
        per(components),
        per(bytes)
    );
    println!("built in           {:.2} s", start.elapsed().as_secs_f64());
    println!("bytes per prefix   {:.1}", per(fib.bytes()));

    let mut hits = 0usize;
    for (kind, tail) in [("exact", ""), ("longer", "/method")] {
        // Asked in random order, so that neither names nor tables are found in the cache; end to end, as names lie
        // in packets with something behind them.
        let (mut bytes, mut ends) = (Vec::new(), vec![0]);
        for i in 0..1_000_000u32 {
            let asked = format!("{}{tail}", name(mix(i) % count));
            bytes.extend_from_slice(NameBuf::parse(&asked).expect("a valid name").as_bytes());
            ends.push(bytes.len());
        }
        bytes.extend_from_slice(&[0; 64]);
        let key = |at: &[usize]| {
            let name = Name::from_bytes(&bytes[at[0]..at[1]]).expect("a valid name");
            LookupKey::in_packet(Domain(1), name, &bytes[at[0]..])
        };
        let keys: Vec<LookupKey<'_>> = ends.windows(2).map(key).collect();
        let mut found = [None; MAX_BURST];
        let mut bursts = keys.chunks_exact(MAX_BURST).cycle();
        let mut habit = Habit::default();
        let burst = rate(MAX_BURST, || {
            fib.lookup_burst_as(&mut habit, bursts.next().unwrap_or_default(), &mut found);
            hits += black_box(&found).iter().flatten().count();
        });
        println!("{kind:<6} lookup_burst {burst:.1} M/s");
        let mut next = keys.iter().cycle();
        let single = rate(1, || {
            if let Some(key) = next.next() {
                hits += usize::from(black_box(fib.lookup(key.domain, key.name)).is_some());
            }
        });
        println!("{kind:<6} lookup       {single:.1} M/s");
    }
    assert!(hits > 0, "every name is covered");

    let mut i = 0;
    let one = rate(1, || {
        i += 1;
        let value = PrefixValue::local(LocalSetId(i));
        let name = NameBuf::parse(&name(mix(i) % count)).expect("a valid name");
        fib = fib
            .apply(&[Op::PutPrefix {
                domain: Domain(1),
                name,
                value,
            }])
            .expect("valid");
    });
    println!("transaction of one {:.1} µs", 1.0 / one);
}
