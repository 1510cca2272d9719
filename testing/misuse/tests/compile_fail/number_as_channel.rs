//! A port number is given again, so it does not say which binding is meant; nor is a wake an id.
use evtchn::{Context, Wake};
use evtchn::sim::SimLoop;

fn misuse(ctx: &Context<SimLoop>, wake: Wake) {
    let _ = ctx.wait(wake);
    let _ = ctx.wait(wake.port());
    let _ = ctx.cancel(wake.port());
}

fn main() {}
