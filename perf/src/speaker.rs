//! A neighbour's side of an adjacency, as all rigs need it: what it heard, what it says next.

use dmsc_dpdk::{Burst, Mempool, TxQueue};
use dmsc_wire::{Heard, Hello, HelloState, Kind, NodeId, PortId};

use crate::torture::outer;

/// What stays the same in all hellos of a neighbour.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Who speaks.
    pub node: NodeId,
    /// Its boot nonce.
    pub boot_nonce: u64,
    /// Between two hellos, ms.
    pub interval_ms: u16,
    /// Hellos that may be missed.
    pub multiplier: u8,
    /// Its MTU.
    pub mtu: u16,
}

/// One side of the conversation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Speaker {
    sequence: u64,
    heard: Option<Heard>,
}

impl Speaker {
    /// Notes a frame of the router, if it is a hello.
    pub fn hear(&mut self, frame: &[u8]) {
        if let Some((packet, ..)) = outer::find_dmsc(frame)
            && let Some(hello) = hello_in(packet)
        {
            self.note(&hello);
        }
    }

    /// Notes a hello.
    pub fn note(&mut self, hello: &Hello) {
        self.heard = Some(Heard {
            node: hello.node,
            port: hello.port,
            boot_nonce: hello.boot_nonce,
            sequence: hello.sequence,
            state: hello.state,
        });
    }

    /// Takes for heard what was not: for those who only send.
    pub fn assume(&mut self, heard: Heard) {
        self.heard = Some(heard);
    }

    /// The next hello.
    pub fn hello(&mut self, manner: Manner) -> Hello {
        self.sequence += 1;
        Hello {
            node: manner.node,
            port: PortId(1),
            boot_nonce: manner.boot_nonce,
            sequence: self.sequence,
            state: match self.heard {
                Some(_) => HelloState::Up,
                None => HelloState::Down,
            },
            heard: self.heard,
            version_min: 1,
            version_max: 1,
            interval_ms: manner.interval_ms,
            multiplier: manner.multiplier,
            mtu: manner.mtu,
            key_id: 0,
            mac: [0; 16],
        }
    }
}

/// The hello that a packet is.
pub fn hello_in(packet: &[u8]) -> Option<Hello> {
    let header = dmsc_wire::parse(packet).ok()?;
    (header.kind == Kind::Hello).then_some(())?;
    Hello::decode(header.payload(packet)).ok()
}

/// Hands one frame to the driver, beside the bursts that a generator sends; false: it did not take it.
pub fn send(tx: &mut TxQueue, pool: &Mempool, bytes: &[u8]) -> bool {
    let mut burst = Burst::new();
    if let Some(mut mbuf) = pool.alloc()
        && mbuf.copy_from(bytes)
        && burst.push(mbuf).is_ok()
    {
        return tx.burst(&mut burst) == 1;
    }
    false
}
