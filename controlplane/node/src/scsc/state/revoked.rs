//! What the root took back: whoever has such a certificate is let go, and forgotten.

use dmsc_spa::verify::VerifyError;
use dmsc_wire::NodeId;
use tokio::sync::watch;
use tracing::{error, warn};

use super::{Center, Inner, Stream};
use crate::clock::wall;
use crate::root_revocations::GiveError;
use crate::tls;

impl Center {
    /// Takes what the root took back (SignedRootRevocation): kept on disk, and from now on a node with such a certificate or key is not heard, nor told
    /// anything. Returns what it is about, and whether it was known.
    ///
    /// # Errors
    /// When it is not the root's, or cannot be kept; nothing changes then.
    pub fn give_root_revocation(&self, body: &[u8]) -> Result<(String, bool), GiveError> {
        let given = self.taken_back.give(&self.root, body)?;
        if !given.1 {
            self.let_go();
        }
        Ok(given)
    }

    /// Told when the root took something back.
    #[must_use]
    pub fn watch_revoked(&self) -> watch::Receiver<usize> {
        self.revoked.subscribe()
    }

    /// Whether the root took back what this center signs with: nobody obeys it.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        let now_s = wall().as_secs();
        let own = self.root.center_certificate(&self.certificate, now_s);
        own == Err(VerifyError::Revoked)
    }

    /// Nodes whose certificates the root took back: their streams end, and nothing counts any more that they said.
    pub(super) fn let_go(&self) {
        if self.is_revoked() {
            error!(
                "the root took this center's certificate back: no gateway obeys it; dmscctl pki issue gives it a new key and certificate"
            );
        }
        let mut inner = self.inner();
        let Inner {
            streams,
            groups,
            engine,
            ..
        } = &mut *inner;
        let revoked = |_: &NodeId, own: &mut Stream| self.root.has_revoked(&own.certificate);
        let gone: Vec<(NodeId, Stream)> = streams.extract_if(revoked).collect();
        for (node, stream) in &gone {
            warn!(%node, "its certificate was revoked by the root; its stream ends");
            // Without room there: the stream ends without a word.
            let _ = stream.sender.try_send(Err(tls::revoked()));
            groups.forget_all_but(engine, *node, None);
        }
        let is_gone = |node: NodeId| gone.iter().any(|(one, _)| *one == node);
        inner.pending.retain(|pair, _| !is_gone(pair.gateway));
        inner.quality.retain(|pair, _| !is_gone(pair.gateway));
        let before = inner.in_force.len();
        inner
            .in_force
            .retain(|(_, _, gateway), _| !is_gone(*gateway));
        inner.unsaved |= inner.in_force.len() != before;
        drop(inner);
        self.revoked.send_modify(|count| *count += 1);
    }
}
