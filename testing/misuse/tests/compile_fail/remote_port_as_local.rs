//! A port of another domain is none of ours, and a domain does not stand in for its port.
use evtchn::poll::Context;
use evtchn::{DomId, Port, RemotePort};

fn misuse(ctx: &Context, remote: RemotePort) {
    let _ = ctx.bind_static(remote);
    let _ = ctx.bind_unbound_port(remote);
    let _ = RemotePort::from((Port::MAX, DomId::DOM0));
}

fn main() {}
