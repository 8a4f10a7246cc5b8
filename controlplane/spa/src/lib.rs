//! Prefix ownership of DMSC (Distributed Micro Service Communication): who may announce what, proven by signatures that every router checks
//! offline (design §7). Knows neither tonic nor DPDK, and has no clock of its own.
//!
//! [`pki`] makes credentials, [`credentials`] reads them, [`identity`] says who a certificate is, [`policy`] is the declarative file of an authority,
//! [`authority`] answers requests and signs, [`proof`] is how a pod shows who it is, [`verify`] is what every router does with what was signed.

#![forbid(unsafe_code)]

pub mod authority;
mod authority_certificate;
pub mod credentials;
mod files;
pub mod identity;
pub mod pki;
pub mod policy;
pub mod proof;
pub mod statement;
pub mod verify;
mod void;
mod x509;
