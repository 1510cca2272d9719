//! A channel is of one event loop, and so is what takes it.
use evtchn::{hooks, poll};

struct Console {
    line: poll::Channel,
}

fn misuse(ctx: &hooks::Context) -> Option<Console> {
    let line = ctx.bind_virq(evtchn::Virq::CON_RING).ok()?;
    Some(Console { line })
}

fn main() {}
