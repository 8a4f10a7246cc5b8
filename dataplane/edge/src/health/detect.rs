//! What probes of the gateway are told: the state of one service, as its checks and its calls under way have it.

use std::sync::Arc;

use dmsc_pod::detect::of_calls;
use dmsc_wire::{Name, ProbeHealth, ProbeState};

use crate::pod::{Context, MAX_CALLED, Phase};

/// Has probes answered from now on, for as long as the pod lives.
pub fn answer(context: &Arc<Context>) {
    // The pod's library holds this, and the context holds the library.
    let weak = Arc::downgrade(context);
    let gone = ProbeState {
        health: ProbeHealth::Draining,
        load_permille: 0,
    };
    context.endpoint.pod().detect(move |name| {
        let context = weak.upgrade();
        context.map_or(gone, |context| state(&context, name))
    });
}

/// A program that fails its checks gets no calls; neither does a pod that is about to end.
fn state(context: &Context, name: Name<'_>) -> ProbeState {
    let Some(served) = context.serving(&name.to_owned()) else {
        return ProbeState::default();
    };
    let under_way = usize::try_from(served.stats.in_flight()).unwrap_or(usize::MAX);
    let mut state = of_calls(under_way, MAX_CALLED);
    // The room is for all services of the pod together.
    if context.called.available_permits() == 0 {
        state.health = ProbeHealth::Overloaded;
    }
    if !served.is_healthy() || *context.phase.borrow() > Phase::Running {
        state.health = ProbeHealth::Draining;
    }
    state
}
