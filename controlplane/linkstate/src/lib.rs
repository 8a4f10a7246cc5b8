//! Link state of the DMSC (Distributed Micro Service Communication) routers, sans-IO: what is known of
//! the network goes in, routes come out. No sockets, no clock, no threads.
//!
//! [`Engine`] takes an [`Event`] and answers with [`Action`]s; [`Engine::next_message`] says what a neighbour is to be told;
//! [`Engine::next_deadline`] says when [`Event::Tick`] is due. Keys and certificates are behind [`Signer`] and [`Trust`].

#![forbid(unsafe_code)]

pub mod action;
pub mod engine;
pub mod event;
pub mod message;
pub mod object;
pub mod spf;
pub mod time;
pub mod trust;

pub use action::{Action, Alarm, RouteDelta};
pub use dmsc_wire::NodeId;
pub use engine::{Engine, EngineConfig, Sizes};
pub use event::{AdjacencyId, Event, SessionId};
pub use message::{Digest, Header, Message};
pub use object::{Key, Kind, Object, Sequence};
pub use spf::{Cost, Graph, LinkId, Route, ShortestPaths, routes, routes_by};
pub use time::Now;
pub use trust::{Signer, Trust};
