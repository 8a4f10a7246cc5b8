//! Telemetry as bytes: of each report what changed since the last one of its pair.
//!
//! Encoder and decoder keep the same table of pairs. A connection begins with both empty; what a pair is stands before its first report only.
//! One entry: number of the pair (its place in the table; one more than there are: a new pair follows, as member and topology), then the report.

use std::collections::HashMap;

use dmsc_linkstate::action::Topology;
use dmsc_wire::NodeId;

use crate::pair::Pair;
use crate::report::Report;
use crate::varint;

/// Most pairs of one gateway in a connection.
pub const MAX_PAIRS: usize = 65_536;

/// Bytes that no encoder makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The bytes end within an entry, or an entry is none.
    #[error(
        "telemetry: entry {entry} is damaged: the stream must be opened again, it cannot be continued"
    )]
    Damaged {
        /// Which of the batch, from 0.
        entry: usize,
    },
    /// More pairs than a gateway may report.
    #[error("telemetry: more than {MAX_PAIRS} pairs of one gateway: probe fewer members")]
    TooManyPairs,
}

/// At the gateway.
#[derive(Debug, Default)]
pub struct Encoder {
    places: HashMap<Pair, usize>,
    last: Vec<Report>,
}

impl Encoder {
    /// Of a connection that has just been opened.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one report, at most [`crate::report::MAX_BYTES`] bytes.
    ///
    /// # Errors
    /// [`StreamError::TooManyPairs`]; nothing is appended then.
    pub fn push(
        &mut self,
        pair: Pair,
        report: &Report,
        out: &mut Vec<u8>,
    ) -> Result<(), StreamError> {
        let start = out.len();
        let place = match self.places.get(&pair) {
            Some(place) => *place,
            None if self.last.len() >= MAX_PAIRS => return Err(StreamError::TooManyPairs),
            None => {
                let place = self.last.len();
                self.places.insert(pair, place);
                self.last.push(Report::default());
                varint::put(out, place as u64);
                varint::put(out, pair.member.0.into());
                out.push(u8::from(pair.topology == Topology::Delay));
                let room = out.len() - start;
                self.last[place] = report.encode(&Report::default(), room, out);
                return Ok(());
            }
        };
        varint::put(out, place as u64);
        let room = out.len() - start;
        self.last[place] = report.encode(&self.last[place], room, out);
        Ok(())
    }
}

/// At the scheduling center, per connection.
#[derive(Debug)]
pub struct Decoder {
    gateway: NodeId,
    pairs: Vec<(Pair, Report)>,
}

impl Decoder {
    /// Of a connection that `gateway` has just opened.
    #[must_use]
    pub fn new(gateway: NodeId) -> Self {
        Self {
            gateway,
            pairs: Vec::new(),
        }
    }

    /// Reads a batch of reports and gives each to `take`.
    ///
    /// # Errors
    /// [`StreamError`]: the connection is of no further use. Reports before the bad one were given.
    pub fn read(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(Pair, &Report),
    ) -> Result<(), StreamError> {
        let mut entry = 0;
        while !bytes.is_empty() {
            let place = self
                .entry(&mut bytes)
                .ok_or(StreamError::Damaged { entry })?;
            if self.pairs.len() > MAX_PAIRS {
                return Err(StreamError::TooManyPairs);
            }
            let (pair, report) = &self.pairs[place];
            take(*pair, report);
            entry += 1;
        }
        Ok(())
    }

    fn entry(&mut self, bytes: &mut &[u8]) -> Option<usize> {
        let place = usize::try_from(varint::take(bytes)?).ok()?;
        if place == self.pairs.len() {
            let member = NodeId(u32::try_from(varint::take(bytes)?).ok()?);
            let (&topology, rest) = bytes.split_first()?;
            *bytes = rest;
            let topology = match topology {
                0 => Topology::Metric,
                1 => Topology::Delay,
                _ => return None,
            };
            let pair = Pair {
                gateway: self.gateway,
                member,
                topology,
            };
            let report = Report::decode(&Report::default(), bytes)?;
            self.pairs.push((pair, report));
        } else {
            let (_, last) = self.pairs.get_mut(place)?;
            *last = Report::decode(last, bytes)?;
        }
        Some(place)
    }
}
