//! Labs of many routers on one machine: network namespaces, veth pairs, and the real processes of every router and pod.
//!
//! The stations of a lab, one module each: [`mod@file`] reads the TOML, [`plan`] gives everything names and addresses, [`routes`] computes what the
//! routers are told, [`net`] makes namespaces and links, [`process`] starts and ends programs, [`lab`] puts them together, [`demo`] and
//! [`names`] run scenarios on it. [`wire`] is the program that impairs a link.

#![forbid(unsafe_code)]

pub mod agent;
pub mod demo;
pub mod file;
pub mod lab;
pub mod model;
pub mod names;
pub mod net;
pub mod outside;
pub mod plan;
pub mod process;
pub mod routes;
pub mod state;
pub mod tools;
pub mod units;
pub mod wait;
pub mod wire;
