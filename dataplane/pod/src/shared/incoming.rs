//! Packets from the gateway.

use std::sync::Arc;
use std::task::{Context, Poll};

use dmsc_vhost::{Receive, VhostError};
use nix::sys::eventfd::EventFd;
use tokio::io::unix::AsyncFd;

use super::frame::{self, Arp, End, Outer, Sorted};
use super::{Shared, lock};
use crate::counters::{Counters, count};
use dmsc_wire::UDP_PORT;

/// The receiving half of the port, and what wakes when something came.
pub(super) struct Incoming {
    receive: Receive,
    call: AsyncFd<Arc<EventFd>>,
}

impl Incoming {
    /// Must be called in a tokio runtime.
    pub fn new(receive: Receive) -> std::io::Result<Incoming> {
        let call = super::keeper::watched(Arc::clone(receive.call()))?;
        Ok(Incoming { receive, call })
    }
}

impl Shared {
    /// Shows packets to `show` until there is none, or until it has no room for one. How many frames there were; with 0 the task is woken when something comes.
    pub fn look(
        &self,
        context: &mut Context<'_>,
        counters: &Counters,
        show: &mut dyn FnMut(&[u8]) -> bool,
    ) -> usize {
        let mut slot = lock(&self.incoming);
        let frames = match slot.as_mut() {
            None => 0,
            Some(incoming) => match self.frames(incoming, context, counters, show) {
                Ok(frames) => frames,
                Err(error) => {
                    *slot = None;
                    self.fail(&error);
                    0
                }
            },
        };
        if frames == 0 {
            // Under the lock: a port that comes or goes from here on wakes.
            let mut reader = lock(&self.reader);
            let waker = context.waker();
            if !reader.as_ref().is_some_and(|one| one.will_wake(waker)) {
                *reader = Some(waker.clone());
            }
        }
        frames
    }

    fn frames(
        &self,
        incoming: &mut Incoming,
        context: &mut Context<'_>,
        counters: &Counters,
        show: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<usize, VhostError> {
        let from = self.from();
        loop {
            let mut stopped = false;
            let frames = incoming.receive.receive(&mut |bytes| {
                let taken = self.frame(bytes, from, counters, show);
                stopped |= !taken;
                taken
            })?;
            if frames > 0 || stopped {
                return Ok(frames.max(1));
            }
            if !incoming.receive.arm()? {
                continue;
            }
            match incoming.call.poll_read_ready(context) {
                Poll::Pending => return Ok(0),
                // It woke, or is left from what was read already: after saying that it is over, one more look.
                Poll::Ready(Ok(mut woken)) => woken.clear_ready(),
                // The runtime ends.
                Poll::Ready(Err(error)) => return Err(error.into()),
            }
        }
    }

    /// `false`: there is no room for it, and it is to be shown again.
    fn frame(
        &self,
        bytes: &[u8],
        from: (std::net::Ipv4Addr, u16),
        counters: &Counters,
        show: &mut dyn FnMut(&[u8]) -> bool,
    ) -> bool {
        let reason = match frame::sort(bytes, &self.own, from) {
            Sorted::Packet(packet) => {
                let taken = show(packet);
                if taken {
                    count(&counters.shared_received);
                }
                return taken;
            }
            Sorted::Arp(arp) => {
                self.heard(&arp);
                return true;
            }
            Sorted::Malformed => &counters.frames_malformed,
            Sorted::NotOurs => &counters.frames_not_ours,
            Sorted::Stranger => &counters.frames_not_from_gateway,
            Sorted::Unexpected => &counters.frames_unexpected,
        };
        count(reason);
        true
    }

    /// Learns where the gateway is, and answers who asks for this pod.
    fn heard(&self, arp: &Arp) {
        let (mac, address) = arp.sender;
        let is_news = address == self.gateway() && *self.gateway_mac.borrow() != Some(mac);
        let asks_us = arp.asks && arp.target == self.own.address;
        if !is_news && !asks_us {
            return;
        }
        let result = match lock(&self.outgoing).as_mut() {
            None => Ok(()),
            Some(outgoing) => {
                if is_news {
                    outgoing.address(Outer::new(
                        self.own,
                        End {
                            mac,
                            address,
                            port: UDP_PORT,
                        },
                    ));
                }
                let answer = Arp {
                    asks: false,
                    sender: (self.own.mac, self.own.address),
                    target: address,
                };
                if asks_us {
                    outgoing.frame(&answer.frame(Some(mac)))
                } else {
                    Ok(())
                }
            }
        };
        if is_news {
            self.gateway_mac.send_replace(Some(mac));
        }
        if let Err(error) = result {
            self.fail(&error);
        }
    }

    /// Asks for the gateway, or only says where this pod is.
    pub(super) fn ask(&self, target: std::net::Ipv4Addr) {
        let ask = Arp {
            asks: true,
            sender: (self.own.mac, self.own.address),
            target,
        };
        let result = lock(&self.outgoing)
            .as_mut()
            .map_or(Ok(()), |outgoing| outgoing.frame(&ask.frame(None)));
        if let Err(error) = result {
            self.fail(&error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::SharedAttachment;

    /// Whatever a gateway writes into the memory ends in one counter, and the pod goes on.
    #[test]
    fn every_frame_is_counted_once() {
        let shared = Shared::new(
            SharedAttachment {
                socket: "/nowhere".into(),
                port: "v".into(),
                address: [10, 1, 0, 2].into(),
            },
            4_000,
        );
        let gateway = End {
            mac: [2, 0, 0, 0, 0, 1],
            address: [10, 1, 0, 1].into(),
            port: UDP_PORT,
        };
        let counters = Counters::default();
        let from = (gateway.address, gateway.port);
        let mut shown = 0;
        let mut frame = |from_end: End, to: End, cut: usize, room: bool| {
            let outer = Outer::new(from_end, to).before(6);
            let frame = [&outer[..], b"packet"].concat();
            let show = &mut |packet: &[u8]| {
                assert_eq!(packet, b"packet");
                shown += 1;
                room
            };
            shared.frame(&frame[..cut], from, &counters, show)
        };
        let (own, whole) = (shared.own, 48);
        assert!(!frame(gateway, own, whole, false), "shown again");
        assert!(frame(gateway, own, whole, true));
        for cut in [0, 13, 20, whole - 1] {
            assert!(frame(gateway, own, cut, true));
        }
        assert!(frame(gateway, End { port: 1, ..own }, whole, true));
        assert!(frame(End { port: 1, ..gateway }, own, whole, true));
        let mut other = gateway;
        other.address = [10, 1, 0, 9].into();
        assert!(frame(other, own, whole, true));
        assert_eq!(shown, 2);
        let counts = counters.read();
        assert_eq!(counts.shared_received, 1);
        assert_eq!(counts.frames_malformed, 4);
        assert_eq!(counts.frames_not_ours, 1);
        assert_eq!(counts.frames_not_from_gateway, 2);
    }
}
