//! Labs of many routers on one machine: network namespaces, veth pairs, and the real processes of every router and pod.
//!
//! The stations of a lab, one module each: [`mod@file`] reads the TOML, [`plan`] gives everything names and addresses, [`credentials`] and [`configs`]
//! make what the programs read, [`routes`] computes what the routers should learn, [`net`] makes namespaces and links, [`process`] starts and
//! ends programs, [`lab`] puts them together, [`demo`], [`names`] and [`topology`] run scenarios on it. [`wire`] is the program that impairs a
//! link, [`rogue`] one that plays a router that lies, [`old_pod`] a pod of before there were probes, [`http`] has a client that looks at every answer and one that sends what nobody should.

#![forbid(unsafe_code)]

pub mod agent;
pub mod configs;
pub mod credentials;
pub mod demo;
pub mod file;
pub mod http;
pub mod lab;
pub mod model;
pub mod names;
pub mod net;
pub mod old_pod;
pub mod operator;
pub mod outside;
pub mod plan;
pub mod process;
pub mod rogue;
pub mod routes;
pub mod rpc;
pub mod state;
pub mod table;
pub mod tools;
pub mod topology;
pub mod units;
pub mod wait;
pub mod wire;
