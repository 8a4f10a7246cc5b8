//! Without traffic a dataplane leaves the processor to others (design §9, Idle).

use std::time::Duration;

use crate::rig::pair::{join, on_veth, router_port, routers, wired};
use crate::rig::{Dataplane, Netns, Scratch, need_ports};

/// CPU time of a process so far, as the scheduler counts it, in ns: the ticks of `stat` are too coarse for this.
fn cpu_ns(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("tasks");
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

/// Share of a core that a process takes over two seconds with nothing but hellos, per cent; the least of three.
fn share(what: &str, dataplane: &Dataplane) -> f64 {
    let share = (0..3)
        .map(|_| {
            let before = cpu_ns(dataplane.pid());
            std::thread::sleep(Duration::from_secs(2));
            (cpu_ns(dataplane.pid()) - before) as f64 / 2e9 * 100.0
        })
        .fold(f64::MAX, f64::min);
    eprintln!("idle with {what}: {share:.2} % of a core");
    share
}

#[test]
fn af_packet_ports_block() {
    need_ports!();
    let (left, right) = wired();
    let (a, b) = routers(&left, &right);
    let (at_a, at_b) = on_veth();
    join(&a, &b, at_a, at_b);
    let share = share("an af_packet port and its hellos", &a);
    assert!(share < 3.0, "{share:.2} %");
}

#[test]
fn memif_ports_doze() {
    need_ports!();
    let (here, scratch) = (Netns::new(), Scratch::new());
    let start = |node: u32, server: bool| {
        let what = format!(
            "kind = \"memif\"\nsocket = {:?}\nserver = {server}\nmac = \"02:00:00:00:00:0{node}\"",
            scratch.path("memif.sock")
        );
        let address = format!("10.1.0.{}/31", node - 1);
        let more = "exception = \"none\"";
        Dataplane::start(&here, node, "sr", &router_port(&what, &[&address], more))
    };
    let (a, b) = (start(1, true), start(2, false));
    let (at_a, at_b) = on_veth();
    join(&a, &b, at_a, at_b);
    let share = share("a memif port and its hellos", &a);
    // Design §9 wants 3 % of the optimised program; this may be a debug build, which wakes as often and takes longer each time.
    let limit = if cfg!(debug_assertions) { 8.0 } else { 3.0 };
    assert!(share < limit, "{share:.2} %");
}
