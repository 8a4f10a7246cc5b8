//! What travels from the first link to the second: requests by name or on a stamped gateway, of any length.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use dmsc_wire::{FlowLabel, Kind as Type, NameBuf, PacketBuilder, RequestId};
use serde::{Deserialize, Serialize};

use super::link::{LINKS, Way};
use super::neighbour;
use crate::torture::outer::Frame;

/// Shortest frame: outer headers, header, names and the stamp.
pub const SMALLEST: usize = 128;
/// Longest frame.
pub const LARGEST: usize = 9_000;
/// Bytes at the start of the payload in which a generator keeps account.
pub const STAMP: usize = 16;

/// By what the router forwards.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nothing: ports are cross-connected, frames get new MAC addresses
    Mac,
    /// Transit: the gateway that stands in the header
    Gateway,
    /// The name, which is looked up: no gateway was chosen yet
    Name,
}

impl Mode {
    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Mac => "mac",
            Mode::Gateway => "gateway",
            Mode::Name => "name",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Lengths of the frames, from the Ethernet header to the end of the payload, without checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Size {
    /// All the same.
    Bytes(usize),
    /// 7 × 128, 4 × 576, 1 × 1,500 bytes: the shortest of the usual mix (64) cannot hold a name.
    Imix,
}

impl Size {
    /// Lengths in the order in which they are sent, over and over.
    pub fn cycle(self) -> Vec<usize> {
        match self {
            Size::Bytes(bytes) => vec![bytes],
            // Spread out, not in blocks: 128, 576, 128, 576, …
            Size::Imix => [128, 576, 128, 576, 128, 1_500, 128, 576, 128, 576, 128, 128].into(),
        }
    }

    /// Mean length, bytes.
    pub fn mean(self) -> f64 {
        let cycle = self.cycle();
        cycle.iter().sum::<usize>() as f64 / cycle.len() as f64
    }

    /// Shortest frame.
    pub fn shortest(self) -> usize {
        self.cycle().into_iter().min().unwrap_or(SMALLEST)
    }

    /// Longest frame.
    pub fn longest(self) -> usize {
        self.cycle().into_iter().max().unwrap_or(SMALLEST)
    }

    /// MTU of links that carry it; at least what DMSC asks of a link between routers.
    pub fn mtu(self) -> u16 {
        if self.longest() <= 1_500 {
            1_800
        } else {
            9_000
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Bytes(bytes) => bytes.fmt(f),
            Size::Imix => f.write_str("imix"),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("imix") {
            return Ok(Size::Imix);
        }
        text.parse()
            .ok()
            .filter(|bytes| (SMALLEST..=LARGEST).contains(bytes))
            .map(Size::Bytes)
            .ok_or_else(|| format!("a length from {SMALLEST} to {LARGEST} bytes, or imix"))
    }
}

/// A frame of which the same place is written again and again.
#[derive(Debug, Clone)]
pub struct Template {
    /// A whole frame, without UDP checksum, which IPv4 allows.
    pub bytes: Vec<u8>,
    /// Where the eight digits of the name are.
    name: usize,
    /// Where the payload begins.
    payload: usize,
}

/// Prefix number `number`, as the router is told.
pub fn prefix(number: u32) -> NameBuf {
    text_name(&format!("/p/{number:08x}"))
}

fn text_name(text: &str) -> NameBuf {
    NameBuf::parse(text).expect("names in this program are canonical")
}

/// A sealed frame of `length` bytes on a way to a name below prefix `number`, with `stamp` in it.
pub fn frame(way: Way, mode: Mode, length: usize, number: u32, stamp: [u8; STAMP]) -> Frame {
    let destination = text_name(&format!("/p/{number:08x}/m"));
    let source = text_name("/c");
    let packet = |payload: &[u8]| {
        let mut builder = PacketBuilder::new(Type::Request)
            .destination(destination.as_name())
            .source(source.as_name())
            .domain(way[0].domain())
            .flow_label(FlowLabel(1))
            .request_id(RequestId(u64::from(number)))
            .source_gateway(way[0].far_node())
            .payload(payload);
        if mode != Mode::Name {
            builder = builder.destination_gateway(way[1].far_node());
        }
        builder.to_vec().unwrap_or_default()
    };
    let mut frame = Frame::default();
    neighbour::wrap(way[0], &packet(&stamp), &mut frame);
    let missing = length.saturating_sub(frame.bytes.len());
    let mut payload = stamp.to_vec();
    payload.resize(STAMP + missing, 0);
    neighbour::wrap(way[0], &packet(&payload), &mut frame);
    frame
}

impl Template {
    /// Of frames of `length` bytes, at least [`SMALLEST`], on this process's way.
    pub fn new(mode: Mode, length: usize) -> Template {
        let mut frame = frame(LINKS, mode, length, 0, [0; STAMP]);
        crate::torture::outer::put16(&mut frame.bytes, frame.transport + 6, 0);
        let packet = &frame.bytes[frame.dmsc..];
        let header = dmsc_wire::parse(packet).expect("own packets are well-formed");
        let digits = b"00000000";
        let name = packet
            .windows(digits.len())
            .position(|window| window == digits)
            .expect("the name is in the packet");
        Template {
            name: frame.dmsc + name,
            payload: frame.dmsc + header.total_len() - header.payload(packet).len(),
            bytes: frame.bytes,
        }
    }

    /// Writes into `bytes`, a copy of the template or of its [`Template::head`], which prefix it is for and what is in its stamp.
    #[inline]
    pub fn write(&self, bytes: &mut [u8], number: u32, stamp: &[u8; STAMP]) {
        if let Some(place) = bytes.get_mut(self.name..self.name + 8) {
            place.copy_from_slice(&hex(number));
        }
        if let Some(place) = bytes.get_mut(self.payload..self.payload + STAMP) {
            place.copy_from_slice(stamp);
        }
    }

    /// Everything up to the end of the stamp: the rest of the payload may be anything.
    #[inline]
    pub fn head(&self) -> &[u8] {
        &self.bytes[..self.payload + STAMP]
    }

    /// The stamp in a frame that came out at the other side, where the headers are as long.
    #[inline]
    pub fn stamp<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8; STAMP]> {
        bytes.get(self.payload..)?.first_chunk()
    }
}

/// Eight hexadecimal digits, without a branch: each nibble is spread to a byte, and those above 9 get what is between `9` and `a`.
#[inline]
fn hex(number: u32) -> [u8; 8] {
    let mut spread = u64::from(number);
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let above_nine = ((spread + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (spread + 0x3030_3030_3030_3030 + above_nine * 0x27).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::outer;

    #[test]
    fn digits_are_those_of_the_names() {
        for number in [0, 1, 9, 10, 0xabcd_ef01, 0x1234_5678, u32::MAX] {
            let digits = hex(number);
            assert_eq!(&digits[..], format!("{number:08x}").as_bytes());
        }
    }

    #[test]
    fn frames_have_the_length_and_the_name_that_were_asked_for() {
        for mode in [Mode::Mac, Mode::Gateway, Mode::Name] {
            for length in [SMALLEST, 129, 576, 1_500, LARGEST] {
                let template = Template::new(mode, length);
                assert_eq!(template.bytes.len(), length);
                let mut bytes = template.bytes.clone();
                let stamp = [7; STAMP];
                template.write(&mut bytes, 0xbeef, &stamp);
                assert_eq!(template.stamp(&bytes), Some(&stamp));
                let (packet, ..) = outer::find_dmsc(&bytes).expect("DMSC");
                let header = dmsc_wire::parse(packet).expect("well-formed");
                let name = header.destination_name(packet).expect("a name");
                assert_eq!(name.to_string(), "/p/0000beef/m");
                assert!(name.as_bytes().starts_with(prefix(0xbeef).as_bytes()));
                assert_eq!(header.destination_gateway.0 == 0, mode == Mode::Name);
                assert!(template.head().len() <= SMALLEST);
            }
        }
    }

    #[test]
    fn sizes_are_read_and_refused() {
        assert_eq!("imix".parse(), Ok(Size::Imix));
        assert_eq!("9000".parse(), Ok(Size::Bytes(9_000)));
        for bad in ["127", "9001", "x"] {
            let error = bad.parse::<Size>().expect_err("no size");
            assert!(error.contains("128 to 9000"), "{error}");
        }
        let cycle = Size::Imix.cycle();
        for (length, count) in [(128, 7), (576, 4), (1_500, 1)] {
            assert_eq!(cycle.iter().filter(|l| **l == length).count(), count);
        }
        assert!((Size::Imix.mean() - 391.67).abs() < 0.01);
    }
}
