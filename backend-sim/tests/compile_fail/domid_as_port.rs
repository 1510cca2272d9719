//! A domain id is no port.
use evtchn_core::{Context, DomId};
use evtchn_sim::{SimLoop, SimOpen};

fn misuse(ctx: &Context<SimOpen, SimLoop>) {
    let _ = ctx.bind_static(DomId::DOM0);
}

fn main() {}
