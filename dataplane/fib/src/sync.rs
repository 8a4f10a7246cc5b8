//! The atomics of this crate: the standard library's, or the model checker's under `cfg(loom)`.

#[cfg(not(loom))]
pub(crate) use std::sync::{Arc, atomic};

#[cfg(loom)]
pub(crate) use loom::sync::{Arc, atomic};
