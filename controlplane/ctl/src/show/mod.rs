//! `dmscctl show …`: one file per noun, each with its JSON shape beside its table.

pub mod adjacencies;
pub mod attachments;
pub mod counters;
pub mod node;
pub mod ports;
pub mod runtime;
pub mod tables;
pub mod workers;
