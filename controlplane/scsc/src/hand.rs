//! Policies that somebody set by hand say so in their reason; reasons of the engine begin with the name of a group, so none of those reads like it.

use crate::policy::{MAX_REASON, Policy};

const MARK: &str = "by hand, ";
/// Most bytes of who it was, and of why.
const MAX_PART: usize = 250;

/// The reason of a policy that `who` set, because of `why`; both are shortened to 250 bytes.
#[must_use]
pub fn reason(who: &str, why: &str) -> String {
    let part = |text: &str| text[..text.floor_char_boundary(MAX_PART)].to_owned();
    // A colon ends who it was.
    let text = format!("{MARK}{}: {}", part(who).replace(": ", " "), part(why));
    debug_assert!(text.len() <= MAX_REASON);
    text
}

impl Policy {
    /// Who set it by hand; `None`: the scheduling center decided by itself.
    #[must_use]
    pub fn set_by(&self) -> Option<&str> {
        let rest = self.reason.strip_prefix(MARK)?;
        Some(rest.split_once(": ").map_or(rest, |(who, _)| who))
    }
}
