//! The peer of a simulated channel: the kernel of another domain, or of domain 0 itself.

use std::time::Duration;

use anyhow::Result;
use evtchn::sim::{Errno, Guest, Sim, World};
use evtchn::{DomId, Port, RemotePort};

/// What the peer does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    /// Offers a port to domain 0, answers each notify with another, and dies after this many.
    Echo(RemotePort, Option<u32>),
    /// Offers a port to domain 0 and counts notifies.
    Listen(RemotePort),
    /// Binds to this port of domain 0, notifies it this many times, then dies.
    Notify(DomId, Port, u32),
}

/// See the [module](self).
pub(crate) struct Peer {
    guest: Guest,
    /// Its port; none if the domain could not get the requested one.
    port: Option<Port>,
}

impl Peer {
    /// A peer in another domain. If the domain cannot exist or cannot offer the port, there is no peer,
    /// and the bind of the command fails as on a real machine.
    ///
    /// # Errors
    /// If it cannot bind to the port of the command.
    pub(crate) fn new(sim: &Sim, role: Role) -> Result<Peer> {
        let (Role::Echo(RemotePort { domid, .. }, _)
        | Role::Listen(RemotePort { domid, .. })
        | Role::Notify(domid, ..)) = role;
        // Domain 0 exists already, and for an invalid id no domain is created.
        let _exists = sim.create_domain_with_id(domid);
        let guest = sim.guest(domid);
        let port = match role {
            Role::Echo(RemotePort { port, .. }, dies_after) => {
                let offered = offer(&guest, port);
                if let Some(port) = offered {
                    sim.with(|world| echo(world, domid, port, 0, dies_after));
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

    /// A peer in domain 0 itself, which answers.
    ///
    /// # Errors
    /// Those of the simulator.
    pub(crate) fn in_dom0(sim: &Sim) -> Result<(Peer, RemotePort)> {
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

    /// The number of events that it has handled, while it lives.
    pub(crate) fn handled_events(&self) -> Option<u32> {
        self.guest.events(self.port?).ok()
    }

    /// Closes its port, if it lives.
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

/// Allocates ports, which get the lowest free numbers, until this one is allocated or passed.
fn offer(guest: &Guest, port: Port) -> Option<Port> {
    loop {
        let got = guest.alloc_unbound(DomId::DOM0).ok()?;
        if got >= port {
            return (got == port).then_some(got);
        }
    }
}

/// A random time between two bounds in microseconds.
fn between(world: &mut World, least: usize, most: usize) -> Duration {
    let more = world.choice().of(most - least + 1);
    Duration::from_micros(u64::try_from(least + more).unwrap_or(u64::MAX))
}

/// Answers new events from time to time, until it dies.
fn echo(world: &mut World, domid: DomId, port: Port, seen: u32, dies_after: Option<u32>) {
    let delay = between(world, 5, 40);
    world.after(delay, move |world| {
        let Ok(events) = world.kernel_events(domid, port.as_raw()) else {
            return;
        };
        if dies_after.is_some_and(|most| events > most) {
            die(world, domid, port);
            return;
        }
        if events > seen {
            // It fails if no peer is bound any more.
            let _ignored = world.kernel_send(domid, port.as_raw());
        }
        echo(world, domid, port, events, dies_after);
    });
}

/// Notifies this many times, then dies.
fn send(world: &mut World, domid: DomId, port: Port, times: u32) {
    let delay = between(world, 500, 20_000);
    world.after(delay, move |world| {
        if times == 0 {
            die(world, domid, port);
        } else if world.kernel_send(domid, port.as_raw()).is_ok() {
            send(world, domid, port, times - 1);
        }
    });
}

/// Destroys a domain; for domain 0, closes only its port.
fn die(world: &mut World, domid: DomId, port: Port) {
    // An error says that it is dead already.
    let _dead = if domid == DomId::DOM0 {
        world.kernel_close(domid, port.as_raw())
    } else {
        world.destroy_domain(domid)
    };
}
