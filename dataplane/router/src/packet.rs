//! What the stages know of one packet while it passes: a few numbers beside its frame.

use arrayvec::ArrayVec;
use dmsc_fib::AdjacencyId;
use dmsc_wire::{AttachmentId, ErrorCode, Header, NodeId};

use crate::attachment::Endpoint;
use crate::counters::DropReason;

/// Most packets in one pass through the stages.
pub const BATCH: usize = 32;

/// Where a packet came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Not known yet, or not DMSC.
    Unknown,
    /// A pod's endpoint; admission finds its attachment.
    Endpoint(Endpoint),
    /// An admitted attachment.
    Pod(AttachmentId),
    /// A neighbour router.
    Router(AdjacencyId),
    /// This router.
    Here,
}

/// What shall happen to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The next stage decides.
    Continue,
    /// To a neighbour router; whether over an alternate.
    Forward(AdjacencyId, bool),
    /// To a pod here.
    Deliver(AttachmentId),
    /// To this router itself: under its own name, or a probe that it answers for a pod.
    Own,
    /// A hello of a neighbour.
    Hello(AdjacencyId),
    /// A probe of a neighbour, or its answer to one.
    Probe(AdjacencyId),
    /// Address resolution (ARP) for the worker.
    Arp,
    /// ICMP or ICMPv6 that the worker wants to see: neighbour discovery, unreachable, too big.
    Icmp,
    /// To the kernel.
    Kernel,
    /// Ended, for this reason.
    Drop(DropReason),
    /// The frame is ready to leave by this port number.
    Send(u8),
    /// Ended on purpose.
    Consumed,
}

/// Beside each frame of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// Port number it came in by, or is attributed to.
    pub port: u8,
    /// Who sent it.
    pub origin: Origin,
    /// Where the DMSC header starts in the frame.
    pub offset: u16,
    /// ECN bits of the outer header.
    pub outer_ecn: u8,
    /// The DMSC header; meaningful once parsed.
    pub header: Option<Header>,
    /// What shall happen.
    pub verdict: Verdict,
    /// An error to send to the source beside dropping it.
    pub error: Option<(ErrorCode, u16)>,
    /// Gateway that must not be chosen again (late binding).
    pub excluded: NodeId,
    /// Being resolved a second time, here and now.
    pub rebinding: bool,
    /// A pod that was held for unreachable has sent: watchers want to know.
    pub returned: bool,
    /// TSC at receive.
    pub arrived: u64,
    /// Number in a packet trace; 0 = not traced.
    pub trace: u32,
}

impl Context {
    /// Of a frame that came in by `port` at `now`.
    #[inline]
    pub fn received(port: usize, now: u64) -> Context {
        Context {
            port: port as u8,
            origin: Origin::Unknown,
            offset: 0,
            outer_ecn: 0,
            header: None,
            verdict: Verdict::Continue,
            error: None,
            excluded: NodeId::NONE,
            rebinding: false,
            returned: false,
            arrived: now,
            trace: 0,
        }
    }

    /// Of a DMSC packet that this router made, attributed to `port`; the frame starts with the DMSC header.
    pub fn originated(port: usize, header: Header, now: u64) -> Context {
        Context {
            origin: Origin::Here,
            header: Some(header),
            ..Context::received(port, now)
        }
    }

    /// Whether the stages still have to decide.
    #[inline]
    pub fn is_open(&self) -> bool {
        matches!(self.verdict, Verdict::Continue)
    }

    /// Ends the packet.
    #[inline]
    pub fn drop(&mut self, reason: DropReason) {
        self.verdict = Verdict::Drop(reason);
    }

    /// Ends the packet and tells its source why.
    #[inline]
    pub fn refuse(&mut self, reason: DropReason, code: ErrorCode, mtu: u16) {
        self.verdict = Verdict::Drop(reason);
        self.error = Some((code, mtu));
    }

    /// The adjacency it came over, if it came from a router.
    #[inline]
    pub fn came_over(&self) -> Option<AdjacencyId> {
        match self.origin {
            Origin::Router(adjacency) => Some(adjacency),
            _ => None,
        }
    }
}

/// A burst on its way through the stages: frames, and what is known of each.
#[derive(Debug)]
pub struct Batch<F> {
    /// The frames.
    pub frames: ArrayVec<F, BATCH>,
    /// Beside each.
    pub contexts: ArrayVec<Context, BATCH>,
}

impl<F> Default for Batch<F> {
    fn default() -> Self {
        Batch {
            frames: ArrayVec::new(),
            contexts: ArrayVec::new(),
        }
    }
}

impl<F> Batch<F> {
    /// Adds a frame; gives it back when the batch is full.
    #[inline]
    pub fn push(&mut self, frame: F, context: Context) -> Result<(), F> {
        if self.frames.is_full() {
            return Err(frame);
        }
        self.frames.push(frame);
        self.contexts.push(context);
        Ok(())
    }

    /// Whether nothing is in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Frames and contexts side by side.
    #[inline]
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&mut F, &mut Context)> {
        self.frames.iter_mut().zip(self.contexts.iter_mut())
    }
}
