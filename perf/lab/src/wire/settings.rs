//! What a wire does to frames, and the JSON in which it is told to.

use serde::{Deserialize, Serialize};

/// Impairments of one direction. All zero: a perfect cable.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Every frame is this much later, ns.
    pub delay_ns: u64,
    /// Every frame is up to this much later still, evenly drawn, ns. Frames keep their order.
    pub jitter_ns: u64,
    /// Probability that a frame is lost.
    pub loss: f64,
    /// Probability that a frame is overtaken by those behind it.
    pub reorder: f64,
    /// How much later an overtaken frame is, ns.
    pub reorder_hold_ns: u64,
    /// Probability that a frame arrives twice.
    pub duplicate: f64,
    /// Bit/s on the cable, 0 = no limit.
    pub rate_bps: u64,
    /// Frames that may wait; those beyond are dropped.
    pub queue_frames: u32,
    /// Nothing arrives, and nobody is told: the interfaces keep their carrier.
    pub cut: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            delay_ns: 0,
            jitter_ns: 0,
            loss: 0.0,
            reorder: 0.0,
            reorder_hold_ns: 2_000_000,
            duplicate: 0.0,
            rate_bps: 0,
            queue_frames: 10_000,
            cut: false,
        }
    }
}

/// Settings to change; what is absent stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    /// See [`Settings::delay_ns`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ns: Option<u64>,
    /// See [`Settings::jitter_ns`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ns: Option<u64>,
    /// See [`Settings::loss`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// See [`Settings::reorder`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder: Option<f64>,
    /// See [`Settings::reorder_hold_ns`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder_hold_ns: Option<u64>,
    /// See [`Settings::duplicate`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<f64>,
    /// See [`Settings::rate_bps`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_bps: Option<u64>,
    /// See [`Settings::queue_frames`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_frames: Option<u32>,
    /// See [`Settings::cut`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<bool>,
}

/// A [`Change`] that makes no sense.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{field} = {value} is not a probability from 0 to 1")]
pub struct ChangeError {
    field: &'static str,
    value: f64,
}

impl Settings {
    /// Takes over what `change` has.
    ///
    /// # Errors
    /// When a probability is not one; nothing is changed then.
    pub fn apply(&mut self, change: &Change) -> Result<(), ChangeError> {
        for (field, value) in [
            ("loss", change.loss),
            ("reorder", change.reorder),
            ("duplicate", change.duplicate),
        ] {
            if let Some(value) = value
                && !(0.0..=1.0).contains(&value)
            {
                return Err(ChangeError { field, value });
            }
        }
        self.delay_ns = change.delay_ns.unwrap_or(self.delay_ns);
        self.jitter_ns = change.jitter_ns.unwrap_or(self.jitter_ns);
        self.loss = change.loss.unwrap_or(self.loss);
        self.reorder = change.reorder.unwrap_or(self.reorder);
        self.reorder_hold_ns = change.reorder_hold_ns.unwrap_or(self.reorder_hold_ns);
        self.duplicate = change.duplicate.unwrap_or(self.duplicate);
        self.rate_bps = change.rate_bps.unwrap_or(self.rate_bps);
        self.queue_frames = change.queue_frames.unwrap_or(self.queue_frames);
        self.cut = change.cut.unwrap_or(self.cut);
        Ok(())
    }
}

/// One direction, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Frames that come in at the first interface.
    AToB,
    /// Frames that come in at the second interface.
    BToA,
    /// All frames.
    #[default]
    Both,
}

impl Way {
    /// Indices of the directions that are meant: 0 is a to b.
    #[must_use]
    pub fn indices(self) -> &'static [usize] {
        match self {
            Self::AToB => &[0],
            Self::BToA => &[1],
            Self::Both => &[0, 1],
        }
    }
}

/// A line that a wire is sent over its control socket.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Change settings.
    Set {
        /// Of which direction.
        #[serde(default)]
        way: Way,
        /// Back to a perfect cable before the change.
        #[serde(default)]
        reset: bool,
        /// What to change.
        #[serde(default)]
        change: Change,
    },
    /// Tell settings and counters.
    Get,
}

/// What became of the frames of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Frames that came in.
    pub received: u64,
    /// Frames that went out, duplicates included.
    pub sent: u64,
    /// Lost at random.
    pub lost: u64,
    /// Lost because the cable was cut.
    pub cut: u64,
    /// Held back so that others overtook them.
    pub reordered: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Dropped because too many waited.
    pub overflow: u64,
    /// Not taken by the interface: no carrier, or its queue full.
    pub refused: u64,
}

/// The answer to a [`Command`]: one line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// CLOCK_MONOTONIC when the command had taken effect, ns.
    pub at_ns: u64,
    /// Why the command was refused; absent if it was not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// Settings of both directions, a to b first.
    pub settings: [Settings; 2],
    /// Counters of both directions, a to b first.
    pub counters: [Counters; 2],
}
