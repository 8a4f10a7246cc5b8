//! Policies of scheduling centers at their node: taken, kept over a restart, acknowledged when the dataplane has them, and over in time.

use std::collections::BTreeMap;
use std::time::Duration;

use dmsc_scsc::held::Scope;
use dmsc_scsc::policy::ReplicaId;
use dmsc_scsc::statement::SignedPolicy;
use dmsc_scsc::{Policy, PolicyError};
use dmsc_spa::verify::{Certificate, RootKey, VerifyError};
use prost::Message as _;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::Node;
use crate::agent::AgentError;
use crate::clock::{wall, wall_ms};
use crate::store::Kept;

/// The generation of the dataplane's tables in which a policy took effect, or why it did not.
pub type Effect = Result<u64, String>;

/// Policies that wait for the dataplane, and when the next of those in force is over.
#[derive(Debug, Default)]
pub struct Policies {
    waiting: Vec<(u64, oneshot::Sender<Effect>)>,
    /// Who signed what was taken last; no more than there are policies.
    signers: BTreeMap<(Scope, ReplicaId), Certificate>,
    /// On the node's monotonic clock.
    expiry: Option<Duration>,
}

/// Why a policy is not believed.
#[derive(Debug, thiserror::Error)]
pub enum DoubtError {
    /// The certificate in it.
    #[error("policy: its certificate is not believed: {0}")]
    Certificate(#[from] VerifyError),
    /// What is signed, or how.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// What a scheduling center that `root` certified said, and that certificate.
///
/// # Errors
/// [`DoubtError`]: nothing of it may be applied.
pub fn believed(
    root: &RootKey,
    signed: &SignedPolicy,
) -> Result<(Policy, Certificate), DoubtError> {
    let certificate = root.center_certificate(&signed.certificate, wall().as_secs())?;
    let policy = signed.verify(&certificate.public_key)?;
    Ok((policy, certificate))
}

/// A policy on disk.
#[derive(Clone, PartialEq, prost::Message)]
struct KeptPolicy {
    /// Wall clock, ms since 1970.
    #[prost(fixed64, tag = "1")]
    until_ms: u64,
    #[prost(message, optional, tag = "2")]
    signed: Option<SignedPolicy>,
}

/// Of one scope there is one policy of a replica: the next takes its place, on disk too.
fn place(scope: &Scope, replica: ReplicaId) -> Vec<u8> {
    let (domain, prefix, gateway) = scope;
    let mut name = prefix.as_bytes().to_vec();
    for number in [domain.0, gateway.0, replica.0] {
        name.extend_from_slice(&number.to_be_bytes());
    }
    name
}

fn scope_of(policy: &Policy) -> Scope {
    (policy.domain, policy.prefix.clone(), policy.gateway)
}

impl Node {
    /// Takes a policy that is [`believed`]. The answer comes when the dataplane has it: at once if nothing changes by it.
    pub fn take_policy(
        &mut self,
        (policy, certificate): (Policy, Certificate),
        signed: SignedPolicy,
    ) -> oneshot::Receiver<Effect> {
        let (effect, answer) = oneshot::channel();
        if self.root.has_revoked(&certificate) {
            // Since it was believed.
            let doubt = DoubtError::from(VerifyError::Revoked);
            let _ = effect.send(Err(doubt.to_string()));
            return answer;
        }
        self.rib.at(self.clock.now().mono);
        let (scope, replica, ttl) = (scope_of(&policy), policy.rank.replica, policy.ttl);
        let told = format!(
            "policy {} of replica {} for {}: {}",
            policy.rank.id, replica, policy.prefix, policy.reason
        );
        match self.rib.accept(policy) {
            Err(refused) => {
                warn!("{told}: refused: {refused}");
                // Whoever asked may be gone.
                let _ = effect.send(Err(refused.to_string()));
            }
            Ok(change) => {
                info!("{told}");
                let signer = (scope.clone(), replica);
                if ttl.is_zero() {
                    self.policies.signers.remove(&signer);
                    self.store.forget(Kept::Policies, &place(&scope, replica));
                } else {
                    self.policies.signers.insert(signer, certificate);
                    let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
                    let kept = KeptPolicy {
                        until_ms: wall_ms().saturating_add(ttl),
                        signed: Some(signed),
                    };
                    let body = kept.encode_to_vec();
                    self.store
                        .keep_as(Kept::Policies, &place(&scope, replica), &body);
                }
                // Those who asked over a stream that is gone wait no more.
                self.policies
                    .waiting
                    .retain(|(_, waits)| !waits.is_closed());
                self.policies.waiting.push((change, effect));
                self.policies_changed();
            }
        }
        answer
    }

    /// Takes away what is over; plain routes, or the policy behind it, are programmed next.
    pub(crate) fn expire_policies(&mut self) {
        let now = self.clock.now().mono;
        if self.policies.expiry.is_none_or(|expiry| expiry > now) {
            return;
        }
        self.rib.at(now);
        for (domain, prefix, _) in self.rib.expire_policies() {
            info!(%domain, "the policy for {prefix} is over");
        }
        self.policies_changed();
    }

    /// What centers said whose certificates the root took back holds no more: plain routes, or what another center said.
    pub(super) fn drop_revoked_policies(&mut self) {
        let root = &self.root;
        let revoked = |_: &(Scope, ReplicaId), signer: &mut Certificate| root.has_revoked(signer);
        let signers = self.policies.signers.extract_if(.., revoked);
        let gone: Vec<((Scope, ReplicaId), Certificate)> = signers.collect();
        if gone.is_empty() {
            return;
        }
        self.rib.at(self.clock.now().mono);
        for ((scope, replica), signer) in gone {
            self.store.forget(Kept::Policies, &place(&scope, replica));
            if self.rib.withdraw_policy(&scope, replica) {
                let center = signer.identity;
                warn!(%center, prefix = %scope.1, "its policy holds no more: the root took its certificate back");
            }
        }
        self.policies_changed();
    }

    /// When something is to be done without anything happening.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let times = [self.engine.next_deadline(), self.policies.expiry];
        times.into_iter().flatten().min()
    }

    /// The dataplane took a batch; `refused`: it did not take all.
    pub(super) fn acknowledge_policies(&mut self, refused: Option<&AgentError>) {
        let done = self.rib.policies_done();
        let effect = match refused {
            None => Ok(self.generation),
            Some(error) => Err(format!("the dataplane refuses: {error}")),
        };
        let is_done = |(change, _): &mut (u64, _)| *change <= done;
        for (_, waits) in self.policies.waiting.extract_if(.., is_done) {
            // Whoever asked may be gone.
            let _ = waits.send(effect.clone());
        }
    }

    /// Those of before the last restart, as long as they last. Those that are not believed any more, or are over, are forgotten.
    pub(super) fn load_policies(&mut self) {
        self.rib.at(self.clock.now().mono);
        let mut count = 0;
        for body in self.store.load(Kept::Policies) {
            let Ok(kept) = KeptPolicy::decode(body) else {
                continue;
            };
            let Some(signed) = kept.signed else { continue };
            let left = Duration::from_millis(kept.until_ms.saturating_sub(wall_ms()));
            match believed(&self.root, &signed) {
                Ok((mut policy, certificate)) => {
                    let signer = (scope_of(&policy), policy.rank.replica);
                    let name = place(&signer.0, signer.1);
                    // A clock that was put back does not make it last longer than it was signed for.
                    policy.ttl = policy.ttl.min(left);
                    if policy.ttl.is_zero() {
                        self.store.forget(Kept::Policies, &name);
                    } else if self.rib.accept(policy).is_ok() {
                        self.policies.signers.insert(signer, certificate);
                        count += 1;
                    }
                }
                Err(error) => warn!(%error, "a policy of before the restart is not applied"),
            }
        }
        if count > 0 {
            info!(count, "policies of before the restart hold on");
        }
        self.policies.expiry = self.rib.policies().next_expiry();
    }

    fn policies_changed(&mut self) {
        self.policies.expiry = self.rib.policies().next_expiry();
        self.signals.work.notify_one();
        self.pods.change();
    }
}
