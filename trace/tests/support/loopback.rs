//! Channels of a domain to itself that are recorded.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use evtchn_core::{Context, Device, DomId, Registrar, RemotePort};

/// Sends through channels of a domain to itself, takes what comes, and leaves nothing.
pub(crate) fn loopback<R>(ctx: &Context<R>, peer: &Device, mut ready: impl FnMut() -> bool) -> usize
where
    R: Registrar,
{
    let bind = |_| ctx.bind_unbound_port(DomId::SELF).unwrap();
    let channels: Vec<_> = (0..8).map(bind).collect();
    let theirs = channels.iter().map(|channel| {
        let port = channel.port();
        let domid = DomId::SELF;
        peer.bind_interdomain(RemotePort { domid, port }).unwrap()
    });
    let theirs: Vec<_> = theirs.collect();
    let mut wakes = 0;
    for burst in 0..4 {
        for (place, channel) in channels.iter().enumerate() {
            if (place + burst) % 3 != 0 {
                channel.wait().unwrap();
            }
            channel.notify().unwrap();
        }
        for (place, port) in theirs.iter().enumerate() {
            for _ in 0..(place + burst) % 3 {
                peer.notify(*port).unwrap();
            }
        }
        while ctx.next_timeout().is_some() || ready() {
            let mut round = ctx.dispatch().unwrap();
            let before = wakes;
            wakes += round.by_ref().count();
            round.finish().unwrap();
            if wakes == before {
                break;
            }
        }
    }
    for mut channel in channels {
        channel.cancel().unwrap();
        channel.unbind().unwrap();
    }
    for port in theirs {
        peer.unbind(port).unwrap();
    }
    ctx.teardown().unwrap();
    wakes
}
