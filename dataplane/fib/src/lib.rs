//! Forwarding tables of a DMSC (Distributed Micro Service Communication) router and their
//! publication to the workers (design §4, §5). No DPDK, no sockets.
//!
//! * [`Fib`]: one generation of all tables. Persistent: a clone is a few reference counts, and
//!   [`Fib::apply`] copies only the pages that a transaction touches.
//! * [`Group`]: members of a service and how a flow picks one; [`Gateway`]: next hops and backups.
//! * [`qsbr`]: hands generations to polling workers for one load and one store per burst.
//!
//! ```
//! use dmsc_fib::{Fib, Group, GroupId, GroupPolicy, Member, Op, PrefixValue, qsbr};
//! use dmsc_wire::{Domain, FlowLabel, NameBuf, NodeId};
//!
//! let mut publisher = qsbr::channel(Fib::new(), 1);
//! let mut worker = publisher.reader().expect("one worker");
//!
//! let member = Member { gateway: NodeId(4), metric: 30, weight: 1, delay_weight: 0 };
//! let name = NameBuf::parse("/shop/b").unwrap();
//! let next = publisher.current().apply(&[
//!     Op::PutGroup { id: GroupId(1), group: Group::new(vec![member], GroupPolicy::Nearest).unwrap() },
//!     Op::PutPrefix { domain: Domain(1), name, value: PrefixValue::group(GroupId(1)) },
//! ]).unwrap();
//! publisher.publish(next);
//!
//! let called = NameBuf::parse("/shop/b/checkout").unwrap();
//! let fib = worker.enter();
//! let found = fib.lookup(Domain(1), called.as_name()).unwrap();
//! let group = fib.group(found.value.group.unwrap()).unwrap();
//! assert_eq!(group.select(FlowLabel(7), |_| true).unwrap().gateway, NodeId(4));
//! worker.quiescent();
//! assert_eq!(publisher.reclaim(), 1);
//! ```

#![deny(unsafe_code)]

mod audit;
mod blocks;
mod cow;
mod delay_share;
mod directory;
mod draft;
mod end;
mod fib;
mod first_hops;
mod gateway;
mod group;
mod habit;
mod hash;
mod idmap;
mod ids;
mod index;
mod ledger;
mod lookup;
mod names;
mod page;
pub mod qsbr;
mod raw;
mod records;
mod short;
mod stratified;
mod sync;
mod transaction;

pub use audit::Fault;
pub use delay_share::DelayShare;
pub use fib::{Fib, GatewayEntry};
pub use first_hops::{FirstHops, FirstHopsOf};
pub use gateway::{Gateway, MAX_NEXT_HOPS, PathKind, Topology};
pub use group::{Group, GroupError, GroupPolicy, MAX_MEMBERS, Member, SLOTS, Slot};
pub use habit::Habit;
pub use hash::HashKey;
pub use ids::{AdjacencyId, Generation, GroupId, LocalSetId, RecordId};
pub use lookup::{MAX_BURST, Pass};
pub use names::{LookupKey, PrefixEntry, PrefixMatch, PrefixValue};
pub use transaction::{Op, OpError, Route, TransactionError};
