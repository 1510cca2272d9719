//! A channel that was handed over cannot be used any more.
use evtchn::poll::{Channel, Context};

fn misuse(ctx: &Context, channel: Channel) {
    let _ = ctx.hand_over(&mut [channel]);
    let _ = channel.notify();
}

fn main() {}
