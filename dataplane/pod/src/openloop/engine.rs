//! The loop: send what is due, read what came, give up what is over, sleep until the next of these.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::fd::AsFd;

use dmsc_wire::{AttachmentId, ErrorMessage, Flags, Kind, Name, NodeId, RequestId};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signalfd::SignalFd;
use nix::sys::time::{TimeSpec, TimeValLike};

use super::schedule::{Flows, Schedule};
use super::template::Template;
use super::window::Window;
use crate::call::CallError;
use crate::clock::monotonic_ns;

/// Sends and receives before the other gets its turn.
const BATCH: usize = 64;
/// Most packets that may wait in the ring at any rate.
const MAX_WINDOW: usize = 1 << 22;

/// What became of a call.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// Answered.
    Answered {
        /// Since the scheduled time.
        latency_ns: u64,
        /// Gateway of the instance.
        gateway: NodeId,
        /// Its attachment.
        attachment: AttachmentId,
        /// The name under which it answered.
        name: Name<'a>,
        /// What it said.
        payload: &'a [u8],
        /// Placed twice on its way.
        rebound: bool,
    },
    /// A router sent an error, or the packet could not be sent.
    Failed {
        /// Since the scheduled time.
        latency_ns: u64,
        /// Kebab-case code.
        code: &'static str,
    },
    /// No answer in time.
    Lost,
}

/// Takes the outcomes, in the order in which they become known: once for every call sent.
pub trait Sink {
    /// Call `index`, due at `scheduled_ns`, ended.
    fn finished(&mut self, index: u64, scheduled_ns: u64, outcome: Outcome<'_>);
}

/// Figures of the run itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Calls sent.
    pub sent: u64,
    /// Largest delay of a send after its scheduled time, ns.
    pub send_late_max_ns: u64,
    /// Answers too late, twice or never asked for.
    pub stray: u64,
    /// Packets that are no DMSC packets.
    pub malformed: u64,
    /// When the first call was due, monotonic ns.
    pub start_ns: u64,
    /// When the last was finished.
    pub end_ns: u64,
    /// Ended by a signal before all calls were sent.
    pub interrupted: bool,
}

/// One run over a connected, non-blocking socket.
#[derive(Debug)]
pub struct Engine<'a> {
    socket: &'a UdpSocket,
    schedule: Schedule,
    flows: Flows,
    timeout_ns: u64,
    templates: Vec<Template>,
    window: Window,
    base: u64,
    report: Report,
}

impl<'a> Engine<'a> {
    /// Calls the names of `templates` in turn. There must be at least one.
    #[must_use]
    pub fn new(
        socket: &'a UdpSocket,
        schedule: Schedule,
        flows: Flows,
        timeout: std::time::Duration,
        templates: Vec<Template>,
    ) -> Self {
        assert!(!templates.is_empty(), "a run needs a name to call");
        let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX / 2);
        // Twice what waits when nothing is answered, and something for a burst after a stall.
        let waiting = u128::from(schedule.rate) * u128::from(timeout_ns) / 500_000_000 + 4_096;
        Self {
            socket,
            schedule,
            flows,
            timeout_ns,
            templates,
            window: Window::new(
                usize::try_from(waiting)
                    .unwrap_or(MAX_WINDOW)
                    .min(MAX_WINDOW),
            ),
            // Ids of this run are its own; 2^32 calls fit.
            base: u64::from(rand::random::<u32>()) << 32,
            report: Report {
                start_ns: schedule.start_ns,
                ..Report::default()
            },
        }
    }

    /// Runs to the end, or until `stop` has a signal: then no more is sent, and answers are waited for as long as they may take; a second
    /// signal ends at once. `suspect` is called when the gateway seems not to know the pod.
    ///
    /// # Errors
    /// The socket or ppoll failed in a way that is not about one packet.
    pub fn run(
        mut self,
        stop: &SignalFd,
        suspect: &dyn Fn(),
        sink: &mut dyn Sink,
    ) -> std::io::Result<Report> {
        let socket = self.socket;
        let mut buffer = vec![0; 65_536];
        loop {
            let more = self.send_due(sink, suspect)?;
            let mut now = monotonic_ns();
            while let Some((index, scheduled)) = self.window.expire(now) {
                sink.finished(index, scheduled, Outcome::Lost);
            }
            let done = self.report.interrupted || self.window.next() == self.schedule.total;
            if done && self.window.is_empty() {
                break;
            }
            let due = if done || self.window.is_full() {
                u64::MAX
            } else {
                self.schedule.due(self.window.next())
            };
            let wake = due.min(self.window.oldest_deadline().unwrap_or(u64::MAX));
            now = monotonic_ns();
            let pause = if more { 0 } else { wake.saturating_sub(now) };
            let mut ready = [
                PollFd::new(socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(stop.as_fd(), PollFlags::POLLIN),
            ];
            let pause = TimeSpec::nanoseconds(i64::try_from(pause).unwrap_or(i64::MAX));
            match ppoll(&mut ready, Some(pause), None) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let any = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
            if any(&ready[1]) && stop.read_signal()?.is_some() {
                if self.report.interrupted {
                    break;
                }
                self.report.interrupted = true;
            }
            if any(&ready[0]) {
                self.receive(&mut buffer, sink, suspect)?;
            }
        }
        self.report.end_ns = monotonic_ns();
        self.report.sent = self.window.next();
        Ok(self.report)
    }

    /// Sends what is due; tells whether more is.
    fn send_due(&mut self, sink: &mut dyn Sink, suspect: &dyn Fn()) -> std::io::Result<bool> {
        for _ in 0..BATCH {
            let index = self.window.next();
            if self.report.interrupted || index == self.schedule.total || self.window.is_full() {
                return Ok(false);
            }
            let (due, now) = (self.schedule.due(index), monotonic_ns());
            if due > now {
                return Ok(false);
            }
            self.report.send_late_max_ns = self.report.send_late_max_ns.max(now - due);
            self.window.send(due, now.saturating_add(self.timeout_ns));
            let template = (index % self.templates.len() as u64) as usize;
            let id = RequestId(self.base.wrapping_add(index));
            let failure = match self.templates[template].stamp(id, self.flows.label(index)) {
                Ok(packet) => send(self.socket, packet, suspect)?,
                Err(code) => Some(code),
            };
            if let Some(code) = failure {
                self.window.finish(index);
                let latency_ns = monotonic_ns() - due;
                sink.finished(index, due, Outcome::Failed { latency_ns, code });
            }
        }
        Ok(true)
    }

    fn receive(
        &mut self,
        buffer: &mut [u8],
        sink: &mut dyn Sink,
        suspect: &dyn Fn(),
    ) -> std::io::Result<()> {
        for _ in 0..BATCH {
            match self.socket.recv(buffer) {
                Ok(length) => self.packet(&buffer[..length], sink, suspect),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(()),
                    ErrorKind::ConnectionRefused => suspect(),
                    ErrorKind::Interrupted => {}
                    _ if is_about_path(&error) => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }

    fn packet(&mut self, bytes: &[u8], sink: &mut dyn Sink, suspect: &dyn Fn()) {
        let Ok(header) = dmsc_wire::parse(bytes) else {
            self.report.malformed += 1;
            return;
        };
        let now = monotonic_ns();
        let (id, error) = match header.kind {
            Kind::Response => (header.request_id, None),
            Kind::Error => match ErrorMessage::decode(header.payload(bytes)) {
                Ok(message) => (message.request_id, Some(CallError::from_message(&message))),
                Err(_) => {
                    self.report.malformed += 1;
                    return;
                }
            },
            _ => {
                self.report.stray += 1;
                return;
            }
        };
        let index = id.0.wrapping_sub(self.base);
        let Some(scheduled) = self.window.finish(index) else {
            self.report.stray += 1;
            return;
        };
        let latency_ns = now.saturating_sub(scheduled);
        let outcome = match (error, header.source_name(bytes)) {
            (Some(error), _) => {
                if matches!(error, CallError::SourceNotOwned { .. }) {
                    suspect();
                }
                Outcome::Failed {
                    latency_ns,
                    code: error.code(),
                }
            }
            (None, Some(name)) => Outcome::Answered {
                latency_ns,
                gateway: header.source_gateway,
                attachment: header.source_attachment,
                name,
                payload: header.payload(bytes),
                rebound: header.flags.contains(Flags::REBOUND),
            },
            // The parser refuses responses without names.
            (None, None) => Outcome::Failed {
                latency_ns,
                code: "malformed",
            },
        };
        sink.finished(index, scheduled, outcome);
    }
}

/// Sends one packet; gives the code of a failure. "Connection refused" is the fate of an earlier packet, and this one was not sent yet.
fn send(
    socket: &UdpSocket,
    packet: &[u8],
    suspect: &dyn Fn(),
) -> std::io::Result<Option<&'static str>> {
    for _ in 0..3 {
        match socket.send(packet) {
            Ok(_) => return Ok(None),
            Err(error) => match error.kind() {
                ErrorKind::ConnectionRefused => suspect(),
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock => return Ok(Some("send-buffer-full")),
                _ if is_about_path(&error) => return Ok(Some("send-failed")),
                _ => return Err(error),
            },
        }
    }
    Ok(Some("gateway-port-closed"))
}

/// Errors that a link going down and up again explains.
fn is_about_path(error: &std::io::Error) -> bool {
    use nix::errno::Errno;
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(
            Errno::ENETUNREACH
                | Errno::EHOSTUNREACH
                | Errno::ENETDOWN
                | Errno::EHOSTDOWN
                | Errno::ENOBUFS
                | Errno::EMSGSIZE
                | Errno::EPERM
        )
    )
}
