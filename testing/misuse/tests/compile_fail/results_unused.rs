//! Results must be looked at, and futures polled.
#![deny(unused_must_use)]
use evtchn::poll::{Channel, Context};

fn of_channel(channel: &mut Channel) {
    channel.wait();
    channel.cancel();
    channel.notify();
    channel.unbind();
    channel.woken();
    channel.notifier();
}

fn of_context(ctx: &Context) {
    ctx.dispatch();
    ctx.dispatch().unwrap();
    ctx.wakes();
    ctx.handlers();
    ctx.teardown();
}

fn main() {}
