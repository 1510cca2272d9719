//! A domain id is no port.
use evtchn_core::{Context, DomId};
use evtchn_sim::SimLoop;

fn misuse(ctx: &Context<SimLoop>) {
    let _ = ctx.bind_static(DomId::DOM0);
}

fn main() {}
