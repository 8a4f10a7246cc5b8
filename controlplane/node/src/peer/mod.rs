//! Streams to neighbours: the end with the lower node id dials, both greet, then the engines talk.

pub mod convert;
mod dial;
mod greet;
mod serve;
pub(crate) mod shown;
mod stream;

pub use dial::dialler;
pub use serve::NeighbourService;
