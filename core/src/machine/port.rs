//! One port, as user space knows it: its states, and the table of all transitions.

use core::fmt;

/// Why a wake came. A wake always means "look", never "there is data".
///
/// ```
/// # use evtchn::sim::{Sim, SimLoop};
/// # use evtchn::{Context, DomId};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sim = Sim::new(1);
/// # let guest = sim.guest(sim.create_domain()?);
/// # let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
/// # let channel = ctx.bind_unbound_port(guest.domid())?;
/// # let theirs = guest.bind_interdomain(DomId::DOM0, channel.port())?;
/// use evtchn::Cause;
///
/// channel.wait()?;
/// guest.send(theirs)?;
/// for wake in &mut ctx.dispatch()? {
///     match wake.cause {
///         Cause::PeerConnected => println!("a new peer"),
///         Cause::PeerGone => println!("wait for the next peer"),
///         Cause::Gone | Cause::Resumed => println!("bind again"),
///         // Every other cause means "look".
///         _ => channel.notify()?,
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The driver reported the port.
    Event,
    /// The driver's ring overflowed. An event of this port may have been lost.
    Overflow,
    /// A [check](crate::Context::check_peers) found that the peer closed its end or died, or that
    /// another peer has taken its place. The port is still bound, and the domain with the peer's id
    /// may bind to it again. Xen gives the id of a dead domain to a new one, so that may be another
    /// domain.
    PeerGone,
    /// A [check](crate::Context::check_peers) found a peer that this context did not know. The
    /// first events of the peer may have come before.
    PeerConnected,
    /// The port was adopted from another process, which may have read an event of it already.
    Adopted,
    /// The channel is no longer bound: the device failed, its port number was bound again without
    /// an unbind, or a [check](crate::Context::check_peers) found that Xen has closed the port.
    /// Nothing more comes from this channel; bind again.
    Gone,
    /// The channel is no longer bound, because this domain was saved and restored, or migrated, after
    /// the bind. Its peer knows it no longer. Bind again: the next bind opens a new device.
    Resumed,
}

impl Cause {
    /// Whether nothing more comes from this peer, because the peer or the channel is gone. After
    /// [`PeerGone`](Self::PeerGone) the channel may wait for another peer.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Cause::PeerGone | Cause::Gone | Cause::Resumed)
    }

    /// Whether the channel is no longer bound, so that nothing more comes from it.
    #[must_use]
    pub const fn is_unbound(self) -> bool {
        matches!(self, Cause::Gone | Cause::Resumed)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Cause::Event => "event",
            Cause::Overflow => "overflow of the ring",
            Cause::PeerGone => "the peer is gone",
            Cause::PeerConnected => "a peer has connected",
            Cause::Adopted => "adopted from another process",
            Cause::Gone => "the channel is gone",
            Cause::Resumed => "the domain was restored",
        })
    }
}

/// What user space knows of a bound port.
///
/// `Live` and `Waiting` are enabled in the driver, as far as user space knows. In every other state
/// the port has to be unmasked before it fires again, because its event was read or may have been
/// lost.
///
/// ```
/// use evtchn::Cause;
/// use evtchn_core::machine::port::{PortEffect, PortInput, PortState};
///
/// // An event that comes while nothing waits is kept.
/// let (latched, effect) = PortState::Live.step(PortInput::Event);
/// assert_eq!((latched, effect), (PortState::Latched(Cause::Event), PortEffect::Latch));
/// // The next wait of a task or of a blocked thread takes it at once.
/// let (delivered, effect) = latched.step(PortInput::Wait);
/// assert_eq!((delivered, effect), (PortState::Delivered, PortEffect::ReadyNow(Cause::Event)));
/// // The next wait of rounds queues it for the next round.
/// let (ready, effect) = latched.step(PortInput::Queue);
/// assert_eq!((ready, effect), (PortState::Ready(Cause::Event), PortEffect::Fire));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortState {
    /// Enabled, without a wait.
    Live,
    /// Enabled, waited on.
    Waiting,
    /// Masked, because its event was handed out; without a wait.
    Delivered,
    /// Masked for another reason; without a wait.
    Masked,
    /// Waited on; still to be unmasked.
    Unmasking,
    /// Masked, because its event was read while there was no wait. The next wait gets this wake.
    Latched(Cause),
    /// Masked, its wake is queued.
    Ready(Cause),
}

/// What can happen to a bound port.
///
/// ```
/// use evtchn_core::machine::port::{PortInput, PortState};
///
/// assert_eq!(PortState::Live.step(PortInput::Wait).0, PortState::Waiting);
/// assert_eq!(PortState::Waiting.step(PortInput::Cancel).0, PortState::Live);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortInput {
    /// Its owner waits. If a wake is latched, a task or a blocked thread takes it by this. `wait`
    /// and `wait_each` give [`Queue`](Self::Queue) first.
    Wait,
    /// The driver reported it.
    Event,
    /// The driver's ring overflowed.
    Overflow,
    /// Its peer was found gone.
    PeerGone,
    /// It was found connected to a peer that was not known.
    PeerConnected,
    /// Its owner no longer waits.
    Cancel,
    /// It was unmasked.
    Unmasked,
    /// Its wake is handed to the waiter.
    Deliver,
    /// `wait` or `wait_each` was called: a latched wake is queued for a round. If none is latched,
    /// this does nothing, and [`Wait`](Self::Wait) comes next.
    Queue,
    /// The round does not hand its wake out, so it is kept.
    Keep,
}

/// What an input causes, beside the new state.
///
/// ```
/// use evtchn_core::machine::port::{PortEffect, PortInput, PortState};
///
/// // Only a port that is masked is unmasked.
/// assert_eq!(PortState::Masked.step(PortInput::Wait).1, PortEffect::Unmask);
/// assert_eq!(PortState::Live.step(PortInput::Wait).1, PortEffect::Nothing);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortEffect {
    /// Nothing.
    Nothing,
    /// The wait of a task or of a blocked thread has its wake at once.
    ReadyNow(Cause),
    /// Unmask the port.
    Unmask,
    /// Keep the wake for a later wait.
    Latch,
    /// Queue the wake for the waiter.
    Fire,
    /// Hand the wake over.
    Deliver(Cause),
    /// The port was masked, so this event was not expected; count it.
    Spurious,
}

impl PortInput {
    /// Every input.
    pub const ALL: [PortInput; 10] = [
        PortInput::Wait,
        PortInput::Event,
        PortInput::Overflow,
        PortInput::PeerGone,
        PortInput::PeerConnected,
        PortInput::Cancel,
        PortInput::Unmasked,
        PortInput::Deliver,
        PortInput::Queue,
        PortInput::Keep,
    ];
}

impl PortState {
    /// Every state.
    pub const ALL: [PortState; 19] = [
        PortState::Live,
        PortState::Waiting,
        PortState::Delivered,
        PortState::Masked,
        PortState::Unmasking,
        PortState::Latched(Cause::Event),
        PortState::Latched(Cause::Overflow),
        PortState::Latched(Cause::PeerGone),
        PortState::Latched(Cause::PeerConnected),
        PortState::Latched(Cause::Adopted),
        PortState::Latched(Cause::Gone),
        PortState::Latched(Cause::Resumed),
        PortState::Ready(Cause::Event),
        PortState::Ready(Cause::Overflow),
        PortState::Ready(Cause::PeerGone),
        PortState::Ready(Cause::PeerConnected),
        PortState::Ready(Cause::Adopted),
        PortState::Ready(Cause::Gone),
        PortState::Ready(Cause::Resumed),
    ];

    /// Whether the port is waited for, or has a queued wake.
    #[must_use]
    #[inline]
    pub const fn is_waited(self) -> bool {
        match self {
            PortState::Waiting | PortState::Unmasking | PortState::Ready(_) => true,
            PortState::Live | PortState::Delivered | PortState::Masked | PortState::Latched(_) => {
                false
            }
        }
    }

    /// Whether an event of the port was read after which no wait has begun.
    #[must_use]
    pub const fn has_read_event(self) -> bool {
        match self {
            PortState::Delivered
            | PortState::Latched(Cause::Event)
            | PortState::Ready(Cause::Event) => true,
            PortState::Live
            | PortState::Waiting
            | PortState::Masked
            | PortState::Unmasking
            | PortState::Latched(_)
            | PortState::Ready(_) => false,
        }
    }

    /// The next state and what to do: every state against every input.
    #[must_use]
    #[inline]
    pub const fn step(self, input: PortInput) -> (PortState, PortEffect) {
        use PortEffect as E;
        use PortInput as I;
        use PortState as S;
        match (self, input) {
            (S::Live, I::Wait) => (S::Waiting, E::Nothing),
            (S::Live, I::Event) => (S::Latched(Cause::Event), E::Latch),
            (S::Live, I::Overflow) => (S::Latched(Cause::Overflow), E::Latch),
            (S::Live, I::PeerGone) => (S::Latched(Cause::PeerGone), E::Latch),
            (S::Live, I::PeerConnected) => (S::Latched(Cause::PeerConnected), E::Latch),
            (S::Live, I::Cancel | I::Unmasked | I::Deliver | I::Queue | I::Keep) => {
                (self, E::Nothing)
            }

            (S::Waiting, I::Event) => (S::Ready(Cause::Event), E::Fire),
            (S::Waiting, I::Overflow) => (S::Ready(Cause::Overflow), E::Fire),
            (S::Waiting, I::PeerGone) => (S::Ready(Cause::PeerGone), E::Fire),
            (S::Waiting, I::PeerConnected) => (S::Ready(Cause::PeerConnected), E::Fire),
            (S::Waiting, I::Cancel) => (S::Live, E::Nothing),
            (S::Waiting, I::Wait | I::Unmasked | I::Deliver | I::Queue | I::Keep) => {
                (self, E::Nothing)
            }

            (S::Delivered, I::Wait) => (S::Unmasking, E::Unmask),
            (S::Delivered, I::Event) => (S::Latched(Cause::Event), E::Spurious),
            (S::Delivered, I::Overflow) => (S::Latched(Cause::Overflow), E::Latch),
            (S::Delivered, I::PeerGone) => (S::Latched(Cause::PeerGone), E::Latch),
            (S::Delivered, I::PeerConnected) => (S::Latched(Cause::PeerConnected), E::Latch),
            (S::Delivered, I::Cancel | I::Unmasked | I::Deliver | I::Queue | I::Keep) => {
                (self, E::Nothing)
            }

            (S::Masked, I::Wait) => (S::Unmasking, E::Unmask),
            (S::Masked, I::Event) => (S::Latched(Cause::Event), E::Spurious),
            // Masked after an earlier overflow, it may be enabled all the same, and have lost an
            // event.
            (S::Masked, I::Overflow) => (S::Latched(Cause::Overflow), E::Latch),
            (S::Masked, I::PeerGone) => (S::Latched(Cause::PeerGone), E::Latch),
            (S::Masked, I::PeerConnected) => (S::Latched(Cause::PeerConnected), E::Latch),
            (S::Masked, I::Cancel | I::Unmasked | I::Deliver | I::Queue | I::Keep) => {
                (self, E::Nothing)
            }

            (S::Unmasking, I::Event) => (S::Ready(Cause::Event), E::Fire),
            (S::Unmasking, I::Overflow) => (S::Ready(Cause::Overflow), E::Fire),
            (S::Unmasking, I::PeerGone) => (S::Ready(Cause::PeerGone), E::Fire),
            (S::Unmasking, I::PeerConnected) => (S::Ready(Cause::PeerConnected), E::Fire),
            (S::Unmasking, I::Cancel) => (S::Masked, E::Nothing),
            (S::Unmasking, I::Unmasked) => (S::Waiting, E::Nothing),
            (S::Unmasking, I::Wait | I::Deliver | I::Queue | I::Keep) => (self, E::Nothing),

            (S::Latched(cause), I::Wait) => (S::after(cause), E::ReadyNow(cause)),
            (S::Latched(cause), I::Queue) => (S::Ready(cause), E::Fire),
            (S::Latched(_), I::Event) => (self, E::Spurious),
            (
                S::Latched(_),
                I::Overflow
                | I::PeerGone
                | I::PeerConnected
                | I::Cancel
                | I::Unmasked
                | I::Deliver
                | I::Keep,
            ) => (self, E::Nothing),

            (S::Ready(cause), I::Deliver) => (S::after(cause), E::Deliver(cause)),
            (S::Ready(cause), I::Cancel) => (S::Latched(cause), E::Nothing),
            (S::Ready(cause), I::Keep) => (S::Latched(cause), E::Latch),
            (S::Ready(_), I::Event) => (self, E::Spurious),
            (
                S::Ready(_),
                I::Wait | I::Overflow | I::PeerGone | I::PeerConnected | I::Unmasked | I::Queue,
            ) => (self, E::Nothing),
        }
    }

    /// The state after a wake was handed over.
    const fn after(cause: Cause) -> PortState {
        match cause {
            Cause::Event => PortState::Delivered,
            Cause::Overflow
            | Cause::PeerGone
            | Cause::PeerConnected
            | Cause::Adopted
            | Cause::Gone
            | Cause::Resumed => PortState::Masked,
        }
    }
}

#[cfg(test)]
mod tests;
