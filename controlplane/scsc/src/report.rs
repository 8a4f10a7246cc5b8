//! What one gateway measured towards another: of one second, or of several merged.

use dmsc_wire::{NodeId, PortId};

use crate::histogram::Histogram;
use crate::pair::LinkKey;
use crate::varint;

/// Most bytes of one report in a stream: what a pair costs per second.
pub const MAX_BYTES: usize = 100;

/// What the far end says of itself in its answers; the later one is the worse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// Takes calls.
    #[default]
    Healthy,
    /// Takes no new ones.
    Draining,
    /// Has more than it can do.
    Overloaded,
}

/// Quality of one pair over a span. Reports of adjacent spans merge, in any order and grouping: counts add up, of gauges the worst stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How long was measured, ms.
    pub span_ms: u32,
    /// Probes sent whose answer is in, or overdue.
    pub sent: u32,
    /// Probes answered.
    pub answered: u32,
    /// Two-way delay without the reflector's own time.
    pub delay: Histogram,
    /// How much the delay of consecutive probes differs (RFC 3393, RFC 5481 §4.1), without sign.
    pub variation: Histogram,
    /// Counted towards the member, all packets.
    pub bytes: u64,
    /// Least unused capacity of the links on the way, kbit/s, as their owners advertise it (RFC 8570 §4.7); `u64::MAX`: not known.
    pub available_kbps: u64,
    /// Which link that is.
    pub narrowest: LinkKey,
    /// How much of what it can do the far end does, in thousandths; may exceed 1,000.
    pub load_permille: u32,
    /// What the far end says.
    pub health: Health,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            span_ms: 0,
            sent: 0,
            answered: 0,
            delay: Histogram::default(),
            variation: Histogram::default(),
            bytes: 0,
            available_kbps: u64::MAX,
            narrowest: LinkKey::default(),
            load_permille: 0,
            health: Health::Healthy,
        }
    }
}

impl Report {
    /// A probe was answered after `delay_us`; the one before it after `before_us`.
    pub fn answer(&mut self, delay_us: u32, before_us: Option<u32>) {
        self.sent = self.sent.saturating_add(1);
        self.answered = self.answered.saturating_add(1);
        self.delay.add(delay_us);
        if let Some(before) = before_us {
            self.variation.add(delay_us.abs_diff(before));
        }
    }

    /// A probe was not answered in time.
    pub fn lost(&mut self) {
        self.sent = self.sent.saturating_add(1);
    }

    /// Share of probes that were not answered, in millionths; `None` if none was sent.
    #[must_use]
    pub fn loss_ppm(&self) -> Option<u32> {
        let lost = u64::from(self.sent.saturating_sub(self.answered));
        let ppm = (lost * 1_000_000).checked_div(u64::from(self.sent))?;
        u32::try_from(ppm).ok()
    }

    /// Adds another span of the same pair.
    pub fn merge(&mut self, other: &Report) {
        self.span_ms = self.span_ms.saturating_add(other.span_ms);
        self.sent = self.sent.saturating_add(other.sent);
        self.answered = self.answered.saturating_add(other.answered);
        self.delay.merge(&other.delay);
        self.variation.merge(&other.variation);
        self.bytes = self.bytes.saturating_add(other.bytes);
        // Of two links that are equally full the lower key stays: whichever comes first must not matter.
        (self.available_kbps, self.narrowest) =
            (self.available_kbps, self.narrowest).min((other.available_kbps, other.narrowest));
        self.load_permille = self.load_permille.max(other.load_permille);
        self.health = self.health.max(other.health);
    }

    /// Everything that changed since `last`, in at most [`MAX_BYTES`] less `room` bytes: histograms are coarsened until they fit.
    pub(crate) fn encode(&self, last: &Report, room: usize, out: &mut Vec<u8>) -> Report {
        let start = out.len();
        let mut sent = self.clone();
        loop {
            sent.put(last, out);
            if out.len() - start + room <= MAX_BYTES {
                return sent;
            }
            out.truncate(start);
            let (delay, variation) = (sent.delay.coarsen(), sent.variation.coarsen());
            if !delay && !variation {
                // Fourteen numbers of at most ten bytes in sum fit: `fields_fit` shows it for the largest.
                sent.put(last, out);
                return sent;
            }
        }
    }

    fn put(&self, last: &Report, out: &mut Vec<u8>) {
        let (new, old) = (self.gauges(), last.gauges());
        let mut changed = 0u64;
        for (bit, (new, old)) in new.iter().zip(old).enumerate() {
            changed |= u64::from(*new != old) << bit;
        }
        varint::put(out, changed);
        for (new, old) in new.iter().zip(old) {
            if *new != old {
                varint::put_change(out, old, *new);
            }
        }
        self.delay.encode(out);
        self.variation.encode(out);
    }

    pub(crate) fn decode(last: &Report, bytes: &mut &[u8]) -> Option<Report> {
        let changed = varint::take(bytes)?;
        let mut gauges = last.gauges();
        if changed >> gauges.len() != 0 {
            return None;
        }
        for (bit, gauge) in gauges.iter_mut().enumerate() {
            if changed >> bit & 1 == 1 {
                let new = varint::take_change(bytes, *gauge)?;
                if new == *gauge {
                    return None;
                }
                *gauge = new;
            }
        }
        let [
            span,
            sent,
            answered,
            traffic,
            available,
            node,
            port,
            load,
            health,
        ] = gauges;
        Some(Report {
            span_ms: u32::try_from(span).ok()?,
            sent: u32::try_from(sent).ok()?,
            answered: u32::try_from(answered).ok()?,
            delay: Histogram::decode(bytes)?,
            variation: Histogram::decode(bytes)?,
            bytes: traffic,
            available_kbps: available,
            narrowest: LinkKey {
                node: NodeId(u32::try_from(node).ok()?),
                port: PortId(u16::try_from(port).ok()?),
            },
            load_permille: u32::try_from(load).ok()?,
            health: match health {
                0 => Health::Healthy,
                1 => Health::Draining,
                2 => Health::Overloaded,
                _ => return None,
            },
        })
    }

    /// Everything but the histograms, in the order of the encoding.
    fn gauges(&self) -> [u64; 9] {
        [
            self.span_ms.into(),
            self.sent.into(),
            self.answered.into(),
            self.bytes,
            self.available_kbps,
            self.narrowest.node.0.into(),
            self.narrowest.port.0.into(),
            self.load_permille.into(),
            self.health as u64,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_fit() {
        let mut largest = Report {
            span_ms: 1 << 31,
            sent: 1 << 31,
            answered: 1 << 31,
            bytes: 1 << 63,
            available_kbps: 1 << 62,
            narrowest: LinkKey {
                node: NodeId(1 << 31),
                port: PortId(1 << 15),
            },
            load_permille: 1 << 31,
            health: Health::Overloaded,
            ..Report::default()
        };
        let mut times = 1u32;
        for _ in 0..2_000 {
            times = times.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            largest.delay.add(times);
            largest.variation.add(times >> 7);
        }
        let mut out = Vec::new();
        let sent = largest.encode(&Report::default(), 20, &mut out);
        assert!(out.len() + 20 <= MAX_BYTES, "{}", out.len());
        assert_eq!(sent.delay.count(), 2_000);
        let back = Report::decode(&Report::default(), &mut out.as_slice());
        assert_eq!(back, Some(sent));
    }

    #[test]
    fn loss_is_of_what_was_sent() {
        let mut report = Report::default();
        assert_eq!(report.loss_ppm(), None);
        report.answer(1_000, None);
        report.answer(1_500, Some(1_000));
        report.lost();
        assert_eq!(report.loss_ppm(), Some(333_333));
        assert_eq!(report.variation.count(), 1);
    }
}
