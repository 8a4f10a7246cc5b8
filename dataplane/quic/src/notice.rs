//! What a server says to a caller beside its answers, on unidirectional streams after the first: `version(1)=1 | kind(1)`, and then
//! what its kind has: 1 proofs, renewed, as on the first stream; 2 drain, nothing; 3 replicas, as [`crate::replicas`] says. Others are ignored.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::proof;
use crate::replicas::{self, Replica};

const VERSION: u8 = 1;
const PROOFS: u8 = 1;
const DRAIN: u8 = 2;
const REPLICAS: u8 = 3;

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Renewed proofs follow.
    Proofs,
    /// New calls are to go elsewhere.
    Drain,
    /// Who else serves the name at the server's gateway follows.
    Replicas,
    /// Of a later version.
    Unknown,
}

/// Renewed proofs.
pub(crate) fn proofs(proofs: &[Bytes]) -> Bytes {
    [&[VERSION, PROOFS], &proof::encode(proofs)[..]]
        .concat()
        .into()
}

/// New calls are to go elsewhere.
pub(crate) const fn drain() -> Bytes {
    Bytes::from_static(&[VERSION, DRAIN])
}

/// Who else serves the name at the server's gateway.
pub(crate) fn replicas(replicas: &[Replica]) -> Bytes {
    [&[VERSION, REPLICAS], &replicas::encode(replicas)[..]]
        .concat()
        .into()
}

/// Reads what the rest of the stream is.
///
/// # Errors
/// The stream broke off before that.
pub async fn read<R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<Notice> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await?;
    Ok(match head {
        [VERSION, PROOFS] => Notice::Proofs,
        [VERSION, DRAIN] => Notice::Drain,
        [VERSION, REPLICAS] => Notice::Replicas,
        _ => Notice::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn later_versions_and_kinds_are_known_as_such() {
        let first = |bytes: Bytes| async move { read(&mut &bytes[..]).await };
        assert_eq!(first(drain()).await.unwrap(), Notice::Drain);
        let shown = proofs(&[Bytes::from_static(b"x")]);
        assert_eq!(shown[2..], [0, 0, 0, 1, 0, 0, 0, 1, b'x']);
        assert_eq!(first(shown).await.unwrap(), Notice::Proofs);
        assert_eq!(first(replicas(&[])).await.unwrap(), Notice::Replicas);
        for unknown in [[2, 1], [1, 4], [0, 0]] {
            let bytes = Bytes::copy_from_slice(&unknown);
            assert_eq!(first(bytes).await.unwrap(), Notice::Unknown);
        }
        assert!(first(Bytes::from_static(&[1])).await.is_err());
    }
}
