//! Shortest paths, equal-cost first hops and loop-free alternates (design §4.4, RFC 5286).
//!
//! ```
//! use dmsc_linkstate::{Graph, LinkId, NodeId, routes};
//! let mut graph = Graph::new();
//! for (link, a, b, metric) in [(1, 1, 2, 10), (2, 2, 3, 10), (3, 1, 3, 30)] {
//!     graph.add_link(LinkId(link), NodeId(a), NodeId(b), metric);
//!     graph.add_link(LinkId(link), NodeId(b), NodeId(a), metric);
//! }
//! let to_3 = routes(&graph, NodeId(1)).into_iter().find(|r| r.destination == NodeId(3)).unwrap();
//! assert_eq!((to_3.metric, to_3.next_hops), (20, vec![LinkId(1)]));
//! assert_eq!(to_3.node_protecting, Some(LinkId(3)));
//! ```

mod alternates;
mod graph;
mod paths;
mod route;

pub use alternates::{Alternates, alternates};
pub use graph::{Cost, Edge, Graph, LinkId};
pub use paths::{ShortestPaths, spf, spf_by};
pub use route::{Route, routes, routes_by};
