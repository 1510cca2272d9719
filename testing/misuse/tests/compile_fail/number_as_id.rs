//! A number becomes an id where that is written, because not every number is one.
use evtchn::poll::Context;

fn misuse(ctx: &Context) {
    let _ = ctx.bind_unbound_port(5);
    let _ = ctx.bind_static(17);
    let _ = ctx.bind_virq(3);
    let _ = ctx.bind_interdomain((5, 17));
}

fn main() {}
