//! Scheduling centers.

use crate::file::LabFile;

/// Port of the first one; 35030 to 35039 are the other services of the control plane.
const PORT: u16 = 35_040;

/// Port of the page of the first one, on loopback of its namespace.
const PAGE: u16 = 9_468;

/// A scheduling center: a process in the authorities' namespace, which a veth joins to every gateway.
#[derive(Debug, Clone)]
pub struct CenterPlan {
    /// Short name.
    pub name: String,
    /// Which replica, from 1.
    pub replica: u32,
    /// TCP port of its service, on every address of its namespace.
    pub port: u16,
    /// Two-way delay from which on a member is bad, ms.
    pub delay_ms: u32,
    /// Delay variation, too.
    pub jitter_ms: u32,
    /// Unused bandwidth on the way up to which a member is bad, Mbit/s.
    pub bandwidth_mbit: u32,
    /// Load from which on a member is bad, percent.
    pub load_percent: u32,
}

impl CenterPlan {
    /// Address of its page, in its namespace.
    #[must_use]
    pub fn page(&self) -> String {
        format!("127.0.0.1:{}", PAGE + (self.port - PORT))
    }
}

/// The centers of a file.
pub(super) fn centers(file: &LabFile) -> Vec<CenterPlan> {
    let all = file.center.iter().zip(0_u16..);
    all.map(|(center, place)| CenterPlan {
        name: center.name.get_ref().clone(),
        replica: u32::from(place) + 1,
        port: PORT + place,
        delay_ms: *center.delay_ms.get_ref(),
        jitter_ms: *center.jitter_ms.get_ref(),
        bandwidth_mbit: *center.bandwidth_mbit.get_ref(),
        load_percent: *center.load_percent.get_ref(),
    })
    .collect()
}
