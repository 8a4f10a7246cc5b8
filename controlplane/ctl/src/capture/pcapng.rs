//! Writes pcapng (draft-ietf-opsawg-pcapng): Ethernet, nanosecond time stamps, direction in the flags of each packet.

use std::io::{self, Write};

const SECTION_HEADER: u32 = 0x0A0D_0D0A;
const BYTE_ORDER_MAGIC: u32 = 0x1A2B_3C4D;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const LINKTYPE_ETHERNET: u16 = 1;

const OPT_END: u16 = 0;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;

/// One section with one interface.
pub struct PcapngWriter<W: Write> {
    sink: W,
    /// Of the last frame: the statistics at the end carry it.
    last_ns: u64,
}

/// The body of a block as it grows; all numbers little-endian.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// A time stamp: high half first.
    fn time(self, ns: u64) -> Self {
        self.u32((ns >> 32) as u32).u32(ns as u32)
    }

    fn padded(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Options are short texts and numbers; longer texts are cut to what the length field can say.
    fn option(self, code: u16, value: &[u8]) -> Self {
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.u16(code).u16(value.len() as u16).padded(value)
    }

    fn end_of_options(self) -> Self {
        self.u16(OPT_END).u16(0)
    }
}

impl<W: Write> PcapngWriter<W> {
    /// Writes section header and interface description; `snap` 0 means no limit.
    ///
    /// # Errors
    /// When the sink cannot be written.
    pub fn new(sink: W, interface: &str, snap: u32) -> io::Result<Self> {
        let mut writer = Self { sink, last_ns: 0 };
        let application = concat!("dmscctl ", env!("CARGO_PKG_VERSION"));
        let section = Body::default()
            .u32(BYTE_ORDER_MAGIC)
            .u16(1)
            .u16(0)
            // Length of the section: not known.
            .u32(u32::MAX)
            .u32(u32::MAX)
            .option(SHB_USERAPPL, application.as_bytes())
            .end_of_options();
        writer.block(SECTION_HEADER, &section)?;
        let interface = Body::default()
            .u16(LINKTYPE_ETHERNET)
            .u16(0)
            .u32(snap)
            .option(IF_NAME, interface.as_bytes())
            .option(IF_TSRESOL, &[9])
            .end_of_options();
        writer.block(INTERFACE_DESCRIPTION, &interface)?;
        Ok(writer)
    }

    /// Writes one frame; `length` is that on the wire, `data` what was kept of it.
    ///
    /// # Errors
    /// When the sink cannot be written.
    pub fn frame(
        &mut self,
        time_ns: u64,
        outgoing: bool,
        length: u32,
        data: &[u8],
    ) -> io::Result<()> {
        self.last_ns = time_ns;
        let flags: u32 = if outgoing { 0b10 } else { 0b01 };
        // A gRPC message is far shorter than 4 GiB.
        let kept = data.len() as u32;
        let body = Body::default()
            .u32(0)
            .time(time_ns)
            .u32(kept)
            .u32(length.max(kept))
            .padded(data)
            .option(EPB_FLAGS, &flags.to_le_bytes())
            .end_of_options();
        self.block(ENHANCED_PACKET, &body)
    }

    /// Writes how many frames were copied and missed, and flushes.
    ///
    /// # Errors
    /// When the sink cannot be written.
    pub fn finish(&mut self, received: u64, missed: u64) -> io::Result<()> {
        let body = Body::default()
            .u32(0)
            .time(self.last_ns)
            .option(ISB_IFRECV, &(received + missed).to_le_bytes())
            .option(ISB_IFDROP, &missed.to_le_bytes())
            .end_of_options();
        self.block(INTERFACE_STATISTICS, &body)?;
        self.flush()
    }

    /// Hands everything to the reader.
    ///
    /// # Errors
    /// When the sink cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }

    fn block(&mut self, kind: u32, body: &Body) -> io::Result<()> {
        let length = (body.0.len() as u32 + 12).to_le_bytes();
        self.sink.write_all(&kind.to_le_bytes())?;
        self.sink.write_all(&length)?;
        self.sink.write_all(&body.0)?;
        self.sink.write_all(&length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks the blocks by their lengths, as a reader does.
    fn blocks(bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let word =
            |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let (mut blocks, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let length = word(at + 4) as usize;
            assert_eq!(length % 4, 0);
            assert_eq!(word(at + length - 4) as usize, length);
            blocks.push((word(at), bytes[at + 8..at + length - 4].to_vec()));
            at += length;
        }
        blocks
    }

    #[test]
    fn blocks_are_well_formed() {
        let mut bytes = Vec::new();
        let mut writer = PcapngWriter::new(&mut bytes, "pod1", 0).expect("header");
        let time = 1_700_000_000_123_456_789;
        writer.frame(time, true, 100, &[7; 61]).expect("frame");
        writer.finish(1, 2).expect("end");
        let blocks = blocks(&bytes);
        let kinds: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(
            kinds,
            [
                SECTION_HEADER,
                INTERFACE_DESCRIPTION,
                ENHANCED_PACKET,
                INTERFACE_STATISTICS
            ]
        );
        let frame = &blocks[2].1;
        let word =
            |at: usize| u32::from_le_bytes(frame[at..at + 4].try_into().expect("four bytes"));
        assert_eq!(u64::from(word(4)) << 32 | u64::from(word(8)), time);
        assert_eq!((word(12), word(16)), (61, 100));
        // 61 bytes are padded to 64; then option 2, four bytes, 2 = outbound.
        assert_eq!(&frame[20 + 64..20 + 72], [2, 0, 4, 0, 2, 0, 0, 0]);
    }
}
