//! What every call of the operator's API passes: the role first, the audit log after a change.

use std::sync::{Mutex, PoisonError};

use dmsc_proto::v1;
use dmsc_spa::identity::Role;
use dmsc_spa::verify::RootKey;
use tonic::{Request, Status};
use tracing::warn;

use super::caller::{Caller, RoleGroups, missing_groups};
use crate::audit::{AuditLog, Record};
use crate::clock::wall_ms;

/// Records that are told when no number is asked for.
const AUDIT_DEFAULT: u32 = 100;

/// Roles and audit of one daemon.
#[derive(Debug)]
pub struct Gate {
    groups: RoleGroups,
    root: Option<RootKey>,
    audit: Mutex<AuditLog>,
}

impl Gate {
    /// `root` is for callers with a certificate.
    #[must_use]
    pub fn new(groups: RoleGroups, root: Option<RootKey>, audit: AuditLog) -> Self {
        for group in missing_groups(&groups) {
            warn!(group, "no such Unix group: nobody has a role by it");
        }
        Self {
            groups,
            root,
            audit: Mutex::new(audit),
        }
    }

    /// Who asks.
    #[must_use]
    pub fn caller<T>(&self, request: &Request<T>) -> Caller {
        Caller::of(request, &self.groups, self.root.as_ref())
    }

    /// Whether they may, as far as the role goes.
    ///
    /// # Errors
    /// A refusal that names both roles.
    pub fn permit(&self, caller: &Caller, need: Role) -> Result<(), Status> {
        match caller.role {
            Some(role) if role >= need => Ok(()),
            Some(role) => Err(Status::permission_denied(format!(
                "this needs the role {need}; {} has the role {role}",
                caller.who
            ))),
            None => Err(Status::permission_denied(format!(
                "this needs the role {need}; {} has none: root has, and members of the Unix groups view_group, operate_group and admin_group in the \
                 daemon's configuration, or an operator's certificate",
                caller.who
            ))),
        }
    }

    /// For calls that only look.
    ///
    /// # Errors
    /// A refusal that names both roles.
    pub fn view<T>(&self, request: &Request<T>) -> Result<(), Status> {
        self.permit(&self.caller(request), Role::View)
    }

    /// Writes down a changing call, done or refused.
    pub fn record<T>(
        &self,
        caller: &Caller,
        call: &str,
        what: String,
        outcome: &Result<T, Status>,
        generation: u64,
    ) {
        let outcome = match outcome {
            Ok(_) => "ok".to_owned(),
            Err(status) => status.message().to_owned(),
        };
        let record = Record {
            at_ms: wall_ms(),
            who: caller.who.clone(),
            role: caller.role_name(),
            call: call.to_owned(),
            what,
            outcome,
            generation,
        };
        self.audit().append(record);
    }

    /// What was written down.
    #[must_use]
    pub fn audited(&self, request: &v1::AuditRequest) -> v1::AuditReply {
        let limit = match request.limit {
            0 => AUDIT_DEFAULT,
            limit => limit,
        };
        let records = self.audit().latest(limit as usize);
        v1::AuditReply {
            records: records.into_iter().map(Into::into).collect(),
        }
    }

    fn audit(&self) -> std::sync::MutexGuard<'_, AuditLog> {
        self.audit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
