//! Memory shared with the gateway without DPDK in this process: dmsc-vhost, as dmsc-pod has it.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Context;
use dmsc_vhost::{Config, Port};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::args::EndArgs;
use super::link::{Link, Message};
use super::wrap::{Came, Wrap, sort};

/// Attempts to hand over a frame to a full ring.
const ATTEMPTS: usize = 1_000;
/// How long the gateway may take for an answer: both are on a machine that others have, too.
const PATIENCE: Duration = Duration::from_secs(10);

/// The port.
pub struct OwnLink {
    port: Port,
    wrap: Wrap,
}

impl OwnLink {
    /// Opens the port, at whose other end the gateway listens.
    ///
    /// # Errors
    /// What could not be had.
    pub fn open(args: &EndArgs) -> anyhow::Result<OwnLink> {
        let config = Config {
            patience: PATIENCE,
            ..Config::default()
        };
        let socket = args.side.socket(&args.dir);
        let mut link = OwnLink {
            port: Port::connect(&socket, config).context("no port")?,
            wrap: Wrap::new(args.side),
        };
        let place = link.wrap.place(1);
        put(&mut link.port, &place);
        link.flush();
        Ok(link)
    }
}

/// Lost when nobody takes it, as on any link; a port that is broken shows as nothing that comes.
fn put(port: &mut Port, frame: &[u8]) {
    for _ in 0..ATTEMPTS {
        match port.transmit.push(&[frame]) {
            Ok(false) => {
                let _ = port.transmit.flush();
                std::thread::yield_now();
            }
            Ok(true) | Err(_) => return,
        }
    }
}

impl Link for OwnLink {
    fn push(&mut self, message: &Message, id: u64) {
        put(&mut self.port, self.wrap.around(message, id));
    }

    fn flush(&mut self) {
        let _ = self.port.transmit.flush();
    }

    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> usize {
        let mut asked = false;
        let received = self.port.receive.receive(&mut |frame| {
            match sort(frame) {
                Came::Packet(packet) => each(packet),
                Came::Asks => asked = true,
                Came::Other => {}
            }
            true
        });
        if asked {
            put(&mut self.port, &self.wrap.place(2));
            self.flush();
        }
        received.unwrap_or(0)
    }

    fn wait(&mut self, limit: Duration) {
        if !self.port.receive.arm().unwrap_or(true) {
            return; // something came meanwhile
        }
        let mut fds = [PollFd::new(self.port.receive.as_fd(), PollFlags::POLLIN)];
        let woken = ppoll(&mut fds, Some(TimeSpec::from_duration(limit)), None);
        if woken.is_ok_and(|count| count > 0) {
            let _ = self.port.receive.call().read();
        }
    }
}
