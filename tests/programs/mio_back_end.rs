//! A back end in a mio loop, stored in a struct, with its unit tests.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use evtchn::mio::{Channel, Context, MioRegistrar};
use evtchn::sim::{Call, Errno, Fault, Sim};
use evtchn::xen::XenOpen;
use evtchn::{Backend, ChannelId, DomId, Link, Port};
use mio::{Events, Poll, Token, Waker};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The memory shared with one guest: here only a count of the looks at it.
struct Ring {
    channel: Channel,
    served: u32,
}

impl Ring {
    fn serve(&mut self) -> Result<()> {
        self.served += 1;
        self.channel.notify()?;
        Ok(())
    }
}

/// The same type on a host and in the tests.
struct BackEnd {
    ctx: Context,
    poll: Poll,
    events: Events,
    rings: HashMap<ChannelId, Ring>,
}

impl BackEnd {
    fn new(backend: impl Into<Backend>) -> Result<BackEnd> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), Token(0))?);
        let event_loop = MioRegistrar::new(poll.registry(), Token(1), waker)?;
        Ok(BackEnd {
            ctx: Context::with_registrar(backend, event_loop),
            poll,
            events: Events::with_capacity(16),
            rings: HashMap::new(),
        })
    }

    /// A port for a guest to connect to.
    fn offer(&mut self, domid: DomId) -> Result<Port> {
        let channel = self.ctx.bind_unbound_port(domid)?;
        channel.wait()?;
        let port = channel.port();
        let ring = Ring { channel, served: 0 };
        self.rings.insert(ring.channel.id(), ring);
        Ok(port)
    }

    /// One turn of the loop.
    fn turn(&mut self) -> Result<()> {
        match self.poll.poll(&mut self.events, self.ctx.next_timeout()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for wake in self.ctx.dispatch()? {
            if wake.cause.is_end() {
                self.rings.remove(&wake.channel);
            } else if let Some(ring) = self.rings.get_mut(&wake.channel) {
                self.ctx.wait(wake.channel)?; // unmasked at the end of the round, in one write
                ring.serve()?;
            }
        } // an error of the end comes with the next dispatch
        Ok(())
    }

    fn served(&self) -> u32 {
        self.rings.values().map(|ring| ring.served).sum()
    }
}

#[test]
fn a_failed_unmask_is_returned_and_a_dead_guest_loses_its_ring() -> Result<()> {
    let sim = Sim::new(7);
    let mut back_end = BackEnd::new(sim.backend(DomId::DOM0))?;
    let guest = sim.guest(sim.create_domain()?);
    let port = back_end.offer(guest.domid())?;
    let peer_port = guest.bind_interdomain(DomId::DOM0, port)?;

    sim.install(Fault::fail(Call::Unmask, Errno::EIO).nth(1));
    guest.send(peer_port)?;
    back_end.turn()?;
    let error = back_end.turn().unwrap_err();
    assert_eq!(Errno::of(&*error), Some(Errno::EIO), "{error}");
    assert_eq!(back_end.served(), 1);

    // The next round unmasks it.
    back_end.turn()?;
    assert_eq!(back_end.ctx.next_timeout(), None);
    guest.send(peer_port)?;
    back_end.turn()?;
    assert_eq!(back_end.served(), 2);

    sim.destroy_domain(guest.domid())?;
    assert_eq!(back_end.ctx.check_peers()?, 1);
    back_end.turn()?;
    assert!(back_end.rings.is_empty());
    assert_eq!(back_end.ctx.link(), Link::Idle);
    Ok(())
}

#[test]
fn guests_that_send_together_are_served_with_one_read_and_one_write() -> Result<()> {
    let sim = Sim::new(7);
    let mut back_end = BackEnd::new(sim.backend(DomId::DOM0))?;
    for _ in 0..10 {
        let guest = sim.guest(sim.create_domain()?);
        let port = back_end.offer(guest.domid())?;
        guest.send(guest.bind_interdomain(DomId::DOM0, port)?)?;
    }
    let before = back_end.ctx.stats();
    back_end.turn()?;
    assert_eq!(back_end.served(), 10);
    let stats = back_end.ctx.stats();
    assert_eq!(stats.writes - before.writes, 1);
    assert_eq!(stats.registers, 1);
    Ok(())
}

#[test]
fn the_same_struct_is_made_for_a_real_device() -> Result<()> {
    let mut back_end = BackEnd::new(XenOpen::at("/nowhere/evtchn"))?;
    let error = back_end.offer(DomId::new(1)).unwrap_err();
    assert!(error.to_string().starts_with("cannot open"), "{error}");
    Ok(())
}
