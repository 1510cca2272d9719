//! A number must be converted to an id, because not every number is a valid one.
use evtchn::poll::Context;

fn misuse(ctx: &Context) {
    let _ = ctx.bind_unbound_port(5);
    let _ = ctx.bind_static(17);
    let _ = ctx.bind_virq(3);
    let _ = ctx.bind_interdomain((5, 17));
}

fn main() {}
