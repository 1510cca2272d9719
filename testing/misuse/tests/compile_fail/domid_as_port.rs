//! A domain id is not a port.
use evtchn::{Context, DomId};
use evtchn::sim::SimLoop;

fn misuse(ctx: &Context<SimLoop>) {
    let _ = ctx.bind_static(DomId::DOM0);
}

fn main() {}
