//! Many grants as several authorisations, each small enough to be flooded and complete by itself.

use std::collections::BTreeMap;

use bytes::Bytes;
use dmsc_wire::NameBuf;
use dmsc_wire::name::MAX_COMPONENTS;
use prost::Message;

use crate::statement::{Authorisation, Grant};

/// Bytes of a fragment that are aimed at: below the limit, so that an envelope around it has room in a message of 64 KB.
const AIM: usize = 60_000;
/// Signature, field headers of the envelope, and the numbers that are set after counting.
const ENVELOPE: usize = 128;

/// Copies of `body` with all grants in order, numbered from 1; none for no grants. `certificate` is the size of what goes along with each.
pub(super) fn split(
    body: Authorisation,
    grants: BTreeMap<(NameBuf, bool), u8>,
    certificate: usize,
) -> Vec<Authorisation> {
    let room = AIM - ENVELOPE - certificate - body.encoded_len();
    let mut fragments: Vec<Authorisation> = Vec::new();
    let mut used = room;
    for ((name, exact), depth) in grants {
        let grant = Grant {
            name: Bytes::copy_from_slice(name.as_bytes()),
            exact,
            // 0 = 16, and of an exact name there is nothing below.
            maximum_depth: if exact || usize::from(depth) == MAX_COMPONENTS {
                0
            } else {
                u32::from(depth)
            },
            rights: 0,
        };
        let length = grant.encoded_len();
        // One byte of field number, then the length.
        let size = 1 + prost::length_delimiter_len(length) + length;
        if used + size > room {
            fragments.push(body.clone());
            used = 0;
        }
        used += size;
        if let Some(fragment) = fragments.last_mut() {
            fragment.grants.push(grant);
        }
    }
    let count = fragments.len() as u32;
    for (fragment, number) in fragments.iter_mut().zip(1..) {
        fragment.fragment = number;
        fragment.fragments = count;
    }
    fragments
}
