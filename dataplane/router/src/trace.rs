//! Packet trace: the next N packets through every stage, written by workers into a bounded queue (dmscctl trace add).

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};

use crossbeam_queue::ArrayQueue;

use crate::packet::{Context, Origin, Verdict};

/// A station of the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// From the PMD.
    Receive,
    /// What it is.
    Parse,
    /// Whether it may.
    Admit,
    /// Where it goes.
    Resolve,
    /// With which headers.
    Rewrite,
    /// To the PMD, or its end.
    Transmit,
}

impl Stage {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Receive => "receive",
            Stage::Parse => "parse",
            Stage::Admit => "admit",
            Stage::Resolve => "resolve",
            Stage::Rewrite => "rewrite",
            Stage::Transmit => "transmit",
        }
    }
}

/// What a packet looked like behind one stage.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    /// Which packet.
    pub number: u32,
    /// Behind which stage.
    pub stage: Stage,
    /// TSC.
    pub time: u64,
    /// Everything that is known of it.
    pub context: Context,
    /// Frame length.
    pub length: u32,
}

/// Shared by workers and agent.
#[derive(Debug)]
pub struct Tracer {
    wanted: AtomicI64,
    /// Port number to trace, −1 = any.
    port: AtomicI64,
    next: AtomicU32,
    records: ArrayQueue<Record>,
}

impl Default for Tracer {
    fn default() -> Self {
        Tracer {
            wanted: AtomicI64::new(0),
            port: AtomicI64::new(-1),
            next: AtomicU32::new(1),
            records: ArrayQueue::new(8192),
        }
    }
}

impl Tracer {
    /// Traces the next `count` packets of `port`; replaces an earlier request.
    pub fn start(&self, count: u32, port: Option<usize>) {
        while self.records.pop().is_some() {}
        self.port.store(port.map_or(-1, |p| p as i64), Relaxed);
        self.wanted.store(i64::from(count), Relaxed);
    }

    /// Stops.
    pub fn stop(&self) {
        self.wanted.store(0, Relaxed);
    }

    /// One load: whether any packet is wanted.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.wanted.load(Relaxed) > 0
    }

    /// A number for a packet that came in by `port`, 0 if it is not wanted.
    pub fn claim(&self, port: u8) -> u32 {
        let only = self.port.load(Relaxed);
        if only >= 0 && only != i64::from(port) {
            return 0;
        }
        if self.wanted.fetch_sub(1, Relaxed) <= 0 {
            self.wanted.store(0, Relaxed);
            return 0;
        }
        self.next.fetch_add(1, Relaxed).max(1)
    }

    /// Notes a packet; nothing when the queue is full.
    pub fn note(&self, stage: Stage, time: u64, context: &Context, length: usize) {
        let _ = self.records.push(Record {
            number: context.trace,
            stage,
            time,
            context: *context,
            length: length as u32,
        });
    }

    /// The oldest record.
    pub fn take(&self) -> Option<Record> {
        self.records.pop()
    }
}

/// One sentence for people.
pub fn describe(record: &Record) -> String {
    let context = &record.context;
    let header = context.header.map_or_else(
        || "not DMSC".to_string(),
        |h| {
            format!(
                "{} domain {} flow {:#x} request {:#x} from gateway {} attachment {} to gateway {} attachment {} hop limit {}",
                h.kind, h.domain, h.flow_label.0, h.request_id.0, h.source_gateway, h.source_attachment, h.destination_gateway, h.destination_attachment, h.hop_limit
            )
        },
    );
    let origin = match context.origin {
        Origin::Unknown => String::new(),
        Origin::Endpoint(endpoint) => format!(", endpoint {endpoint:?}"),
        Origin::Pod(id) => format!(", attachment {id}"),
        Origin::Router(id) => format!(", over adjacency {id}"),
        Origin::Here => ", originated here".to_string(),
    };
    let verdict = match context.verdict {
        Verdict::Continue => "goes on".to_string(),
        Verdict::Forward(id, alternate) => format!(
            "to adjacency {id}{}",
            if alternate { " (alternate)" } else { "" }
        ),
        Verdict::Deliver(id) => format!("to attachment {id}"),
        Verdict::Own => "to this router".to_string(),
        Verdict::Hello(id) => format!("hello of adjacency {id}"),
        Verdict::Probe(id) => format!("probe of adjacency {id}"),
        Verdict::Arp => "ARP".to_string(),
        Verdict::Icmp => "ICMP".to_string(),
        Verdict::Kernel => "to the kernel".to_string(),
        Verdict::Drop(reason) => format!("dropped: {}", reason.name()),
        Verdict::Send(port) => format!("out of port {}", u16::from(port) + 1),
        Verdict::Consumed => "consumed".to_string(),
    };
    match record.stage {
        Stage::Receive => format!("{} bytes", record.length),
        Stage::Parse => format!("{header}{origin}: {verdict}"),
        Stage::Admit => format!("{verdict}{origin}"),
        Stage::Resolve => format!("{verdict}; {header}"),
        Stage::Rewrite | Stage::Transmit => format!("{verdict}, {} bytes", record.length),
    }
}
