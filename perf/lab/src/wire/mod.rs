//! The `wire` process: a cable between two interfaces that delays, loses, reorders, duplicates, limits, or goes silent.
//!
//! The kernels of many machines have no netem; this needs only packet sockets. [`decide`] draws the fate of frames, [`direction`] is one
//! direction of the cable without sockets and clock, [`pump`] moves frames, [`control`] changes settings at run time.

pub mod control;
pub mod decide;
pub mod direction;
pub mod pump;
pub mod settings;
pub mod socket;
