//! The operator's API: what dmscctl says to this process.
//!
//! [`caller`] knows who asks, [`gate`] what they may and what is written down, [`listen`] where it is served.

pub mod caller;
pub mod gate;
pub mod listen;
