//! A gateway whose pods prove who they are, and whose authorities say what they may serve.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use dmsc_proto::v1;
use dmsc_spa::identity::Identity;
use dmsc_spa::statement::{endpoint_sha256, prefix_list, sha256};
use dmsc_spa::verify::RootKey;
use dmsc_wire::{Domain, Name, NameBuf, NodeId};
use tokio::sync::watch;
use tonic::{Request, Status};

use super::nonce::Nonces;
use super::{Admitted, Asking, Certified, Gateway};
use crate::authority::Authorities;
use crate::claims::{Claim, Proof, Proofs, TakenBack};
use crate::clock::wall;
use crate::handle::Handle;
use crate::keeper::shared;
use crate::lease::{Lease, LeaseId};
use crate::node::Node;
use crate::pods::Pods;
use crate::resolve::{Caller, instances};
use crate::tls::{self, revoked};

/// Names that the driver looks at in one go.
const AT_ONCE: usize = 2_048;
/// Most names of one identity, and of all, that wait at a gateway for authorities.
const WAITING: (usize, usize) = (65_536, 524_288);
/// Most bytes of different lists of names of one identity, and of all, that are kept beside their proofs.
const LISTS: (usize, usize) = (64 << 20, 512 << 20);

/// The gateway of `sg`.
pub struct AuthenticGateway {
    handle: Handle,
    node: NodeId,
    root: RootKey,
    nonces: Mutex<Nonces>,
    authorities: watch::Receiver<Arc<Authorities>>,
}

/// Names by what may be done with them.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    pub serves: Vec<NameBuf>,
    pub revoked: Vec<(NameBuf, String)>,
    pub unknown: Vec<NameBuf>,
}

impl AuthenticGateway {
    /// Over a running node.
    #[must_use]
    pub fn new(
        handle: Handle,
        node: NodeId,
        root: RootKey,
        authorities: watch::Receiver<Arc<Authorities>>,
    ) -> Self {
        Self {
            handle,
            node,
            root,
            nonces: Mutex::default(),
            authorities,
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Node) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let answer = self.handle.query(f).await;
        answer.ok_or_else(|| {
            Status::unavailable("the control plane of this gateway is ending; try again")
        })
    }

    async fn sort(&self, asking: &Asking, names: Vec<NameBuf>) -> Result<Sorted, Status> {
        let domain = Domain(asking.port.domain);
        let mut sorted = Sorted::default();
        // Others have their turn in between.
        for names in names.chunks(AT_ONCE) {
            let (identity, names) = (asking.identity.clone(), names.to_vec());
            let some = self
                .ask(move |node| node.sort(domain, &identity, names))
                .await?;
            sorted.serves.extend(some.serves);
            sorted.revoked.extend(some.revoked);
            sorted.unknown.extend(some.unknown);
        }
        Ok(sorted)
    }
}

#[tonic::async_trait]
impl Gateway for AuthenticGateway {
    fn node(&self) -> NodeId {
        self.node
    }

    fn pods(&self) -> &Arc<Pods> {
        self.handle.pods()
    }

    fn certified<T>(&self, request: &Request<T>) -> Result<Option<Certified>, Status> {
        pod(request, &self.root).map(Some)
    }

    fn still(&self, certified: Option<&Certified>) -> Result<(), Status> {
        match certified {
            Some(one) if self.root.has_revoked_key(&one.public_key) => Err(revoked()),
            _ => Ok(()),
        }
    }

    async fn challenge(
        &self,
        certified: Option<Certified>,
        identity: String,
    ) -> Result<v1::ChallengeReply, Status> {
        check_identity(certified.as_ref(), &identity)?;
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        let nonce = nonces.give(&identity, Instant::now());
        let nonce = nonce.ok_or_else(|| {
            Status::resource_exhausted("too many pods register at once; try again in a minute")
        })?;
        Ok(v1::ChallengeReply {
            nonce: nonce.to_vec(),
            gateway: self.node.0,
        })
    }

    async fn known(
        &self,
        certified: Option<Certified>,
        request: &v1::RegisterRequest,
    ) -> Result<Option<Proof>, Status> {
        let identity = &request.identity;
        let certified = check_identity(certified.as_ref(), identity)?;
        if self.ask(|node| node.draining()).await? {
            return Err(Status::unavailable(format!(
                "gateway {} is drained and takes no pods; try another gateway, or again later",
                self.node
            )));
        }
        let bad = |what: &str| {
            Status::permission_denied(format!(
                "statement: {what}; ask for a challenge and sign its nonce"
            ))
        };
        let good = self
            .nonces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(&request.nonce, identity, Instant::now());
        if !good {
            return Err(bad("the nonce is unknown, used, or older than 60 s"));
        }
        // How old a proof may be is for the authorities to say.
        let now_s = wall().as_secs();
        let (statement, signature) = (&request.statement, &request.signature);
        let proof = dmsc_spa::proof::check(
            &self.root,
            &certified.certificate,
            statement,
            signature,
            self.node,
            u64::MAX,
            now_s,
        )
        .map_err(|error| Status::permission_denied(error.to_string()))?;
        if proof.nonce != request.nonce {
            return Err(bad("it has another nonce"));
        }
        if proof.domain.map_or(0, |domain| domain.0) != request.domain {
            return Err(bad("it is for another domain than the registration"));
        }
        let list = prefix_list(request.prefixes.iter().map(Vec::as_slice));
        if sha256(&list)[..] != proof.prefixes_sha256 {
            return Err(bad(
                "it is not for the prefixes of the registration, in their order",
            ));
        }
        if endpoint_sha256(&request.port, &request.address, request.lease) != proof.endpoint_sha256
        {
            return Err(bad(
                "it is for another port, address or lease than the registration",
            ));
        }
        // Authorities take the list as a whole, as it was signed.
        for (index, name) in request.prefixes.iter().enumerate() {
            if let Err(error) = Name::from_bytes(name) {
                return Err(Status::invalid_argument(format!(
                    "prefixes[{index}]: not a name in canonical encoding: {error}"
                )));
            }
        }
        let who = identity.clone();
        let kept = self.ask(move |node| node.claims.list(&who, &list, LISTS));
        let prefixes = kept.await?.ok_or_else(|| {
            Status::resource_exhausted(format!(
                "this gateway keeps too many lists of names already (at most {} MB of one identity, {} MB in all); register fewer names, or at another gateway",
                LISTS.0 >> 20,
                LISTS.1 >> 20
            ))
        })?;
        Ok(Some(Proof {
            prefixes,
            certificate: certified.certificate.clone(),
            public_key: certified.public_key,
            statement: Bytes::from(request.statement.clone()),
            signature: Bytes::from(request.signature.clone()),
        }))
    }

    async fn allows(&self, port: &str, identity: &str) -> Result<Option<bool>, Status> {
        let (port, identity) = (port.to_owned(), identity.to_owned());
        let allows = move |node: &mut Node| {
            let gateway = node.config.gateway.as_ref()?;
            gateway.allows(&port, &identity)
        };
        self.ask(allows).await
    }

    async fn admit(&self, asking: &Asking) -> Result<Admitted, Status> {
        let mut sorted = self.sort(asking, asking.names.clone()).await?;
        let mut ask = std::mem::take(&mut sorted.unknown);
        // An authority may have changed its mind.
        ask.extend(sorted.revoked.iter().map(|(name, _)| name.clone()));
        let (Some(proof), false) = (&asking.proof, ask.is_empty()) else {
            return Ok(Admitted {
                serves: sorted.serves,
                refused: sorted.revoked,
                waiting: Vec::new(),
            });
        };
        let authorities = Arc::clone(&self.authorities.borrow());
        let answer = authorities
            .ask(
                &self.root,
                (Domain(asking.port.domain), &asking.identity),
                proof,
                ask.clone(),
            )
            .await;
        self.ask(move |node| node.add_authorisations(answer.authorisations))
            .await?;
        let after = self.sort(asking, ask).await?;
        let mut admitted = Admitted {
            serves: sorted.serves,
            ..Admitted::default()
        };
        admitted.serves.extend(after.serves);
        admitted.serves.sort_unstable();
        for (name, why) in after.revoked {
            let why = answer.refused.get(&name).cloned().unwrap_or(why);
            admitted.refused.push((name, why));
        }
        for name in after.unknown {
            if let Some(why) = answer.refused.get(&name) {
                admitted.refused.push((name, why.clone()));
            } else {
                let why = answer.open.get(&name).cloned();
                let why = why.unwrap_or_else(|| "its authorisation is not for this gateway, or not believed; look at the gateway's log".to_owned());
                admitted.waiting.push((name, why));
            }
        }
        Ok(admitted)
    }

    async fn class_limit(&self, identity: &str) -> Result<u8, Status> {
        let identity = identity.to_owned();
        self.ask(move |node| node.config.class_limit(&identity))
            .await
    }

    async fn registered(&self, lease: &Lease, asking: Asking, admitted: &mut Admitted) {
        let (id, who) = (lease.id, asking.identity.clone());
        let room = self
            .handle
            .query(move |node| node.claims.room(id, &who, WAITING));
        let fit = admitted.waiting.len().min(room.await.unwrap_or(0));
        let refused = admitted.waiting.split_off(fit).into_iter().map(|(name, _)| {
            let why = format!(
                "not authorised yet, and too many names wait at this gateway already (at most {} of one identity, {} in all); register it again when others are served",
                WAITING.0, WAITING.1
            );
            (name, why)
        });
        admitted.refused.extend(refused);
        let mut reasons = HashMap::new();
        let waiting: BTreeMap<NameBuf, Arc<str>> = admitted
            .waiting
            .iter()
            .map(|(name, why)| (name.clone(), shared(&mut reasons, why)))
            .collect();
        let mut wanted: BTreeSet<NameBuf> = admitted.serves.iter().cloned().collect();
        wanted.extend(waiting.keys().cloned());
        let reason = match admitted.refused.first() {
            None => String::new(),
            Some((name, why)) => format!("{} refused; {name}: {why}", admitted.refused.len()),
        };
        let claim = Claim {
            identity: asking.identity,
            domain: lease.domain,
            wanted,
            waiting,
            reason,
            proof: asking.proof,
            ..Claim::default()
        };
        let at_ms = asking.at_ms;
        self.handle
            .query(move |node| {
                node.claims.by_lease.insert(id, claim);
                // It may have been taken back while the pod registered.
                node.end_revoked_leases();
                node.sync_leases(at_ms);
                node.signals.claimed.notify_one();
            })
            .await;
    }

    async fn proofs(&self, lease: LeaseId) -> Proofs {
        let proofs = self.handle.query(move |node| node.proofs(lease));
        proofs.await.unwrap_or_default()
    }

    async fn taken_back(&self, known: u64) -> TakenBack {
        let told = self.handle.query(move |node| node.taken_back(known));
        told.await.unwrap_or_default()
    }

    async fn changed(&self, withdrawn: Option<(LeaseId, HashSet<NameBuf>)>) {
        self.handle
            .query(move |node| {
                if let Some((id, gone)) = withdrawn
                    && let Some(claim) = node.claims.by_lease.get_mut(&id)
                {
                    claim.wanted.retain(|name| !gone.contains(name));
                    claim.waiting.retain(|name, _| !gone.contains(name));
                }
                node.sync_leases(crate::clock::wall_ms());
                node.signals.claimed.notify_one();
            })
            .await;
    }

    async fn instances(&self, lease: &Lease, name: &NameBuf) -> Vec<v1::Instance> {
        let (lease, name) = (lease.clone(), name.clone());
        let found = self.handle.query(move |node| {
            let caller = Caller {
                domain: lease.domain,
                name: lease.source_name.as_name(),
                serves: &lease.serves,
            };
            let tables = node.rib.current();
            let own = node.config.node.id;
            let mut found = instances(tables, &node.pods.leases(), own, caller, name.as_name());
            found.retain(|instance| node.rib.reaches(NodeId(instance.gateway)));
            found
        });
        found.await.unwrap_or_default()
    }
}

/// The pod that calls.
pub(crate) fn pod<T>(request: &Request<T>, root: &RootKey) -> Result<Certified, Status> {
    let (certificate, der) = tls::caller(request, root)?;
    match certificate.identity {
        Identity::Pod(identity) => Ok(Certified {
            identity,
            public_key: certificate.public_key,
            certificate: Bytes::from(der),
        }),
        other => Err(Status::permission_denied(format!(
            "{other} is no pod; only pods register"
        ))),
    }
}

fn check_identity<'a>(
    certified: Option<&'a Certified>,
    identity: &str,
) -> Result<&'a Certified, Status> {
    match certified {
        Some(one) if one.identity == identity => Ok(one),
        Some(one) => Err(Status::permission_denied(format!(
            "identity {identity:?} is not the certificate's, which is {:?}; register under that, or use the credentials of {identity:?}",
            one.identity
        ))),
        None => Err(Status::unauthenticated("show a client certificate")),
    }
}
