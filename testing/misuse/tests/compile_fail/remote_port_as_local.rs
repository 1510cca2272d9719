//! A port of another domain is not a local port, and a domain id is not a port.
use evtchn::poll::Context;
use evtchn::{DomId, Port, RemotePort};

fn misuse(ctx: &Context, remote: RemotePort) {
    let _ = ctx.bind_static(remote);
    let _ = ctx.bind_unbound_port(remote);
    let _ = RemotePort::from((Port::MAX, DomId::DOM0));
}

fn main() {}
