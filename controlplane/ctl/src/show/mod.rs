//! `dmscctl show …`: one file per noun, each with its JSON shape beside its table.

pub mod adjacencies;
pub mod attachments;
pub mod audit;
pub mod authorisations;
pub mod connections;
pub mod convergence;
pub mod counters;
pub mod decisions;
pub mod links;
pub mod lsdb;
pub mod node;
pub mod nodes;
pub mod pods;
pub mod policies;
pub mod ports;
pub mod prefixes;
pub mod quality;
pub mod routes;
pub mod runtime;
pub mod services;
pub mod tables;
pub mod traffic;
pub mod workers;
