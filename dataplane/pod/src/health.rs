//! What a pod says of itself to its gateway.

/// Sent at [`crate::Pod::set_health`] and again after every new registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// Takes calls.
    #[default]
    Serving,
    /// Answers what comes, and wants no new calls.
    Draining,
    /// Wants fewer calls.
    Overloaded,
}

impl Health {
    /// The word of the pod API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Overloaded => "overloaded",
        }
    }
}
