//! A channel belongs to one event loop, and has the type of that loop.
use evtchn::{hooks, poll};

struct Console {
    line: poll::Channel,
}

fn misuse(ctx: &hooks::Context) -> Option<Console> {
    let line = ctx.bind_virq(evtchn::Virq::CON_RING).ok()?;
    Some(Console { line })
}

fn main() {}
