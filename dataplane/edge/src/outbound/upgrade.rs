//! Connections that went over to another protocol: bytes both ways.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional_with_sizes;
use tracing::debug;

use super::account::Account;
use super::pool::Lent;

const BUFFER: usize = 16 << 10;

/// Until both ends have said all, or one broke off.
pub async fn carry(own: OnUpgrade, theirs: OnUpgrade, lent: Lent, mut account: Box<Account>) {
    let (own, theirs) = match tokio::try_join!(own, theirs) {
        Ok(both) => both,
        Err(error) => return debug!(%error, "a connection did not go over to another protocol"),
    };
    let (mut own, mut theirs) = (TokioIo::new(own), TokioIo::new(theirs));
    match copy_bidirectional_with_sizes(&mut own, &mut theirs, BUFFER, BUFFER).await {
        Ok((there, back)) => {
            account.bytes_in += there;
            account.bytes_out += back;
            account.end(true);
        }
        Err(error) => debug!(%error, "an upgraded connection broke off"),
    }
    drop(lent);
}
