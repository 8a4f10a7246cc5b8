//! The way to the kernel, and the bells of other threads.

use super::Floor;
use crate::counters::{DropReason, EventKind};
use crate::net;
use crate::packet::{Context, Verdict};
use crate::stage::Env;

impl Floor {
    /// Gives a frame to the exception path.
    pub(crate) fn punt(&mut self, env: &Env<'_>, frame: &[u8], context: &Context) -> Verdict {
        let number = usize::from(context.port);
        let Some(port) = self.shared.ports.get(number) else {
            return Verdict::Drop(DropReason::NoException);
        };
        if !port.has_tap {
            return Verdict::Drop(DropReason::NoException);
        }
        let vlan = port.config.vlan;
        if net::vlan(frame) != vlan {
            return Verdict::Drop(DropReason::WrongVlan);
        }
        // Plain IP of pods is what they live on and has their budget already; router ports are limited here.
        if !port.is_pod() && !self.exception_rate[number].allow(env.now) {
            return Verdict::Drop(DropReason::ExceptionRate);
        }
        let frame = if vlan == 0 {
            frame
        } else {
            net::untag(frame, &mut self.scratch[..])
        };
        if !self.shared.to_kernel[number].offer(context.port, false, env.now, frame, usize::MAX) {
            return Verdict::Drop(DropReason::ExceptionFull);
        }
        self.for_kernel = true;
        self.counters.ports[number].event(EventKind::ToKernel);
        Verdict::Consumed
    }

    /// Tells other threads what there is for them: system calls, so after the burst.
    pub(super) fn ring_bells(&mut self) {
        if std::mem::take(&mut self.for_kernel) {
            self.shared.kernel_bell.ring();
        }
        if std::mem::take(&mut self.for_herald) {
            self.shared.herald_bell.ring();
        }
    }
}
