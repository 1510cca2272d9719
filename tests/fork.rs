//! A forked child drops what it inherited, and its parent's channels go on.

use evtchn::sim::{Sim, SimLoop};
use evtchn::{Context, DomId, EventChannel, PortBuf};

#[test]
fn parent_goes_on_after_the_child_dropped_everything() {
    let sim = Sim::new(1);
    let domid = sim.create_domain().unwrap();
    let guest = sim.guest(domid);
    let opener = sim.open(DomId::DOM0);
    let event_loop = SimLoop::level();
    let ctx = Context::with_registrar(opener.clone(), event_loop.clone());
    let channel = ctx.bind_unbound_port(domid).unwrap();
    let peer_port = guest.bind_interdomain(DomId::DOM0, channel.port()).unwrap();
    channel.wait().unwrap();
    let (port, file) = (channel.port(), opener.last().unwrap());

    opener.fork();
    let parent = opener.dup().unwrap();
    let before = event_loop.counts();
    drop(channel);
    drop(ctx);
    assert_eq!(event_loop.counts(), before);
    assert_eq!(event_loop.violations(), []);

    assert!(!parent.is_inherited());
    assert_eq!(parent.file(), file);
    guest.send(peer_port).unwrap();
    let mut fired = PortBuf::with_capacity(4);
    parent.pending(&mut fired).unwrap();
    assert_eq!(fired.words(), [port.as_raw()]);
    let before = guest.events(peer_port).unwrap();
    parent.notify(port).unwrap();
    assert_eq!(guest.events(peer_port).unwrap(), before + 1);
}

#[test]
fn child_opens_a_device_of_its_own() {
    let sim = Sim::new(1);
    let opener = sim.open(DomId::DOM0);
    let inherited = Context::with_registrar(opener.clone(), SimLoop::level());
    let _channel = inherited.bind_unbound_port(DomId::DOM0).unwrap();
    opener.fork();
    let own = Context::with_registrar(opener.clone(), SimLoop::level());
    let channel = own.bind_unbound_port(DomId::DOM0).unwrap();
    channel.notify().unwrap();
    assert_eq!(opener.opens(), 2);
}
