//! What a gateway tells a pod in lists, of which the pod keeps a bounded part.

use bytes::Bytes;
use tracing::warn;

/// Of `told`, the first `most` that have at most `bytes` bytes each; `what` they are, for the log.
pub(crate) fn kept(what: &str, told: Vec<Vec<u8>>, (most, bytes): (usize, usize)) -> Vec<Bytes> {
    let all = told.len();
    let fits = told.into_iter().filter(|one| one.len() <= bytes);
    let kept: Vec<Bytes> = fits.take(most).map(Bytes::from).collect();
    if kept.len() < all {
        warn!(
            told = all,
            kept = kept.len(),
            "the gateway told more {what} than a pod keeps: at most {most} of {bytes} bytes"
        );
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded() {
        let told = vec![vec![0; 9], vec![1], vec![2; 8], vec![3]];
        let two = kept("things", told.clone(), (2, 8));
        assert_eq!(two, [Bytes::from(vec![1]), Bytes::from(vec![2; 8])]);
        assert_eq!(kept("things", told, (8, 9)).len(), 4);
    }
}
