//! How long a connection lives: as long as the certificate and the proof that it was made with count, and renewed ones after them.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dmsc_spa::verify::{Authorisation, Certificate};
use dmsc_wire::Name;
use quinn::{ConnectionError, VarInt};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::connection::{close, code};
use crate::endpoint::now_s;
use crate::error::Ended;
use crate::exhibits::Exhibits;
use crate::judge::Judge;
use crate::notice::{self, Notice};
use crate::peer::Peer;
use crate::proof;
use crate::replicas::{self, Ear};
use crate::revoked::Revoked;
use crate::tls::Shown;

/// Wall clocks are set: nobody sleeps longer than this before looking again.
const LOOK: Duration = Duration::from_secs(600);
/// Before a connection ends, its calls go to a new one: a tenth of its time, at most this, s.
const MARGIN_S: u64 = 60;
/// For what a server says on a stream of its own to be there as a whole.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between notices of one server: who says much costs little.
const PAUSE: Duration = Duration::from_millis(100);

/// What changes while a connection lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct State {
    /// Until when the proof counts, s since 1970; `None` at the called end, which is shown none.
    proof_s: Option<u64>,
    /// New calls are to be made elsewhere.
    pub retired: bool,
    /// This end ended it, and why.
    pub ended: Option<Ended>,
}

/// The life of one connection.
#[derive(Debug)]
pub(crate) struct Life {
    began_s: u64,
    /// Until when the other end's certificate counts, s since 1970.
    certificate_s: u64,
    certificate: Option<Certificate>,
    /// What proves the name, of all that was shown; nothing at the called end.
    proofs: Mutex<Vec<Authorisation>>,
    /// What the called end has shown last, and of whose; nothing at the calling end.
    shown: Option<(Arc<Exhibits>, Mutex<Vec<Bytes>>)>,
    /// Until when this end's own counts there; no new calls are made after it.
    own_s: u64,
    state: watch::Sender<State>,
}

impl Life {
    /// Of the end that called, which was shown a proof and has shown a certificate of its own.
    pub fn calling(other: Shown, proofs: Vec<Authorisation>, own_s: u64) -> Self {
        Self::new(other, proofs, own_s, None)
    }

    /// Of the end that was called, which makes no calls, and has shown these proofs.
    pub fn called(other: Shown, exhibits: Arc<Exhibits>, shown: Vec<Bytes>) -> Self {
        let shown = (exhibits, Mutex::new(shown));
        Self::new(other, Vec::new(), u64::MAX, Some(shown))
    }

    fn new(
        other: Shown,
        proofs: Vec<Authorisation>,
        own_s: u64,
        shown: Option<(Arc<Exhibits>, Mutex<Vec<Bytes>>)>,
    ) -> Self {
        Self {
            began_s: now_s(),
            certificate_s: other.until_s,
            certificate: other.certificate,
            own_s,
            shown,
            state: watch::Sender::new(State {
                proof_s: proofs.iter().map(proof::end_s).max(),
                retired: false,
                ended: None,
            }),
            proofs: Mutex::new(proofs),
        }
    }

    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub fn retire(&self) {
        self.state
            .send_if_modified(|state| !std::mem::replace(&mut state.retired, true));
    }

    fn proofs(&self) -> MutexGuard<'_, Vec<Authorisation>> {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What lasts longest of all that was shown counts.
    fn renew(&self, shown: Vec<Authorisation>) {
        let mut proofs = self.proofs();
        for one in shown {
            if !proofs.contains(&one) {
                proofs.push(one);
            }
        }
        proofs.sort_by_key(|one| Reverse(proof::end_s(one)));
        proofs.truncate(proof::MAX_PROOFS);
        let until_s = proofs.first().map(proof::end_s);
        drop(proofs);
        self.state.send_modify(|state| state.proof_s = until_s);
    }

    /// Forgets what was taken back. Why it ends, if that was the certificate, or all that proved the name.
    fn judge_again(&self, revoked: &Revoked, name: Name<'_>) -> Option<Ended> {
        let is_revoked = |certificate| revoked.has_certificate(certificate);
        if self.certificate.as_ref().is_some_and(is_revoked) {
            return Some(Ended::CertificateRevoked);
        }
        let mut proofs = self.proofs();
        let before = proofs.len();
        proofs.retain(|one| !revoked.ends(one, name));
        if proofs.len() == before {
            return None;
        }
        let until_s = proofs.iter().map(proof::end_s).max();
        drop(proofs);
        if until_s.is_none() {
            return Some(Ended::ProofRevoked);
        }
        self.state.send_modify(|state| state.proof_s = until_s);
        None
    }

    /// Whether all that this end has shown was taken back. Signatures are read again for that: only when there is something new.
    fn is_void(&self, revoked: &Revoked, name: Name<'_>) -> bool {
        self.shown.as_ref().is_some_and(|(exhibits, shown)| {
            let shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            exhibits.are_void(&shown, name, revoked)
        })
    }

    fn end(&self, quic: &quinn::Connection, why: Ended) {
        debug!(%why, "connection ended");
        self.state.send_modify(|state| state.ended = Some(why));
        let code = match why {
            Ended::Certificate => code::CERTIFICATE_EXPIRED,
            Ended::Proof => code::PROOF_EXPIRED,
            Ended::Unreachable => code::UNREACHABLE,
            Ended::CertificateRevoked => code::CERTIFICATE_REVOKED,
            Ended::ProofRevoked => code::PROOF_REVOKED,
        };
        close(quic, code, why.told());
    }

    /// When it ends, s since 1970, and what ends it then.
    pub fn ends(&self) -> (u64, Ended) {
        match self.state().proof_s {
            Some(proof_s) if proof_s < self.certificate_s => (proof_s, Ended::Proof),
            _ => (self.certificate_s, Ended::Certificate),
        }
    }

    /// Ends the connection when its time has come, when what it was made with is taken back, or when routers say that there is no way.
    pub async fn watch(
        self: Arc<Self>,
        quic: quinn::Connection,
        peer: Arc<Peer>,
        revoked: Arc<Revoked>,
    ) {
        let mut state = self.subscribe();
        let mut taken_back = revoked.subscribe();
        loop {
            taken_back.mark_unchanged();
            if let Some(why) = self.judge_again(&revoked, peer.called().as_name()) {
                return self.end(&quic, why);
            }
            let (end_s, why) = self.ends();
            let now_s = now_s();
            if now_s > end_s {
                return self.end(&quic, why);
            }
            let now = *state.borrow_and_update();
            let mut next_s = end_s - now_s + 1;
            if now.proof_s.is_some() && !now.retired {
                let last_s = end_s.min(self.own_s);
                let margin_s = (last_s.saturating_sub(self.began_s) / 10).min(MARGIN_S);
                match last_s.saturating_sub(margin_s).saturating_sub(now_s) {
                    0 => self.retire(),
                    left_s => next_s = left_s,
                }
            }
            tokio::select! {
                () = peer.unreachable() => return self.end(&quic, Ended::Unreachable),
                _ = quic.closed() => return,
                _ = state.changed() => {}
                _ = taken_back.changed() => {
                    if self.is_void(&revoked, peer.called().as_name()) {
                        return self.end(&quic, Ended::ProofRevoked);
                    }
                }
                () = sleep(Duration::from_secs(next_s).min(LOOK)) => {}
            }
        }
    }

    /// The caller's ear: what the server says beside its answers.
    pub async fn hear(self: Arc<Self>, quic: quinn::Connection, judge: Judge, ear: Ear) {
        while let Ok(mut stream) = quic.accept_uni().await {
            let heard = async {
                match notice::read(&mut stream).await {
                    Ok(Notice::Drain) => self.retire(),
                    Ok(Notice::Proofs) => match judge.read(&mut stream).await {
                        Ok(shown) => self.renew(shown),
                        Err(error) => {
                            debug!(%error, name = %judge.peer.called(), "renewed proofs do not count");
                        }
                    },
                    Ok(Notice::Replicas) => match replicas::read(&mut stream).await {
                        Ok(told) => ear.hears(told),
                        Err(error) => debug!(%error, "replicas that cannot be read"),
                    },
                    Ok(Notice::Unknown) => {}
                    Err(error) => debug!(%error, "a notice that cannot be read"),
                }
            };
            // What takes too long is not listened to.
            let _ = timeout(PATIENCE, heard).await;
            let _ = stream.stop(VarInt::from_u32(code::DONE));
            sleep(PAUSE).await;
        }
    }
}

/// Whether the caller says that it believes the proofs no more, or never did.
pub(crate) fn is_doubt(why: &ConnectionError) -> bool {
    let doubts = [code::NOT_PROVEN, code::PROOF_EXPIRED, code::PROOF_REVOKED];
    match why {
        ConnectionError::ApplicationClosed(closed) => doubts
            .iter()
            .any(|code| closed.error_code == VarInt::from_u32(*code)),
        _ => false,
    }
}

impl Life {
    /// The server's part: shows renewed proofs of the called name when its pod is told some. Ends with the pod.
    pub async fn show(self: Arc<Self>, quic: quinn::Connection, peer: Arc<Peer>) {
        let Some((exhibits, shown)) = &self.shown else {
            return;
        };
        let shown = || shown.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = exhibits.subscribe();
        // What came since they were shown is looked at, too.
        told.mark_changed();
        loop {
            tokio::select! {
                changed = told.changed() => if changed.is_err() { return },
                _ = quic.closed() => return,
            }
            let now = exhibits.of(peer.called().as_name());
            if now.is_empty() || now == *shown() {
                continue;
            }
            let Ok(mut stream) = quic.open_uni().await else {
                return;
            };
            if stream.write_all(&notice::proofs(&now)).await.is_err() {
                continue;
            }
            let _ = stream.finish();
            *shown() = now;
        }
    }
}
