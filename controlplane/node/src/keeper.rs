//! Keeps what pods of a gateway may serve in line with what authorities said: attaches what became authorised, detaches what was revoked, asks
//! again for what waits, renews at a third of the life.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dmsc_wire::{Domain, NameBuf};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::authority::{Answer, Authorities};
use crate::claims::{Claim, Proof, Right};
use crate::clock::{wall, wall_ms};
use crate::driver::until;
use crate::handle::Handle;
use crate::lease::{Lease, LeaseId};
use crate::node::Node;
use crate::registrar::{Sorted, attach};
use crate::tls::Tls;

/// Between questions that bring nothing, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// After a renewal that was refused.
const REFUSED: Duration = Duration::from_secs(60);

/// Whose names.
type Who = (Domain, String);

/// A question to the authorities.
#[derive(Debug)]
struct Question {
    who: Who,
    proof: Proof,
    names: Vec<NameBuf>,
}

/// What a question brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Everything.
    Granted,
    /// All authorities answered, and refused at least one name.
    Refused,
    /// Not all authorities answered.
    Open,
}

#[derive(Debug)]
struct Retry {
    at: Instant,
    pause: Duration,
}

impl Node {
    /// Sorts names that a pod wants by what is known here. Names that a pod of this identity serves already stay so while their
    /// authorisation is only expired or lost, not revoked: expiry stops admission, never forwarding.
    pub(crate) fn sort(&self, domain: Domain, identity: &str, names: Vec<NameBuf>) -> Sorted {
        let served: BTreeSet<NameBuf> = {
            let leases = self.pods.leases();
            let own = leases
                .iter()
                .filter(|lease| lease.identity == identity && lease.domain == domain);
            own.flat_map(|lease| lease.serves.iter().cloned()).collect()
        };
        let revocations = self.engine.revocations();
        let now_s = wall().as_secs();
        let mut sorted = Sorted::default();
        for name in names {
            match self
                .claims
                .right(domain, identity, &name, &revocations, now_s)
            {
                Right::Valid => sorted.serves.push(name),
                Right::Expired if served.contains(&name) => sorted.serves.push(name),
                Right::Unknown if served.contains(&name) && self.engine_knows(domain, &name) => {
                    sorted.serves.push(name)
                }
                Right::Expired | Right::Unknown => sorted.unknown.push(name),
                Right::Revoked(why) => sorted.revoked.push((name, why.to_string())),
            }
        }
        sorted
    }

    /// A prefix that this gateway had installed before a restart may have lost its authorisation with the disk.
    fn engine_knows(&self, domain: Domain, name: &NameBuf) -> bool {
        let own = self.config.node.id;
        let found = self.engine.prefixes(Some(name), 16);
        found.iter().any(|(one, exact, members)| {
            let own = |info: &dmsc_linkstate::engine::MemberInfo| {
                info.member.gateway == own && !info.waiting
            };
            *one == domain && exact == name && members.iter().any(own)
        })
    }

    /// Leases that should serve other names than they do.
    fn reassess(&mut self) -> Vec<(LeaseId, Arc<[NameBuf]>)> {
        let revocations = self.engine.revocations();
        let now_s = wall().as_secs();
        let leases: Vec<Lease> = self.pods.leases().iter().cloned().collect();
        let mut due = Vec::new();
        for lease in leases {
            let claim = self
                .claims
                .by_lease
                .entry(lease.id)
                .or_insert_with(|| Claim {
                    identity: lease.identity.clone(),
                    domain: lease.domain,
                    wanted: lease.serves.iter().cloned().collect(),
                    ..Claim::default()
                });
            let (wanted, mut waiting) = (claim.wanted.clone(), std::mem::take(&mut claim.waiting));
            let mut serves = Vec::with_capacity(wanted.len());
            let mut still = BTreeMap::new();
            let mut revoked = None;
            for name in wanted {
                let has = lease.serves.binary_search(&name).is_ok();
                if has && revocations.is_empty() {
                    serves.push(name);
                    continue;
                }
                match self
                    .claims
                    .right(lease.domain, &lease.identity, &name, &revocations, now_s)
                {
                    Right::Valid => serves.push(name),
                    Right::Expired | Right::Unknown if has => serves.push(name),
                    Right::Revoked(why) => {
                        revoked = Some(Arc::clone(&why));
                        still.insert(name, why);
                    }
                    Right::Expired | Right::Unknown => {
                        let why = waiting.remove(&name);
                        still.insert(
                            name,
                            why.unwrap_or_else(|| {
                                "its authorisation ended; the authorities are asked".into()
                            }),
                        );
                    }
                }
            }
            if let Some(claim) = self.claims.by_lease.get_mut(&lease.id) {
                claim.waiting = still;
                if let Some(why) = revoked {
                    claim.reason = why.to_string();
                }
            }
            if serves[..] != lease.serves[..] {
                due.push((lease.id, serves.into()));
            }
        }
        due
    }

    /// What to ask now: per identity all that waits, and all when it is time to renew.
    fn questions(&mut self, retries: &HashMap<Who, Instant>, now: Instant) -> Vec<Question> {
        let everything = std::mem::take(&mut self.ask_again);
        let now_s = wall().as_secs();
        let mut questions: BTreeMap<Who, Question> = BTreeMap::new();
        for claim in self.claims.by_lease.values() {
            let who = (claim.domain, claim.identity.clone());
            let Some(proof) = &claim.proof else { continue };
            if !everything && retries.get(&who).is_some_and(|at| *at > now) {
                continue;
            }
            let renew = everything
                || self
                    .claims
                    .renew_at_s(who.0, &who.1)
                    .is_some_and(|at| at <= now_s);
            let names: Vec<NameBuf> = if renew {
                claim.wanted.iter().cloned().collect()
            } else {
                let revoked = |why: &str| why.starts_with("revoked");
                claim
                    .waiting
                    .iter()
                    .filter(|(_, why)| !revoked(why))
                    .map(|(name, _)| name.clone())
                    .collect()
            };
            if names.is_empty() {
                continue;
            }
            let question = questions.entry(who.clone()).or_insert_with(|| Question {
                who,
                proof: proof.clone(),
                names: Vec::new(),
            });
            question.names.extend(names);
        }
        let mut questions: Vec<Question> = questions.into_values().collect();
        for question in &mut questions {
            question.names.sort_unstable();
            question.names.dedup();
        }
        questions
    }

    /// Takes what the authorities said.
    fn answered(&mut self, (domain, identity): &Who, answer: Answer) -> Outcome {
        let outcome = match (answer.refused.is_empty(), answer.open.is_empty()) {
            (true, true) => Outcome::Granted,
            (false, true) => Outcome::Refused,
            (_, false) => Outcome::Open,
        };
        self.add_authorisations(answer.authorisations);
        let leases = Arc::clone(&self.pods);
        for (id, claim) in &mut self.claims.by_lease {
            if claim.domain != *domain || claim.identity != *identity {
                continue;
            }
            let serves = leases
                .leases()
                .get(*id)
                .map(|lease| Arc::clone(&lease.serves));
            if outcome == Outcome::Granted {
                claim.reason.clear();
            }
            for (name, why) in &answer.refused {
                if !claim.wanted.contains(name) {
                    continue;
                }
                let has = serves
                    .as_ref()
                    .is_some_and(|serves| serves.binary_search(name).is_ok());
                if has {
                    claim.reason = format!("not renewed; {name}: {why}");
                } else {
                    claim.reason = format!("refused; {name}: {why}");
                    claim.wanted.remove(name);
                    claim.waiting.remove(name);
                }
            }
            for (name, why) in &answer.open {
                if let Some(reason) = claim.waiting.get_mut(name) {
                    *reason = why.as_str().into();
                }
            }
        }
        outcome
    }

    /// When the next authorisation is to be renewed, s since 1970.
    fn next_renewal(&self) -> Option<u64> {
        self.claims
            .by_lease
            .values()
            .filter(|claim| claim.proof.is_some())
            .filter_map(|claim| self.claims.renew_at_s(claim.domain, &claim.identity))
            .min()
    }
}

/// Never ends by itself.
pub async fn keep(handle: Handle, tls: Tls, authorities: watch::Sender<Arc<Authorities>>) {
    let Some(claimed) = handle.query(|node| node.signals.claimed.clone()).await else {
        return;
    };
    let mut retries: HashMap<Who, Retry> = HashMap::new();
    loop {
        if renew_list(&handle, &tls, &authorities).await.is_none() || put(&handle).await.is_none() {
            return;
        }
        let now = Instant::now();
        let times = retries
            .iter()
            .map(|(who, retry)| (who.clone(), retry.at))
            .collect();
        let Some(questions) = handle.query(move |node| node.questions(&times, now)).await else {
            return;
        };
        let asked = !questions.is_empty();
        for question in questions {
            let now = Arc::clone(&authorities.borrow());
            let answer = now
                .ask(question.who.0, &question.proof, question.names)
                .await;
            let who = question.who.clone();
            let Some(outcome) = handle.query(move |node| node.answered(&who, answer)).await else {
                return;
            };
            let retry = retries.entry(question.who).or_insert(Retry {
                at: Instant::now(),
                pause: AGAIN.0,
            });
            // Never at once again, even if what was granted turns out to be of no use.
            let pause = match outcome {
                Outcome::Granted => AGAIN.0,
                Outcome::Refused => REFUSED,
                Outcome::Open => retry.pause,
            };
            retry.at = Instant::now() + pause;
            retry.pause = match outcome {
                Outcome::Open => (retry.pause * 2).min(AGAIN.1),
                _ => AGAIN.0,
            };
        }
        if asked && put(&handle).await.is_none() {
            return;
        }
        let Some(next) = handle.query(|node| node.next_renewal()).await else {
            return;
        };
        // Renewals that were refused or not answered have a time of their own.
        retries.retain(|_, retry| retry.at > Instant::now() - REFUSED * 2);
        let renewal = next.map(|at| {
            let left = at.saturating_sub(wall().as_secs());
            Instant::now() + Duration::from_secs(left).max(AGAIN.0)
        });
        let retry = retries
            .values()
            .map(|retry| retry.at)
            .filter(|at| *at > Instant::now())
            .min();
        let next = [renewal, retry].into_iter().flatten().min();
        tokio::select! {
            () = claimed.notified() => {}
            () = until(next) => {}
        }
    }
}

/// Other authorities are configured: they are asked from now on, at once.
async fn renew_list(
    handle: &Handle,
    tls: &Tls,
    authorities: &watch::Sender<Arc<Authorities>>,
) -> Option<()> {
    let (own, wanted) = handle
        .query(|node| {
            let list = node
                .config
                .gateway
                .as_ref()
                .map(|gateway| gateway.authorities.clone());
            (node.config.node.id, list.unwrap_or_default())
        })
        .await?;
    if authorities.borrow().addresses() != wanted {
        match Authorities::new(own, &wanted, tls) {
            Ok(list) => {
                info!(authorities = wanted.len(), "authorities");
                authorities.send_replace(Arc::new(list));
                handle.query(|node| node.ask_again = true).await?;
            }
            Err(error) => warn!(%error, "authorities stay as they were"),
        }
    }
    Some(())
}

/// Attaches leases with what they may serve now, then announces or withdraws.
async fn put(handle: &Handle) -> Option<()> {
    let due = handle.query(Node::reassess).await?;
    if due.is_empty() {
        return Some(());
    }
    let pods = handle.pods();
    let mut slot = pods.dataplane.lock().await;
    for (id, serves) in due {
        let Some(lease) = pods.leases().get(id).cloned() else {
            continue;
        };
        // With the dataplane away only what is taken away counts: more is announced when it is attached.
        let serves = match slot.is_some() {
            true => serves,
            false => serves
                .iter()
                .filter(|name| lease.serves.binary_search(name).is_ok())
                .cloned()
                .collect(),
        };
        if serves[..] == lease.serves[..] {
            continue;
        }
        info!(identity = lease.identity, attachment = %lease.attachment, before = lease.serves.len(), now = serves.len(), "serves");
        let lease = Lease { serves, ..lease };
        if let Some(dataplane) = slot.as_mut()
            && let Err(status) = attach(dataplane, &lease).await
        {
            warn!(
                identity = lease.identity,
                "not attached: {}; tried again",
                status.message()
            );
            continue;
        }
        pods.leases().put(lease);
    }
    drop(slot);
    handle.query(|node| node.sync_leases(wall_ms())).await?;
    pods.change();
    Some(())
}
