//! The other side of a simulated channel: the kernel of another domain, or of domain 0 itself.

use std::time::Duration;

use anyhow::Result;
use evtchn::sim::{Errno, Guest, Sim, World};
use evtchn::{DomId, Port, RemotePort};

/// What the other side does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    /// Offers a port to domain 0 and answers each notify with another; after so many it dies.
    Echo(RemotePort, Option<u32>),
    /// Offers a port to domain 0 and only counts.
    Listen(RemotePort),
    /// Binds to this port of domain 0 and notifies so often, then dies.
    Notify(DomId, Port, u32),
}

/// See the [module](self).
pub(crate) struct Peer {
    guest: Guest,
    /// Its end; none where the domain could not have the one asked for.
    port: Option<Port>,
}

impl Peer {
    /// Another domain. Where it cannot exist, or cannot offer the port, nobody is there, and the
    /// bind of the command says so as it would on a real machine.
    ///
    /// # Errors
    /// It cannot bind to the command's port.
    pub(crate) fn new(sim: &Sim, role: Role) -> Result<Peer> {
        let (Role::Echo(RemotePort { domid, .. }, _)
        | Role::Listen(RemotePort { domid, .. })
        | Role::Notify(domid, ..)) = role;
        // Domain 0 is there already; ids that no domain can have stay without one.
        let _exists = sim.create_domain_with_id(domid);
        let guest = sim.guest(domid);
        let port = match role {
            Role::Echo(RemotePort { port, .. }, lives) => {
                let offered = offer(&guest, port);
                if let Some(port) = offered {
                    sim.with(|world| echo(world, domid, port, 0, lives));
                }
                offered
            }
            Role::Listen(RemotePort { port, .. }) => offer(&guest, port),
            Role::Notify(_, remote, times) => {
                let port = guest.bind_interdomain(DomId::DOM0, remote)?;
                sim.with(|world| send(world, domid, port, times));
                Some(port)
            }
        };
        Ok(Peer { guest, port })
    }

    /// The kernel of domain 0 itself, which answers.
    ///
    /// # Errors
    /// Those of the simulator.
    pub(crate) fn at_home(sim: &Sim) -> Result<(Peer, RemotePort)> {
        let guest = sim.guest(DomId::DOM0);
        let port = guest.alloc_unbound(DomId::SELF)?;
        sim.with(|world| echo(world, DomId::DOM0, port, 0, None));
        let remote = RemotePort {
            domid: DomId::SELF,
            port,
        };
        let port = Some(port);
        Ok((Peer { guest, port }, remote))
    }

    /// How many events it has handled, while it lives.
    pub(crate) fn heard(&self) -> Option<u32> {
        self.guest.events(self.port?).ok()
    }

    /// Closes its end, where it has not died.
    ///
    /// # Errors
    /// Those of the simulator.
    pub(crate) fn end(&self) -> Result<()> {
        match self.port.map(|port| self.guest.close(port)) {
            Some(Err(Errno::ESRCH | Errno::ENOTCONN)) | None => Ok(()),
            Some(closed) => Ok(closed?),
        }
    }
}

/// Allocates ports until it has this one, which the lowest free numbers may lead to or not.
fn offer(guest: &Guest, port: Port) -> Option<Port> {
    loop {
        let got = guest.alloc_unbound(DomId::DOM0).ok()?;
        if got >= port {
            return (got == port).then_some(got);
        }
    }
}

/// A time between two, in microseconds.
fn between(world: &mut World, least: usize, most: usize) -> Duration {
    let more = world.choice().of(most - least + 1);
    Duration::from_micros(u64::try_from(least + more).unwrap_or(u64::MAX))
}

/// Looks now and then, and answers what came since, until it dies.
fn echo(world: &mut World, domid: DomId, port: Port, seen: u32, lives: Option<u32>) {
    let pause = between(world, 5, 40);
    world.after(pause, move |world| {
        let Ok(events) = world.kernel_events(domid, port.as_raw()) else {
            return;
        };
        if lives.is_some_and(|lives| events > lives) {
            die(world, domid, port);
            return;
        }
        if events > seen {
            // Where nobody is bound to it any more, nobody hears it.
            let _unheard = world.kernel_send(domid, port.as_raw());
        }
        echo(world, domid, port, events, lives);
    });
}

/// Notifies so often, and dies.
fn send(world: &mut World, domid: DomId, port: Port, times: u32) {
    let pause = between(world, 500, 20_000);
    world.after(pause, move |world| {
        if times == 0 {
            die(world, domid, port);
        } else if world.kernel_send(domid, port.as_raw()).is_ok() {
            send(world, domid, port, times - 1);
        }
    });
}

/// The end of a domain; of domain 0, only of its port.
fn die(world: &mut World, domid: DomId, port: Port) {
    // It may have died before.
    let _dead = if domid == DomId::DOM0 {
        world.kernel_close(domid, port.as_raw())
    } else {
        world.destroy_domain(domid)
    };
}
