//! A channel that was given away is the next owner's.
use evtchn::poll::{Channel, Context};

fn misuse(ctx: &Context, channel: Channel) {
    let _ = ctx.hand_over(&mut [channel]);
    let _ = channel.notify();
}

fn main() {}
