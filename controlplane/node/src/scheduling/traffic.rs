//! Service groups as they are seen from this gateway: whom calls may go to, and whom plain routes choose.

use std::collections::BTreeMap;
use std::sync::Arc;

use dmsc_wire::{Domain, NameBuf};

use crate::handle::Handle;
use crate::rib::policies::Choice;

/// Most prefixes that are told: as many as a center takes. Of a gateway with more, those that come later in the order of names have no policy made for
/// them.
const MAX_PREFIXES: usize = crate::scsc::state::MAX_GROUPS_EACH;

/// By domain and prefix; shared, since it seldom changes.
pub(super) type Rows = Arc<BTreeMap<(Domain, NameBuf), Choice>>;

/// The rows, and of which routes they are.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    version: Option<u64>,
    rows: Rows,
}

impl Traffic {
    /// Made anew when routes changed.
    pub async fn rows(&mut self, handle: &Handle) -> Rows {
        let known = self.version;
        let changed = handle.query(move |node| {
            let version = node.rib.is_complete().then(|| node.rib.version());
            if version == known {
                return None;
            }
            let rows = node.rib.choices(MAX_PREFIXES);
            let rows = rows.map(|(key, choice)| (key.clone(), choice)).collect();
            Some((version, Arc::new(rows)))
        });
        if let Some(Some((version, rows))) = changed.await {
            self.version = version;
            self.rows = rows;
        }
        Arc::clone(&self.rows)
    }
}
