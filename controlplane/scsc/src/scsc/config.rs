//! How one center decides, if nothing else is said for a group.

use std::time::Duration;

use crate::policy::{Epoch, MAX_TTL, MIN_TTL, ReplicaId};
use crate::rules::{Rules, RulesError, check_step};
use crate::threshold::Thresholds;
use crate::timing::Timing;

/// How one center decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScscConfig {
    /// Of routers: its scheduling domain.
    pub area: u32,
    /// Which of the area's centers.
    pub replica: ReplicaId,
    /// This start.
    pub epoch: Epoch,
    /// When thresholds are believed, of groups without rules of their own.
    pub timing: Timing,
    /// Life of a policy; renewed at half of it.
    pub ttl: Duration,
    /// Of the traffic of a service group at most this much moves in a step, thousandths, if it has no rules of its own.
    pub step_permille: u16,
    /// Length of a step.
    pub step: Duration,
    /// A report older than this says nothing of how a choice is.
    pub fresh: Duration,
}

impl Default for ScscConfig {
    fn default() -> Self {
        Self {
            area: 0,
            replica: ReplicaId(1),
            epoch: Epoch(1),
            timing: Timing::default(),
            ttl: Duration::from_secs(30),
            step_permille: 250,
            step: Duration::from_secs(1),
            fresh: Duration::from_secs(4),
        }
    }
}

impl ScscConfig {
    /// Rules with these thresholds, and the rest as it is here.
    #[must_use]
    pub fn rules(&self, thresholds: Thresholds) -> Rules {
        Rules {
            thresholds,
            timing: self.timing,
            step_permille: self.step_permille,
        }
    }

    /// Whether a center can decide by these numbers.
    ///
    /// # Errors
    /// The first that is of no use.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.timing.check().map_err(RulesError::from)?;
        if !(MIN_TTL..=MAX_TTL).contains(&self.ttl) {
            return Err(ConfigError::Ttl(self.ttl));
        }
        check_step(self.step_permille)?;
        Ok(())
    }
}

/// Numbers that no center can work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Windows, or the step.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// Life.
    #[error("ttl {0:?}: write 2 s to an hour")]
    Ttl(Duration),
}
