//! A port number is used again after an unbind, so it does not identify a channel; nor does a wake.
use evtchn::{Context, Wake};
use evtchn::sim::SimLoop;

fn misuse(ctx: &Context<SimLoop>, wake: Wake) {
    let _ = ctx.wait(wake);
    let _ = ctx.wait(wake.port());
    let _ = ctx.cancel(wake.port());
}

fn main() {}
