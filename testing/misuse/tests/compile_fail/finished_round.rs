//! A round ends once.
use evtchn::poll::Context;

fn misuse(ctx: &Context) {
    let mut round = ctx.dispatch().unwrap();
    let _ = round.finish();
    let _ = round.next();
}

fn main() {}
