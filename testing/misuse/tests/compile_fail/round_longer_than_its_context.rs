//! A round does not outlive its context.
use evtchn::Round;
use evtchn::poll::{Context, PollLoop};

fn misuse<'a>(ctx: Context) -> Round<'a, PollLoop> {
    ctx.dispatch().unwrap()
}

fn main() {}
