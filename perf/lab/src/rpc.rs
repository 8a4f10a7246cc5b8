//! One call to a daemon of the lab, from code that waits for it.

use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Runtime;

/// A daemon that does not answer for this long is taken for gone.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the call `what` to `whom` and waits for its answer.
///
/// # Errors
/// When it does not answer in time, or refuses.
pub fn ask<T>(
    runtime: &Runtime,
    whom: &str,
    what: &str,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> anyhow::Result<T> {
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, call).await });
    Ok(answer
        .with_context(|| {
            format!(
                "{whom} did not answer {what} within {} s",
                PATIENCE.as_secs()
            )
        })?
        .with_context(|| format!("{whom} refused {what}"))?
        .into_inner())
}
