//! Pods that share memory with a gateway: a real dataplane, pods with QUIC, and a registrar that programs it.

#[path = "../ports/rig/mod.rs"]
#[allow(dead_code, unused_imports)]
mod rig;

mod gateway;
mod liar;
mod lies;
mod life;
#[path = "../../../quic/tests/names/world.rs"]
#[allow(dead_code)]
mod world;
