//! What quinn reads: datagrams of one sender and one size stand behind each other in one buffer, which costs it one allocation for all of them.

use std::io::IoSliceMut;
use std::net::SocketAddr;

use dmsc_pod::Datagram;
use quinn::udp::{EcnCodepoint, RecvMeta};

/// Buffers that are being filled.
pub(crate) struct Fill<'a, 'b> {
    buffers: &'a mut [IoSliceMut<'b>],
    metas: &'a mut [RecvMeta],
    filled: usize,
    /// Whether the last one takes more.
    open: bool,
}

impl<'a, 'b> Fill<'a, 'b> {
    pub fn new(buffers: &'a mut [IoSliceMut<'b>], metas: &'a mut [RecvMeta]) -> Self {
        Self {
            buffers,
            metas,
            filled: 0,
            open: false,
        }
    }

    pub const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Buffers with something in them.
    pub const fn filled(&self) -> usize {
        self.filled
    }

    /// `false`: all buffers are full. What is larger than a buffer is dropped.
    pub fn put(&mut self, from: SocketAddr, datagram: &Datagram<'_>) -> bool {
        let ecn = EcnCodepoint::from_bits(datagram.ecn().bits());
        self.put_bytes(from, ecn, datagram.payload())
    }

    fn put_bytes(&mut self, from: SocketAddr, ecn: Option<EcnCodepoint>, payload: &[u8]) -> bool {
        // Nothing at all is no packet of QUIC either.
        if payload.is_empty() {
            return true;
        }
        if self.open {
            let last = self.filled - 1;
            let (buffer, meta) = (&mut self.buffers[last], &mut self.metas[last]);
            let fits = payload.len() <= meta.stride && meta.len + payload.len() <= buffer.len();
            if fits && meta.addr == from && meta.ecn == ecn {
                buffer[meta.len..meta.len + payload.len()].copy_from_slice(payload);
                meta.len += payload.len();
                // A shorter one is the last.
                self.open = payload.len() == meta.stride;
                return true;
            }
        }
        let both = self
            .buffers
            .get_mut(self.filled)
            .zip(self.metas.get_mut(self.filled));
        let Some((buffer, meta)) = both else {
            return false;
        };
        let Some(front) = buffer.get_mut(..payload.len()) else {
            return true;
        };
        front.copy_from_slice(payload);
        *meta = RecvMeta::default();
        meta.addr = from;
        meta.len = payload.len();
        meta.stride = payload.len();
        meta.ecn = ecn;
        self.filled += 1;
        self.open = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trains_of_one_sender_share_a_buffer_and_nothing_else_does() {
        let (one, two) = (
            "[fd64::1]:1".parse().unwrap(),
            "[fd64::2]:1".parse().unwrap(),
        );
        let mut memory = [0; 6 * 10];
        let mut buffers: Vec<_> = memory.chunks_mut(10).map(IoSliceMut::new).collect();
        let mut metas = [RecvMeta::default(); 6];
        let mut fill = Fill::new(&mut buffers, &mut metas);
        let marked = Some(EcnCodepoint::Ce);
        for (from, ecn, payload) in [
            (one, None, &b"aaaa"[..]),
            (one, None, b"bbbb"),
            (one, None, b"cccc"), // no room
            (one, None, b"dd"),
            (one, None, b"e"), // after a shorter one
            (two, None, b"f"), // another sender
            (two, marked, b"g"),
            (two, marked, b""),
            (two, marked, b"h"),
            (two, marked, b"larger than it"),
            (two, marked, b"ii"), // a longer one
        ] {
            assert!(fill.put_bytes(from, ecn, payload));
        }
        assert!(!fill.put_bytes(one, None, b"no buffer is left"));
        assert_eq!(fill.filled(), 6);
        let all: Vec<_> = (metas.iter().zip(&buffers))
            .map(|(meta, buffer)| (meta.addr, meta.ecn, meta.stride, &buffer[..meta.len]))
            .collect();
        let expected: [(_, _, _, &[u8]); 6] = [
            (one, None, 4, b"aaaabbbb"),
            (one, None, 4, b"ccccdd"),
            (one, None, 1, b"e"),
            (two, None, 1, b"f"),
            (two, marked, 1, b"gh"),
            (two, marked, 2, b"ii"),
        ];
        assert_eq!(all, expected);
    }
}
