//! Capture files in the classic pcap format: what the dataplane reads and writes, and the last frames before a failure.

use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

/// A capture file being written.
#[derive(Debug)]
pub struct Writer(BufWriter<std::fs::File>);

impl Writer {
    /// Makes the file.
    pub fn create(path: &Path) -> io::Result<Writer> {
        let mut out = BufWriter::with_capacity(1 << 18, std::fs::File::create(path)?);
        for word in [0xa1b2_c3d4_u32, 4 << 16 | 2, 0, 0, 65_535, 1] {
            out.write_all(&word.to_le_bytes())?;
        }
        Ok(Writer(out))
    }

    /// Adds a frame; its time is its `number` in microseconds.
    pub fn frame(&mut self, number: u64, bytes: &[u8]) -> io::Result<()> {
        let length = bytes.len() as u32;
        let time = [(number / 1_000_000) as u32, (number % 1_000_000) as u32];
        for word in time.into_iter().chain([length, length]) {
            self.0.write_all(&word.to_le_bytes())?;
        }
        self.0.write_all(bytes)
    }

    /// Writes what is left.
    pub fn finish(mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Calls `each` with every frame of a file.
pub fn read(path: &Path, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut file = io::BufReader::with_capacity(1 << 18, std::fs::File::open(path)?);
    let mut head = [0; 24];
    file.read_exact(&mut head)?;
    let mut frame = Vec::new();
    loop {
        let mut record = [0; 16];
        match file.read_exact(&mut record) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let length = u32::from_le_bytes([record[8], record[9], record[10], record[11]]);
        frame.resize(length as usize, 0);
        file.read_exact(&mut frame)?;
        each(&frame);
    }
}

/// The last frames into one port.
#[derive(Debug)]
pub struct Recent {
    frames: Vec<Vec<u8>>,
    next: usize,
    count: u64,
}

/// How many frames are remembered.
const REMEMBERED: usize = 512;

impl Default for Recent {
    fn default() -> Self {
        Recent {
            frames: vec![Vec::new(); REMEMBERED],
            next: 0,
            count: 0,
        }
    }
}

impl Recent {
    /// Remembers a frame.
    pub fn push(&mut self, bytes: &[u8]) {
        let place = &mut self.frames[self.next];
        place.clear();
        place.extend_from_slice(bytes);
        self.next = (self.next + 1) % REMEMBERED;
        self.count += 1;
    }

    /// Writes them to a file, the oldest first.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut out = Writer::create(path)?;
        let kept = self.count.min(REMEMBERED as u64) as usize;
        for age in (1..=kept).rev() {
            let index = (self.next + REMEMBERED - age) % REMEMBERED;
            out.frame(self.count - age as u64, &self.frames[index])?;
        }
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_frames_come_back_in_order() {
        let path = std::env::temp_dir().join(format!("dmsc-perf-{}.pcap", std::process::id()));
        let mut recent = Recent::default();
        for number in 0..REMEMBERED + 3 {
            recent.push(&(number as u32).to_be_bytes());
        }
        recent.save(&path).expect("saved");
        let mut frames = Vec::new();
        read(&path, |frame| frames.push(frame.to_vec())).expect("read");
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(frames.len(), REMEMBERED);
        assert_eq!(frames[0], 3u32.to_be_bytes());
        assert_eq!(
            frames[REMEMBERED - 1],
            (REMEMBERED as u32 + 2).to_be_bytes()
        );
    }
}
