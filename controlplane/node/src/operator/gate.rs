//! What every call of the operator's API passes: the role first, the audit log after a change.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dmsc_daemon::{Caller, Groups, Role};
use dmsc_proto::v1;
use dmsc_spa::verify::{Certificate, RootKey};
use tonic::{Code, Request, Status};
use tracing::warn;

use super::caller;
use crate::audit::{AuditLog, Record};
use crate::clock::wall_ms;

/// Records that are told when no number is asked for.
const AUDIT_DEFAULT: u32 = 100;

/// Calls refused for want of a role that are written down in so long a time; more are counted only, so that they drive no other record away.
const REFUSALS: u32 = 20;
const REFUSALS_PER: Duration = Duration::from_secs(60);

/// Refusals of this time.
#[derive(Debug, Default)]
struct Refusals {
    since: Option<Instant>,
    written: u32,
    passed_over: u64,
}

impl Refusals {
    /// Whether one more is written down; with the number of those that were not.
    fn write(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now - since >= REFUSALS_PER) {
            (self.since, self.written) = (Some(now), 0);
        }
        if self.written >= REFUSALS {
            self.passed_over += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.passed_over))
    }
}

/// Who has which role.
const RULE: &str = "root has, and members of the Unix groups view_group, operate_group and admin_group in the daemon's configuration, or an operator's \
                    certificate";

/// Whether a caller may, as far as the role goes.
///
/// # Errors
/// A refusal that names both roles.
pub fn permit(caller: &Caller, need: Role) -> Result<(), Status> {
    caller.permit(need, RULE)
}

/// Roles and audit of one daemon.
#[derive(Debug)]
pub struct Gate {
    groups: Groups,
    root: Option<RootKey>,
    audit: Mutex<AuditLog>,
    refusals: Mutex<Refusals>,
}

impl Gate {
    /// `root` is for callers with a certificate.
    #[must_use]
    pub fn new(groups: Groups, root: Option<RootKey>, audit: AuditLog) -> Self {
        for group in groups.missing() {
            warn!(group, "no such Unix group: nobody has a role by it");
        }
        Self {
            groups,
            root,
            audit: Mutex::new(audit),
            refusals: Mutex::default(),
        }
    }

    /// Who asks.
    #[must_use]
    pub fn caller<T>(&self, request: &Request<T>) -> Caller {
        caller::of(request, &self.groups, self.root.as_ref())
    }

    /// The certificate of a caller who has one, for calls that take long.
    #[must_use]
    pub fn certificate<T>(&self, request: &Request<T>) -> Option<Certificate> {
        let root = self.root.as_ref()?;
        crate::tls::caller(request, root).ok().map(|(one, _)| one)
    }

    /// Whether a caller's certificate was taken back.
    #[must_use]
    pub fn has_revoked(&self, certificate: &Certificate) -> bool {
        let root = self.root.as_ref();
        root.is_some_and(|root| root.has_revoked(certificate))
    }

    /// As [`permit`].
    ///
    /// # Errors
    /// A refusal that names both roles.
    pub fn permit(&self, caller: &Caller, need: Role) -> Result<(), Status> {
        permit(caller, need)
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
            Err(status) if status.code() == Code::PermissionDenied => {
                let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
                match refusals.write(Instant::now()) {
                    None => return,
                    Some(0) => status.message().to_owned(),
                    Some(more) => format!(
                        "{} ({more} refused calls before this one are not written down)",
                        status.message()
                    ),
                }
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_drive_no_other_record_away() {
        let folder = tempfile::tempdir().unwrap();
        let log = AuditLog::open(folder.path()).unwrap();
        let gate = Gate::new(Groups::default(), None, log);
        let genuine = caller::signal("SIGHUP");
        gate.record(&genuine, "Reload", "metric".into(), &Ok::<_, Status>(()), 1);
        let nobody = Caller {
            who: "uid 1".into(),
            role: None,
        };
        for _ in 0..5_000 {
            let refused = gate.permit(&nobody, Role::Admin);
            gate.record(&nobody, "Revoke", String::new(), &refused, 1);
        }
        let request = v1::AuditRequest { limit: 1_000 };
        let records = gate.audited(&request).records;
        assert_eq!(records.len(), 1 + REFUSALS as usize);
        assert_eq!(records[0].call, "Reload");

        let mut refusals = Refusals::default();
        let now = Instant::now();
        assert_eq!((0..30).filter_map(|_| refusals.write(now)).count(), 20);
        assert_eq!(refusals.write(now + REFUSALS_PER), Some(10));
    }
}
