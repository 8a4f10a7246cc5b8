//! Who calls, and what they may: by the Unix groups behind the socket, or by the client certificate.

use dmsc_daemon::{Caller, Groups, Role};
use dmsc_spa::identity::{self, Identity};
use dmsc_spa::verify::RootKey;
use tonic::Request;

use crate::clock::wall;

/// Of a request over a Unix socket or TLS. Anything else has no role.
#[must_use]
pub fn of<T>(request: &Request<T>, groups: &Groups, root: Option<&RootKey>) -> Caller {
    if let Some(caller) = Caller::of_socket(request, groups) {
        return caller;
    }
    let certificate = request
        .peer_certs()
        .and_then(|chain| chain.first().cloned());
    match (certificate, root) {
        (Some(certificate), Some(root)) => of_certificate(&certificate, root),
        _ => Caller::nobody("somebody without a certificate"),
    }
}

/// Whoever sent a signal: the process's own user, or root.
#[must_use]
pub fn signal(name: &str) -> Caller {
    Caller {
        who: name.to_owned(),
        role: Some(Role::Admin),
    }
}

fn of_certificate(der: &[u8], root: &RootKey) -> Caller {
    match root.certificate(der, wall().as_secs()) {
        Ok(certificate) => Caller {
            who: certificate.identity.spiffe_id(root.trust_domain()),
            role: match certificate.identity {
                Identity::Operator { role, .. } => Some(of_operator(role)),
                _ => None,
            },
        },
        Err(error) => Caller::nobody(&format!("a certificate that is not believed ({error})")),
    }
}

/// What an operator's certificate says.
const fn of_operator(role: identity::Role) -> Role {
    match role {
        identity::Role::View => Role::View,
        identity::Role::Operate => Role::Operate,
        identity::Role::Admin => Role::Admin,
    }
}
