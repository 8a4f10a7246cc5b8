//! The common record of measurements.

pub use crate::record::{Progress, Record, spread};
