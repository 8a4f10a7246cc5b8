//! What pods ask of their gateway.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use dmsc_proto::v1;
use dmsc_proto::v1::registrar_server::Registrar;
use dmsc_wire::NameBuf;
use prost::Message;
use ring::signature::{ED25519, UnparsedPublicKey};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

use super::{Attached, NODE, State, WAITING};

#[derive(Debug, Clone)]
pub(super) struct Service(pub(super) Arc<State>);

type Replies = Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::ResolveReply, Status>> + Send>>;

impl Service {
    /// Checks a proof: the certificate is the pod's, the nonce is fresh, and the signature is by the key in the certificate.
    fn check(
        &self,
        public: &[Vec<u8>],
        request: &Request<v1::RegisterRequest>,
    ) -> Result<(), Status> {
        let certificates = request.peer_certs().unwrap();
        let is_in = |key: &&Vec<u8>| certificates[0].windows(key.len()).any(|at| at == *key);
        let theirs = public.iter().find(is_in);
        let register = request.get_ref();
        let statement = v1::PodStatement::decode(register.statement.as_slice()).unwrap();
        let fresh = self.0.nonces.lock().unwrap().remove(&register.nonce);
        assert_eq!((&statement.nonce, fresh), (&register.nonce, true));
        assert_eq!(
            (statement.gateway, &statement.identity),
            (NODE.0, &register.identity)
        );
        let signed = [b"dmsc-register-v1\0", register.statement.as_slice()].concat();
        let good = theirs.is_some_and(|key| {
            let key = UnparsedPublicKey::new(&ED25519, key);
            key.verify(&signed, &register.signature).is_ok()
        });
        if !good {
            return Err(Status::permission_denied("not the pod's certificate"));
        }
        self.0.proofs.fetch_add(1, Relaxed);
        Ok(())
    }

    fn known(&self, lease: u64) -> Result<u16, Status> {
        let attachments = self.0.attachments.lock().unwrap();
        let found = attachments.iter().find(|(_, one)| one.lease == lease);
        found
            .map(|(id, _)| *id)
            .ok_or_else(|| Status::not_found("unknown lease"))
    }
}

#[tonic::async_trait]
impl Registrar for Service {
    async fn challenge(
        &self,
        _: Request<v1::ChallengeRequest>,
    ) -> Result<Response<v1::ChallengeReply>, Status> {
        if self.0.public.is_none() {
            return Err(Status::unimplemented("knows no certificates"));
        }
        let mut nonces = self.0.nonces.lock().unwrap();
        let nonce = vec![nonces.len() as u8 + *self.0.registrations.borrow() as u8; 16];
        nonces.insert(nonce.clone());
        Ok(Response::new(v1::ChallengeReply {
            nonce,
            gateway: NODE.0,
        }))
    }

    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterReply>, Status> {
        if let Some(public) = &self.0.public {
            self.check(public, &request)?;
        }
        let at = SocketAddr::new(
            request.remote_addr().unwrap().ip(),
            request.get_ref().udp_port as u16,
        );
        let request = request.into_inner();
        if request.identity == "stranger" {
            return Err(Status::permission_denied(
                "identity \"stranger\" may not register here",
            ));
        }
        let names = request
            .prefixes
            .iter()
            .map(|bytes| NameBuf::from_bytes(bytes).unwrap());
        let (serves, refused): (Vec<_>, Vec<_>) =
            names.partition(|name| name.to_string().starts_with("/shop"));
        let waiting = serves
            .iter()
            .filter(|name| name.to_string() == WAITING)
            .map(|name| v1::RefusedPrefix {
                name: name.as_bytes().to_vec(),
                reason: "no authority answers".into(),
            })
            .collect();
        let count = *self.0.registrations.borrow() + 1;
        let lease = u64::from(count);
        let mut attachments = self.0.attachments.lock().unwrap();
        let known = attachments.iter().find(|(_, one)| one.at == at);
        let id = known
            .map(|(id, _)| *id)
            .or_else(|| attachments.keys().max().map(|id| id + 1))
            .unwrap_or(1);
        let health = "serving".to_owned();
        attachments.insert(
            id,
            Attached {
                lease,
                at,
                serves,
                health,
            },
        );
        drop(attachments);
        self.0.registrations.send_replace(count);
        let source = NameBuf::parse(&format!("/id/{}", request.identity)).unwrap();
        let (version, authorisations) = self.0.authorisations.lock().unwrap().clone();
        let (revocations_version, revocations, root_revocations) =
            self.0.revocations.lock().unwrap().clone();
        Ok(Response::new(v1::RegisterReply {
            version: 1,
            lease,
            lease_seconds: 30,
            refresh_seconds: 10,
            gateway: NODE.0,
            attachment: u32::from(id),
            domain: 1,
            source_name: source.as_bytes().to_vec(),
            data_address: self.0.data.ip().to_string(),
            data_port: u32::from(self.0.data.port()),
            max_packet: self.0.delivery.max_packet.load(Relaxed),
            refused: refused
                .iter()
                .map(|name| v1::RefusedPrefix {
                    name: name.as_bytes().to_vec(),
                    reason: "not yours".into(),
                })
                .collect(),
            waiting,
            authorisations,
            authorisations_version: version,
            revocations,
            root_revocations,
            revocations_version,
            ..Default::default()
        }))
    }

    async fn refresh(
        &self,
        request: Request<v1::RefreshRequest>,
    ) -> Result<Response<v1::RefreshReply>, Status> {
        self.known(request.get_ref().lease)?;
        let (version, all) = self.0.authorisations.lock().unwrap().clone();
        let known = request.get_ref().authorisations_version;
        let news = known != 0 && known != version;
        let (revocations_version, revocations, root_revocations) = {
            let told = self.0.revocations.lock().unwrap().clone();
            match request.get_ref().revocations_version {
                known if known == told.0 => (told.0, Vec::new(), Vec::new()),
                _ => told,
            }
        };
        Ok(Response::new(v1::RefreshReply {
            lease_seconds: 30,
            authorisations: if news { all } else { Vec::new() },
            authorisations_version: version,
            revocations,
            root_revocations,
            revocations_version,
        }))
    }

    async fn withdraw(
        &self,
        request: Request<v1::WithdrawRequest>,
    ) -> Result<Response<v1::WithdrawReply>, Status> {
        let id = self.known(request.get_ref().lease)?;
        self.0.attachments.lock().unwrap().remove(&id);
        self.0.changed();
        Ok(Response::new(v1::WithdrawReply {}))
    }

    type ResolveStream = Replies;
    /// The instances now, and again with every registration, withdrawal and change of health.
    async fn resolve(
        &self,
        request: Request<v1::ResolveRequest>,
    ) -> Result<Response<Replies>, Status> {
        let name = NameBuf::from_bytes(&request.get_ref().name).unwrap();
        let asker = self.known(request.get_ref().lease)?;
        let state = Arc::clone(&self.0);
        let changes = WatchStream::new(self.0.registrations.subscribe());
        let replies = changes.map(move |_| Ok(state.instances(asker, &name)));
        Ok(Response::new(Box::pin(replies)))
    }

    async fn answered(
        &self,
        request: Request<v1::AnsweredRequest>,
    ) -> Result<Response<v1::AnsweredReply>, Status> {
        self.known(request.get_ref().lease)?;
        self.0.answered.send_modify(|answered| {
            for calls in request.into_inner().calls {
                let name = NameBuf::from_bytes(&calls.name).unwrap();
                let told: u64 = calls.latency.iter().map(|bucket| bucket.count).sum();
                *answered.entry(name).or_default() += told;
            }
        });
        Ok(Response::new(v1::AnsweredReply {}))
    }

    async fn health(
        &self,
        request: Request<v1::HealthRequest>,
    ) -> Result<Response<v1::HealthReply>, Status> {
        let id = self.known(request.get_ref().lease)?;
        let state = request.into_inner().state;
        if let Some(one) = self.0.attachments.lock().unwrap().get_mut(&id) {
            one.health.clone_from(&state);
        }
        *self.0.health.lock().unwrap() = state;
        self.0.changed();
        Ok(Response::new(v1::HealthReply {}))
    }
}
