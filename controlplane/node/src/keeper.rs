//! Keeps what pods of a gateway may serve in line with what authorities said: attaches what became authorised, detaches what was revoked, asks
//! again for what waits, renews at a third of the life.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dmsc_wire::{Domain, NameBuf};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::authority::{Answer, Authorities};
use crate::claims::{Claim, Proof, Proofs, Revoked, Right, TakenBack};
use crate::clock::wall_ms;
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

/// How long the driver looks at leases before others have their turn.
const STEP: Duration = Duration::from_millis(5);

/// Whose names.
type Who = (Domain, String);
/// A pod's statement: another one for each registration.
type Stated = Bytes;
/// What a lease should serve.
type Due = (LeaseId, Arc<[NameBuf]>);

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

#[derive(Debug, Clone)]
struct Retry {
    at: Instant,
    pause: Duration,
    /// The last answer did not bring everything: what needs no renewal yet is not asked for again with the rest.
    refused: bool,
}

impl Node {
    /// Sorts names that a pod wants by what is known here. Names that a pod of this identity serves already stay so while their
    /// authorisation is only expired or lost, not revoked: expiry stops admission, never forwarding.
    pub(crate) fn sort(&self, domain: Domain, identity: &str, names: Vec<NameBuf>) -> Sorted {
        let served: Vec<Arc<[NameBuf]>> = {
            let leases = self.pods.leases();
            let own = leases
                .iter()
                .filter(|lease| lease.identity == identity && lease.domain == domain);
            own.map(|lease| Arc::clone(&lease.serves)).collect()
        };
        let is_served = |name: &NameBuf| {
            served
                .iter()
                .any(|serves| serves.binary_search(name).is_ok())
        };
        let revoked = Revoked::new(self.config.node.id, self.engine.each_revocation());
        let now_s = self.now_s();
        let mut sorted = Sorted::default();
        for name in names {
            match self.claims.right(domain, identity, &name, &revoked, now_s) {
                Right::Valid => sorted.serves.push(name),
                Right::Expired if is_served(&name) => sorted.serves.push(name),
                Right::Unknown if is_served(&name) && self.engine_knows(domain, &name) => {
                    sorted.serves.push(name)
                }
                Right::Expired | Right::Unknown => sorted.unknown.push(name),
                Right::Revoked(why) => sorted.revoked.push((name, why.to_string())),
            }
        }
        sorted
    }

    /// What the pod of a lease can prove its names with.
    pub(crate) fn proofs(&mut self, lease: LeaseId) -> Proofs {
        let Some(lease) = self.pods.leases().get(lease).cloned() else {
            return Proofs::default();
        };
        let now_s = self.now_s();
        let revoked = Revoked::new(self.config.node.id, self.engine.each_revocation());
        self.claims.proofs(&lease, &revoked, now_s)
    }

    /// What was taken back, for a pod that has the lists of version `known`.
    pub(crate) fn taken_back(&self, known: u64) -> TakenBack {
        TakenBack::since(known, self.engine.signed_revocations())
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

    /// Those of `leases` that should serve other names than they do. A step of bounded time: the leases that it did not come to are given back.
    fn reassess(&mut self, mut leases: Vec<LeaseId>) -> (Vec<Due>, Vec<LeaseId>) {
        let began = Instant::now();
        let now_s = self.now_s();
        let revocations = Revoked::new(self.config.node.id, self.engine.each_revocation());
        let ended: Arc<str> = "its authorisation ended; the authorities are asked".into();
        let mut due = Vec::new();
        while let Some(id) = leases.pop() {
            let Some(lease) = self.pods.leases().get(id).cloned() else {
                continue;
            };
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
            let spared = revocations.spares(lease.domain, &lease.identity);
            if spared && claim.wanted.iter().eq(lease.serves.iter()) {
                claim.waiting.clear();
                continue;
            }
            let (wanted, mut waiting) = (claim.wanted.clone(), std::mem::take(&mut claim.waiting));
            let mut serves = Vec::with_capacity(wanted.len());
            let mut still = BTreeMap::new();
            let mut revoked = None;
            for name in wanted {
                let has = lease.serves.binary_search(&name).is_ok();
                if has && spared {
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
                        still.insert(name, why.unwrap_or_else(|| Arc::clone(&ended)));
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
            if began.elapsed() > STEP {
                break;
            }
        }
        (due, leases)
    }

    /// What to ask now: per registration all that waits, and all when it is time to renew.
    fn questions(&mut self, retries: &HashMap<Stated, Retry>, now: Instant) -> Vec<Question> {
        let everything = std::mem::take(&mut self.ask_again);
        let now_s = self.now_s();
        self.claims.plan_renewals();
        let mut questions = Vec::new();
        for claim in self.claims.by_lease.values() {
            let who = (claim.domain, claim.identity.clone());
            let Some(proof) = &claim.proof else { continue };
            let retry = retries.get(&proof.statement);
            if !everything && retry.is_some_and(|retry| retry.at > now) {
                continue;
            }
            let is_due = |at: Option<u64>| at.is_some_and(|at| at <= now_s);
            // In order, as they are wanted.
            let names: Vec<NameBuf> = if everything {
                claim.wanted.iter().cloned().collect()
            } else if is_due(claim.renewal.at_s) {
                let all = retry.is_none_or(|retry| !retry.refused);
                let due = |name: &&NameBuf| {
                    all || claim.waiting.contains_key(*name)
                        || is_due(self.claims.renew_name_at_s(who.0, &who.1, name))
                };
                claim.wanted.iter().filter(due).cloned().collect()
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
            questions.push(Question {
                who,
                proof: proof.clone(),
                names,
            });
        }
        questions.sort_by(|a, b| a.who.cmp(&b.who));
        questions
    }

    /// Takes what the authorities said to a registration.
    fn answered(&mut self, stated: &Stated, answer: Answer) -> Outcome {
        let outcome = match (answer.refused.is_empty(), answer.open.is_empty()) {
            (true, true) => Outcome::Granted,
            (false, true) => Outcome::Refused,
            (_, false) => Outcome::Open,
        };
        let before = self.renewal_of(stated);
        self.add_authorisations(answer.authorisations);
        let after = self.renewal_of(stated);
        // What was granted renews nothing that is due: asking at once would bring the same.
        let stuck = after.is_some_and(|at| at <= self.now_s()) && after <= before;
        let leases = Arc::clone(&self.pods);
        let mut reasons = HashMap::new();
        for (id, claim) in &mut self.claims.by_lease {
            if !claim.is_stated(stated) {
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
                    *reason = shared(&mut reasons, why);
                }
            }
        }
        match outcome {
            Outcome::Granted if stuck => Outcome::Refused,
            other => other,
        }
    }

    /// When something of a registration is to be renewed, s since 1970.
    fn renewal_of(&mut self, stated: &Stated) -> Option<u64> {
        self.claims.plan_renewals();
        let claims = self.claims.by_lease.values();
        let of = claims.filter(|claim| claim.is_stated(stated));
        of.filter_map(|claim| claim.renewal.at_s).min()
    }

    /// When the next authorisation is to be renewed, by the believed clock; of registrations that have to wait there is none.
    fn next_renewal(&mut self, retries: &HashMap<Stated, Retry>, now: Instant) -> Option<Duration> {
        self.claims.plan_renewals();
        let waits = |claim: &Claim| {
            let proof = claim.proof.as_ref();
            let retry = proof.and_then(|proof| retries.get(&proof.statement));
            retry.is_some_and(|retry| retry.at > now)
        };
        let next = self
            .claims
            .by_lease
            .values()
            .filter(|claim| claim.proof.is_some() && !waits(claim))
            .filter_map(|claim| claim.renewal.at_s)
            .min()?;
        Some(Duration::from_secs(next.saturating_sub(self.now_s())))
    }
}

/// One allocation for each sentence, however many names it is about.
pub(crate) fn shared<'a>(known: &mut HashMap<&'a str, Arc<str>>, text: &'a str) -> Arc<str> {
    Arc::clone(known.entry(text).or_insert_with(|| text.into()))
}

/// Never ends by itself.
pub async fn keep(handle: Handle, tls: Tls, authorities: watch::Sender<Arc<Authorities>>) {
    let needs = |node: &mut Node| (node.signals.claimed.clone(), node.root.clone());
    let Some((claimed, root)) = handle.query(needs).await else {
        return;
    };
    let mut retries: HashMap<Stated, Retry> = HashMap::new();
    loop {
        if renew_list(&handle, &tls, &authorities).await.is_none() || put(&handle).await.is_none() {
            return;
        }
        let now = Instant::now();
        let times = retries.clone();
        let Some(questions) = handle.query(move |node| node.questions(&times, now)).await else {
            return;
        };
        let asked = !questions.is_empty();
        let mut news = false;
        for question in questions {
            let now = Arc::clone(&authorities.borrow());
            let who = (question.who.0, question.who.1.as_str());
            let proof = question.proof.clone();
            let asking = now.ask(&root, who, &proof, question.names);
            let mut asking = std::pin::pin!(asking);
            let answer = loop {
                tokio::select! {
                    answer = &mut asking => break answer,
                    // What is taken away does not wait for an authority that is slow to answer.
                    () = claimed.notified() => {
                        news = true;
                        if put(&handle).await.is_none() {
                            return;
                        }
                    }
                }
            };
            let stated = question.proof.statement.clone();
            let Some(outcome) = handle
                .query(move |node| node.answered(&stated, answer))
                .await
            else {
                return;
            };
            let retry = retries.entry(question.proof.statement).or_insert(Retry {
                at: Instant::now(),
                pause: AGAIN.0,
                refused: false,
            });
            retry.refused = outcome != Outcome::Granted;
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
        // Renewals that were refused or not answered have a time of their own.
        retries.retain(|_, retry| retry.at.elapsed() < REFUSED * 2);
        let (times, now) = (retries.clone(), Instant::now());
        let Some(next) = handle
            .query(move |node| node.next_renewal(&times, now))
            .await
        else {
            return;
        };
        let renewal = next.map(|left| Instant::now() + left.max(AGAIN.0));
        let retry = retries
            .values()
            .map(|retry| retry.at)
            .filter(|at| *at > Instant::now())
            .min();
        let next = [renewal, retry].into_iter().flatten().min();
        if news {
            continue;
        }
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
    let pods = handle.pods();
    let mut rest: Vec<LeaseId> = pods.leases().iter().map(|lease| lease.id).collect();
    let mut due = Vec::new();
    while !rest.is_empty() {
        let (more, left) = handle.query(move |node| node.reassess(rest)).await?;
        due.extend(more.into_iter().map(|(id, _)| id));
        rest = left;
    }
    if due.is_empty() {
        return Some(());
    }
    let mut slot = pods.dataplane.lock().await;
    for id in due {
        // Once more, now that nobody else changes leases: the pod may have withdrawn names, or registered again, meanwhile.
        let (now, _) = handle.query(move |node| node.reassess(vec![id])).await?;
        let Some((id, serves)) = now.into_iter().next() else {
            continue;
        };
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
        pods.keep(lease);
    }
    drop(slot);
    handle.query(|node| node.sync_leases(wall_ms())).await?;
    pods.change();
    Some(())
}
