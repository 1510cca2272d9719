//! A local port says nothing about a port of another domain.
use evtchn_core::{Channel, Context};
use evtchn_sim::{SimLoop, SimOpen};

fn misuse(ctx: &Context<SimOpen, SimLoop>, channel: &Channel<SimOpen, SimLoop>) {
    let _ = ctx.bind_interdomain(channel.port());
}

fn main() {}
