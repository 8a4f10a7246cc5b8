//! A small HTTP client that looks at every answer, and one that sends what nobody should send. Both know TCP and nothing of names.

pub mod answer;
pub mod bad;
pub mod check;
pub mod frames;
