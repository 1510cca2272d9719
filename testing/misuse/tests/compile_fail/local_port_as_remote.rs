//! A local port is not a port of another domain.
use evtchn::{Channel, Context};
use evtchn::sim::SimLoop;

fn misuse(ctx: &Context<SimLoop>, channel: &Channel<SimLoop>) {
    let _ = ctx.bind_interdomain(channel.port());
}

fn main() {}
