//! A cross-connected port: frames leave by another port with new MAC addresses, and nothing else of them is read or changed.
//!
//! Hellos, probes and address resolution stay this router's, so that its neighbours see it as always. Only measurements connect ports so: it is
//! what a router can cost at least, and what DPDK's testpmd does in its mode `mac`.

use dmsc_wire::Kind;

use crate::frame::Frame;
use crate::mac::MacAddress;
use crate::net::{ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6};

/// First byte of a hello: version 1, type 5.
const HELLO: u8 = dmsc_wire::VERSION << 4 | Kind::Hello.code();
/// First byte of a probe: type 6. Two ports that are one link would pass those of the link to and fro for ever.
const PROBE: u8 = dmsc_wire::VERSION << 4 | Kind::Probe.code();
/// EtherTypes as a machine reads them where they stand.
const IPV4: u16 = ETHERTYPE_IPV4.to_be();
const DMSC: u16 = dmsc_wire::ETHERTYPE.to_be();
/// Where the DMSC header of an untagged frame is, by carrier.
const BEHIND_ETHERNET: usize = 14;
const BEHIND_UDP4: usize = 42;
const BEHIND_UDP6: usize = 62;

/// Destination and source address as they stand in a frame, in two numbers that stay in registers.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    front: u64,
    rest: u32,
}

impl Addresses {
    /// Of frames to `destination` from `source`.
    #[inline]
    pub fn new(destination: MacAddress, source: MacAddress) -> Addresses {
        let [a, b, c, d, e, f] = destination.0;
        let [g, h, i, j, k, l] = source.0;
        Addresses {
            front: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            rest: u32::from_ne_bytes([i, j, k, l]),
        }
    }

    #[inline(always)]
    fn put(self, frame: &mut [u8; 12]) {
        let (front, rest) = frame.split_at_mut(8);
        front.copy_from_slice(&self.front.to_ne_bytes());
        rest.copy_from_slice(&self.rest.to_ne_bytes());
    }
}

/// [`run`] for all frames of a burst; how many of them are this router's. A loop of its own, which keeps what it needs in registers, over
/// four frames at a time: so short is what is done with one that the loop itself shows.
#[inline(never)]
pub fn run_all<F: Frame>(frames: &mut [F], udp_port: u16, addresses: Addresses) -> usize {
    let mut kept = 0;
    let mut each = |frame| {
        if !run(frame, udp_port, addresses) {
            kept += 1;
        }
    };
    let (fours, rest) = frames.as_chunks_mut::<4>();
    for four in fours {
        four.iter_mut().for_each(&mut each);
    }
    rest.iter_mut().for_each(&mut each);
    kept
}

/// Puts the new addresses in; false, and nothing changed, if the frame is this router's or no Ethernet frame.
#[inline(always)]
pub fn run<F: Frame>(frame: &mut F, udp_port: u16, addresses: Addresses) -> bool {
    // One look is enough for most.
    if let Some(front) = frame.bytes_mut().first_chunk_mut::<{ BEHIND_UDP4 + 1 }>() {
        let first = match u16::from_ne_bytes([front[12], front[13]]) {
            IPV4 => front[BEHIND_UDP4],
            DMSC => front[BEHIND_ETHERNET],
            _ => HELLO, // one look does not tell
        };
        if !is_own(first)
            && let Some(place) = front.first_chunk_mut()
        {
            addresses.put(place);
            return true;
        }
    }
    run_otherwise(frame, udp_port, addresses)
}

/// Another carrier, a shorter frame, or perhaps one of this router.
#[inline(never)]
fn run_otherwise<F: Frame>(frame: &mut F, udp_port: u16, addresses: Addresses) -> bool {
    if is_kept(frame, udp_port) {
        return false;
    }
    let Some(place) = frame.bytes_mut().first_chunk_mut() else {
        return false;
    };
    addresses.put(place);
    true
}

/// Whether a packet that begins with this byte is a hello or a probe.
#[inline(always)]
fn is_own(first: u8) -> bool {
    matches!(first, HELLO | PROBE)
}

/// Whether a frame is for this router itself, or too short for Ethernet.
#[inline(always)]
pub fn is_kept<F: Frame>(frame: &F, udp_port: u16) -> bool {
    let bytes = frame.bytes();
    let Some(head) = bytes.first_chunk::<14>() else {
        return true;
    };
    let own_at = |at: usize| bytes.get(at).is_some_and(|first| is_own(*first));
    match u16::from_be_bytes([head[12], head[13]]) {
        ETHERTYPE_ARP => true,
        dmsc_wire::ETHERTYPE => own_at(BEHIND_ETHERNET),
        ETHERTYPE_IPV4 => own_at(BEHIND_UDP4) && is_to(bytes, BEHIND_UDP4, udp_port),
        ETHERTYPE_IPV6 => own_at(BEHIND_UDP6) && is_to(bytes, BEHIND_UDP6, udp_port),
        _ => false,
    }
}

/// Whether the UDP header before `behind` has this destination port.
fn is_to(bytes: &[u8], behind: usize, udp_port: u16) -> bool {
    crate::net::be16(bytes, behind - 6) == udp_port
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PlainFrame;
    use crate::outer::{Outer, UdpPath};

    const HERE: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const THERE: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

    fn udp(first: u8, port: u16) -> PlainFrame {
        let outer = Outer::udp(
            HERE,
            0,
            UdpPath {
                local: "10.0.0.1".parse().expect("address"),
                remote: "10.0.0.2".parse().expect("address"),
                source_port: None,
                destination_port: port,
                checksum: false,
            },
        );
        let mut frame = PlainFrame::new(&[first; 60]);
        assert!(outer.write(&mut frame, THERE, 1, 0, 0));
        frame
    }

    #[test]
    fn only_hellos_probes_and_address_resolution_stay() {
        let new = Addresses::new(THERE, HERE);
        assert!(!run(&mut udp(0x15, 35029), 35029, new), "a hello");
        assert!(!run(&mut udp(0x16, 35029), 35029, new), "a probe");
        assert!(run(&mut udp(0x10, 35029), 35029, new), "a request");
        assert!(run(&mut udp(0x15, 53), 35029, new), "another port");
        let mut arp = vec![0xff; 42];
        arp[12..14].copy_from_slice(&ETHERTYPE_ARP.to_be_bytes());
        assert!(!run(&mut PlainFrame::new(&arp), 35029, new));
        assert!(!run(&mut PlainFrame::new(&[0; 13]), 35029, new));
        let mut any = PlainFrame::new(&[7; 64]);
        assert!(run(&mut any, 35029, new));
        assert_eq!(any.bytes()[..6], THERE.0);
        assert_eq!(any.bytes()[6..12], HERE.0);
        assert_eq!(any.bytes()[12..], [7; 52]);
    }

    #[test]
    fn bursts_of_all_lengths_leave_but_for_what_stays() {
        let [next, out] = [8, 9].map(|last| MacAddress([2, 0, 0, 0, 0, last]));
        let new = Addresses::new(next, out);
        for length in 0..12 {
            // Every third is a hello.
            let frame = |at| udp(if at % 3 == 2 { 0x15 } else { 0x10 }, 35029);
            let before: Vec<PlainFrame> = (0..length).map(frame).collect();
            let mut after: Vec<PlainFrame> = (0..length).map(frame).collect();
            assert_eq!(run_all(&mut after, 35029, new), length / 3);
            for (at, (before, after)) in before.iter().zip(&after).enumerate() {
                let addresses = match at % 3 {
                    2 => [THERE.0, HERE.0],
                    _ => [next.0, out.0],
                };
                assert_eq!(after.bytes()[..12], addresses.concat());
                assert_eq!(after.bytes()[12..], before.bytes()[12..]);
            }
        }
    }
}
