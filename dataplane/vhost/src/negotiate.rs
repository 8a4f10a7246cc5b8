//! What both ends agree on before the first frame.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use nix::sys::eventfd::EventFd;

use crate::error::VhostError;
use crate::memory::{BASE, Memory};
use crate::message::{self, Body, Talk};
use crate::ring::Places;

/// A frame may take several buffers at the receiving end.
const MERGEABLE: u64 = 1 << 15;
/// Each end says at which index it is to be notified.
const BY_INDEX: u64 = 1 << 29;
/// There are protocol features.
const PROTOCOL: u64 = 1 << 30;
/// Virtio 1, little endian throughout.
const VERSION_1: u64 = 1 << 32;
/// Of the protocol: requests are acknowledged.
const ACKNOWLEDGES: u64 = 1 << 3;

/// What was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// See [`crate::ring::Ring`].
    pub by_index: bool,
}

/// A queue as it is told to the device.
#[derive(Debug, Clone, Copy)]
pub struct Queue<'a> {
    /// Where it is.
    pub places: Places,
    /// How many buffers.
    pub size: u16,
    /// By which the device is woken.
    pub kick: &'a EventFd,
    /// By which it wakes.
    pub call: &'a EventFd,
}

/// What a device is to have, of what it offers.
///
/// No offloads: memory damages no frame, and a checksum that is left out would have to be made where the frame leaves the node. Indirect descriptors would save
/// places in a ring that has more than buffers; a promise to keep the order would save an id per buffer, which is looked at anyway.
pub fn agree(offered: u64) -> Result<(u64, Agreed), VhostError> {
    for (feature, name) in [
        (VERSION_1, "virtio 1"),
        (PROTOCOL, "protocol features"),
        (MERGEABLE, "mergeable receive buffers"),
    ] {
        if offered & feature == 0 {
            return Err(VhostError::Lacks(name));
        }
    }
    let by_index = offered & BY_INDEX;
    let agreed = Agreed {
        by_index: by_index != 0,
    };
    Ok((VERSION_1 | PROTOCOL | MERGEABLE | by_index, agreed))
}

/// The features first; rings are made by what they are.
pub fn features(stream: &UnixStream) -> Result<(bool, Agreed), VhostError> {
    let mut talk = Talk {
        stream,
        acknowledges: false,
    };
    let (features, agreed) = agree(talk.get(message::GET_FEATURES)?)?;
    let protocol = talk.get(message::GET_PROTOCOL_FEATURES)? & ACKNOWLEDGES;
    let body = Body::default().u64(protocol);
    talk.set(message::SET_PROTOCOL_FEATURES, body, &[])?;
    talk.acknowledges = protocol != 0;
    talk.set(message::SET_OWNER, Body::default(), &[])?;
    let body = Body::default().u64(features);
    talk.set(message::SET_FEATURES, body, &[])?;
    Ok((talk.acknowledges, agreed))
}

/// Memory and queues; from here on frames may pass.
pub fn queues(talk: &Talk<'_>, memory: &Memory, queues: &[Queue<'_>; 2]) -> Result<(), VhostError> {
    let region = Body::default().u32(1).u32(0);
    let region = region.u64(BASE).u64(memory.length()).u64(BASE).u64(0);
    talk.set(message::SET_MEM_TABLE, region, &[memory.file()])?;
    let at = |place: usize| BASE + place as u64;
    for (index, queue) in (0_u32..).zip(queues) {
        let state = |value: u32| Body::default().u32(index).u32(value);
        talk.set(message::SET_VRING_NUM, state(queue.size.into()), &[])?;
        talk.set(message::SET_VRING_BASE, state(0), &[])?;
        let places = Body::default()
            .u32(index)
            .u32(0)
            .u64(at(queue.places.table))
            .u64(at(queue.places.used))
            .u64(at(queue.places.available))
            .u64(0);
        talk.set(message::SET_VRING_ADDR, places, &[])?;
        let of = || Body::default().u64(index.into());
        talk.set(message::SET_VRING_CALL, of(), &[queue.call.as_fd()])?;
        talk.set(message::SET_VRING_KICK, of(), &[queue.kick.as_fd()])?;
    }
    for index in 0..2 {
        let enabled = Body::default().u32(index).u32(1);
        talk.set(message::SET_VRING_ENABLE, enabled, &[])?;
    }
    Ok(())
}
