//! Signed statements in protobuf (authority.proto): `prost` messages, contexts, sign and verify.
//!
//! To be written: `#[derive(prost::Message)]` structs equal to SignedAuthorityCertificate, AuthorityCertificate, SignedAuthorisation, Authorisation, Grant,
//! SignedRevocation, Revocation, SignedNodeRevocation, NodeRevocation, PodStatement. A test in dmsc-controlplane compares them with dmsc-proto's.

/// Contexts: a signature is over context, then statement.
pub const AUTHORITY_CERTIFICATE: &[u8] = b"dmsc-spa-certificate-v1\0";
/// Of authorisations.
pub const AUTHORISATION: &[u8] = b"dmsc-authorisation-v1\0";
/// Of revocations.
pub const REVOCATION: &[u8] = b"dmsc-revocation-v1\0";
/// Of node revocations.
pub const NODE_REVOCATION: &[u8] = b"dmsc-node-revocation-v1\0";
/// Of what a pod signs.
pub const REGISTER: &[u8] = b"dmsc-register-v1\0";
