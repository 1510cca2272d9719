//! The steps of a script, and how they are read from bytes.

use std::fmt;

use evtchn_core::{DomId, Trigger};

use crate::op::Source;

/// How many channels a script can hold.
pub(super) const SLOTS: usize = 3;
/// One of each.
pub(super) const EVERY_SLOT: [u8; SLOTS] = [0, 1, 2];

/// What a script is played on: the kind of loop, and how the context ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setup {
    pub(super) trigger: Trigger,
    pub(super) heeds: Heeds,
    /// The loop forgets the readiness of a device when it is deregistered.
    pub(super) forgets: bool,
    pub(super) end: End,
}

/// What makes the loop begin a round, besides the device. Each is enough by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heeds {
    Both,
    Wakes,
    Timeouts,
}

/// How the context ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    TornDown,
    Dropped,
    /// It is dropped, and the deregistration fails.
    Refused,
}

/// What a program does: between rounds, in a round, in a callback, or in a hook that calls back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Look,
    Bind(u8, Source),
    Wait(u8),
    Cancel(u8),
    Unbind(u8),
    Drop(u8),
    /// The peer notifies, or the virtual interrupt is raised.
    Signal(u8),
    Notify(u8),
    /// Sets a callback that only records its call.
    Set(u8),
    Remove(u8),
    Dispatch(Way),
    Teardown,
    Restrict(Target),
}

/// A whole round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Values(Budget),
    /// Each channel whose wake is taken is waited on again at once.
    Again(Budget),
    Calls(Budget),
}

/// The most wakes of a round.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget(pub(super) usize);

/// The domain of a restriction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Guest,
    Other,
    /// Domain 0, which no device can be restricted to.
    Dom0,
}

/// What a callback does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Callback {
    /// It first waits again on its own channel.
    pub(super) again: bool,
    pub(super) act: Act,
    pub(super) panics: bool,
}

/// A hook that the context calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    Open,
    Register,
    Deregister,
    Wake,
}

/// What the next call of a hook does. If it fails or panics, it has done nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quirk {
    Fail,
    Panic,
    Before(Act),
    After(Act),
    /// Calls back, then fails.
    Refuse(Act),
    /// Does what it should. A later call may have a quirk.
    Nothing,
}

/// One step of a script. Slots are taken modulo the number of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Do(Act),
    Call(u8, Callback),
    Hook(Point, Quirk),
    /// The loop polls the device and begins a round, whatever it saw.
    Begin(Budget),
    Next,
    Finish,
    Leave,
    /// The loop polls the device, and acts on what it saw in a later turn.
    Poll,
    /// One turn of the loop: a round if there is reason for one.
    Turn(Way),
    /// Something else wakes the loop.
    Nudge,
    /// The driver's ring overflows.
    Overflow,
    /// The device fails at the next read.
    Break,
}

impl Budget {
    pub(super) const ALL: Budget = Budget(usize::MAX);

    const fn of(which: u8) -> Budget {
        match which % 4 {
            3 => Budget::ALL,
            few => Budget(few as usize),
        }
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Budget::ALL {
            f.write_str("Budget::ALL")
        } else {
            write!(f, "Budget({})", self.0)
        }
    }
}

impl Target {
    pub(super) const fn domid(self, guest: DomId) -> DomId {
        match self {
            Target::Guest => guest,
            Target::Other => DomId::new(77),
            Target::Dom0 => DomId::DOM0,
        }
    }

    const fn of(which: u8) -> Target {
        match which % 3 {
            0 => Target::Guest,
            1 => Target::Other,
            _ => Target::Dom0,
        }
    }
}

impl Setup {
    pub(super) const fn of(byte: u8) -> Setup {
        Setup {
            trigger: if byte.is_multiple_of(2) {
                Trigger::Level
            } else {
                Trigger::Edge
            },
            heeds: match byte / 2 % 4 {
                0 => Heeds::Wakes,
                1 => Heeds::Timeouts,
                _ => Heeds::Both,
            },
            forgets: byte / 8 % 2 == 1,
            end: match byte / 16 % 4 {
                0 => End::Dropped,
                1 => End::Refused,
                _ => End::TornDown,
            },
        }
    }
}

impl Act {
    const KINDS: u8 = 14;
    /// How many bytes it takes to mean each of them.
    #[cfg(test)]
    pub(super) const ALL: u8 = Act::KINDS * 12;

    /// The act that one byte means: its kind, its slot, and the rest.
    pub(super) fn of(byte: u8) -> Act {
        let which = byte / Act::KINDS;
        let (slot, more) = (which % 3, which / 3);
        match byte % Act::KINDS {
            0 => Act::Look,
            1 => Act::Bind(slot, Source::ALL[usize::from(more % 3)]),
            2..=3 => Act::Wait(slot),
            4 => Act::Cancel(slot),
            5 => Act::Unbind(slot),
            6 => Act::Drop(slot),
            7 => Act::Signal(slot),
            8 => Act::Notify(slot),
            9 => Act::Set(slot),
            10 => Act::Remove(slot),
            11 => Act::Dispatch(Way::of(which)),
            12 => Act::Teardown,
            _ => Act::Restrict(Target::of(which)),
        }
    }
}

impl Way {
    const fn of(which: u8) -> Way {
        let budget = Budget::of(which / 3);
        match which % 3 {
            0 => Way::Values(budget),
            1 => Way::Again(budget),
            _ => Way::Calls(budget),
        }
    }
}

impl Op {
    /// Reads a script from any bytes: one for the setup, then three a step.
    pub(super) fn decode(bytes: &[u8]) -> (Setup, Vec<Op>) {
        let (first, steps) = bytes.split_first().unwrap_or((&0, &[]));
        let steps = steps.as_chunks().0.iter().copied();
        (Setup::of(*first), steps.map(Op::of).collect())
    }

    fn of([kind, which, act]: [u8; 3]) -> Op {
        let act = Act::of(act);
        match kind % 20 {
            0..=6 => Op::Do(act),
            7..=8 => Op::Call(which % 3, Callback::of(which / 3, act)),
            9..=11 => Op::Hook(Point::of(which), Quirk::of(which / 4, act)),
            12 => Op::Begin(Budget::of(which)),
            13 => Op::Next,
            14 => match which % 4 {
                0 => Op::Leave,
                _ => Op::Finish,
            },
            15 => Op::Poll,
            16..=17 => Op::Turn(Way::of(which)),
            18 => Op::Nudge,
            _ => match which % 2 {
                0 => Op::Overflow,
                _ => Op::Break,
            },
        }
    }
}

impl Callback {
    /// A callback that only records its call.
    pub(super) const PLAIN: Callback = Callback {
        again: false,
        act: Act::Look,
        panics: false,
    };

    const fn of(which: u8, act: Act) -> Callback {
        Callback {
            again: which.is_multiple_of(2),
            act,
            panics: which / 2 % 4 == 1,
        }
    }
}

impl Point {
    /// All hooks, in the order of their queues.
    pub(super) const ALL: [Point; 4] =
        [Point::Open, Point::Register, Point::Deregister, Point::Wake];

    const fn of(which: u8) -> Point {
        Point::ALL[which as usize % Point::ALL.len()]
    }
}

impl Quirk {
    const fn of(which: u8, act: Act) -> Quirk {
        match which % 6 {
            0 => Quirk::Fail,
            1 => Quirk::Panic,
            2 => Quirk::Before(act),
            3 => Quirk::After(act),
            4 => Quirk::Refuse(act),
            _ => Quirk::Nothing,
        }
    }
}
