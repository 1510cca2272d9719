//! The link between the device and the event loop: one table, without a wildcard arm.

use core::fmt;

/// Whether the device is open and registered with the event loop.
///
/// ```
/// # use evtchn::sim::{Sim, SimLoop};
/// # use evtchn::{Context, DomId};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
/// # let mut channel = ctx.bind_unbound_port(guest.domid())?;
/// use evtchn::Link;
///
/// assert_eq!(ctx.link(), Link::Idle);
/// channel.wait()?;
/// assert_eq!(ctx.link(), Link::Watching);
/// channel.cancel()?;
/// assert_eq!(ctx.link(), Link::Idle);
/// channel.unbind()?;
/// ctx.teardown()?;
/// assert_eq!(ctx.link(), Link::Closed);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// The device is not open.
    Closed,
    /// Open, not registered: nothing waits.
    Idle,
    /// Open and registered: something waits or is ready.
    Watching,
    /// The device failed and was closed. The next bind opens a new one.
    Faulted,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Link::Closed => "closed",
            Link::Idle => "idle",
            Link::Watching => "watching",
            Link::Faulted => "faulted",
        })
    }
}

/// What can happen to the link.
///
/// ```
/// use evtchn::Link;
/// use evtchn_core::machine::link::LinkInput;
///
/// assert_eq!(Link::Closed.plan(LinkInput::Bind).0, Link::Idle);
/// assert_eq!(Link::Idle.plan(LinkInput::Wanted).0, Link::Watching);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkInput {
    /// A bind needs the device.
    Bind,
    /// Something waits or is ready.
    Wanted,
    /// Nothing waits and nothing is ready.
    Unwanted,
    /// The device itself failed.
    Fault,
    /// A teardown, or the first bind failed.
    Close,
}

/// A step to the next state.
///
/// ```
/// use evtchn::Link;
/// use evtchn_core::machine::link::{LinkEffect, LinkInput};
///
/// let (next, effects) = Link::Watching.plan(LinkInput::Close);
/// assert_eq!(next, Link::Closed);
/// assert_eq!(effects, [LinkEffect::Deregister, LinkEffect::Close]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkEffect {
    /// Open the device and restrict it again, before anything else.
    Open,
    /// Register it with the event loop.
    Register,
    /// Deregister it from the event loop.
    Deregister,
    /// Give it up. It closes when the last holder drops it.
    Close,
}

impl LinkInput {
    /// Every input.
    pub const ALL: [LinkInput; 5] = [
        LinkInput::Bind,
        LinkInput::Wanted,
        LinkInput::Unwanted,
        LinkInput::Fault,
        LinkInput::Close,
    ];
}

impl Link {
    /// Every state.
    pub const ALL: [Link; 4] = [Link::Closed, Link::Idle, Link::Watching, Link::Faulted];

    /// The next state, and the effects that lead there, in order.
    #[must_use]
    pub const fn plan(self, input: LinkInput) -> (Link, &'static [LinkEffect]) {
        use LinkEffect as E;
        use LinkInput as I;
        match (self, input) {
            (Link::Closed, I::Bind) => (Link::Idle, &[E::Open]),
            (Link::Closed, I::Wanted | I::Unwanted | I::Fault | I::Close) => (Link::Closed, &[]),

            (Link::Idle, I::Wanted) => (Link::Watching, &[E::Register]),
            (Link::Idle, I::Fault) => (Link::Faulted, &[E::Close]),
            (Link::Idle, I::Close) => (Link::Closed, &[E::Close]),
            (Link::Idle, I::Bind | I::Unwanted) => (Link::Idle, &[]),

            (Link::Watching, I::Unwanted) => (Link::Idle, &[E::Deregister]),
            (Link::Watching, I::Fault) => (Link::Faulted, &[E::Deregister, E::Close]),
            (Link::Watching, I::Close) => (Link::Closed, &[E::Deregister, E::Close]),
            (Link::Watching, I::Bind | I::Wanted) => (Link::Watching, &[]),

            (Link::Faulted, I::Bind) => (Link::Idle, &[E::Open]),
            (Link::Faulted, I::Close) => (Link::Closed, &[]),
            (Link::Faulted, I::Wanted | I::Unwanted | I::Fault) => (Link::Faulted, &[]),
        }
    }

    /// Whether the device is open in this state.
    #[must_use]
    pub const fn is_open(self) -> bool {
        match self {
            Link::Idle | Link::Watching => true,
            Link::Closed | Link::Faulted => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Carries the effects out on two flags. Panics if one is impossible.
    fn carry_out(from: Link, effects: &[LinkEffect]) -> (bool, bool) {
        let (mut open, mut registered) = (from.is_open(), from == Link::Watching);
        for effect in effects {
            match effect {
                LinkEffect::Open => assert!(!core::mem::replace(&mut open, true)),
                LinkEffect::Register => {
                    assert!(open && !core::mem::replace(&mut registered, true));
                }
                LinkEffect::Deregister => {
                    assert!(open && core::mem::replace(&mut registered, false));
                }
                LinkEffect::Close => {
                    assert!(!registered && core::mem::replace(&mut open, false));
                }
            }
        }
        (open, registered)
    }

    #[test]
    fn every_cell_leads_where_it_says() {
        for link in Link::ALL {
            for input in LinkInput::ALL {
                let (next, effects) = link.plan(input);
                let flags = carry_out(link, effects);
                assert_eq!(
                    flags,
                    (next.is_open(), next == Link::Watching),
                    "{link:?} x {input:?}"
                );
            }
        }
    }

    #[test]
    fn an_open_link_is_registered_if_and_only_if_wanted() {
        for link in [Link::Idle, Link::Watching] {
            assert_eq!(link.plan(LinkInput::Wanted).0, Link::Watching);
            assert_eq!(link.plan(LinkInput::Unwanted).0, Link::Idle);
        }
    }

    #[test]
    fn plans_are_settled_after_one_step() {
        for link in Link::ALL {
            for input in [LinkInput::Wanted, LinkInput::Unwanted, LinkInput::Close] {
                let (next, _) = link.plan(input);
                assert_eq!(next.plan(input), (next, &[][..]), "{link:?} x {input:?}");
            }
        }
    }
}
