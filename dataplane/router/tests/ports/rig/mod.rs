//! What the tests stand on: namespaces, a dataplane process, its agent, pods and raw links.

mod agent;
pub mod guest;
pub mod link;
mod netns;
pub mod pair;
pub mod pod;
pub mod process;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use dmsc_wire::NameBuf;

pub use agent::Agent;
pub use link::RawLink;
pub use netns::Netns;
pub use pod::Pod;
pub use process::{Dataplane, Scratch};

/// No wait of these tests takes longer, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Whether ports can be made here; says why not.
pub fn can_run() -> bool {
    let missing = if !nix::unistd::Uid::effective().is_root() {
        "root"
    } else if std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .is_err()
    {
        "/dev/net/tun"
    } else {
        return true;
    };
    eprintln!("skipped: ports and network namespaces need {missing}");
    false
}

/// Ends the test here where ports cannot be made.
macro_rules! need_ports {
    () => {
        if !$crate::rig::can_run() {
            return;
        }
    };
}
pub(crate) use need_ports;

/// Asks `ready` until it says yes.
pub fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Tries a measurement up to three times, because the machine may be busy with something else; the figure of the first good try.
pub fn within(limit: Duration, what: &str, mut measure: impl FnMut() -> Duration) -> Duration {
    let mut tries = Vec::new();
    for _ in 0..3 {
        let time = measure();
        tries.push(time);
        if time <= limit {
            eprintln!("{what}: {time:?} (limit {limit:?}, tries {tries:?})");
            return time;
        }
    }
    panic!("{what}: {tries:?}, but at most {limit:?} is right");
}

/// A name from its text form.
pub fn name(text: &str) -> NameBuf {
    NameBuf::parse(text).expect("a name")
}

/// An address from its text form.
pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}
