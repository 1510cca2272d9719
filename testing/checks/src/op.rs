//! The steps of a script.

use evtchn_core::Trigger;
use evtchn_sim::Call;

/// How a slot gets its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A port that the guest then binds to.
    Unbound,
    /// A bind to a port that the guest allocated.
    Interdomain,
    /// A virtual interrupt, a different one for each slot. There are few; slots beyond them get a port
    /// as with [`Unbound`](Source::Unbound).
    Virq,
}

/// A backend call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failing {
    /// `open`
    Opening,
    /// All binds.
    Binding,
    /// `unbind`
    Unbinding,
    /// `unmask`
    Unmasking,
    /// `unmask` takes only the first port.
    ShortUnmask,
    /// `pending`, interrupted by a signal.
    Interrupted,
    /// `pending`, which ends the device.
    Reading,
    /// `register`
    Registering,
    /// `deregister`
    Deregistering,
    /// `reset`, which ends the device as a failed read does.
    Resetting,
    /// `notify`
    Notifying,
    /// `sleep`
    Sleeping,
}

/// What can be done for one slot or for many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Each {
    /// [`Op::Bind`]
    Binds(Source),
    /// [`Op::Unbind`]
    Unbinds,
    /// [`Op::Drop`]
    Drops,
    /// [`Op::Wait`]
    Waits,
    /// [`Op::Cancel`]
    Cancels,
    /// [`Op::Signal`]
    Signals,
    /// [`Op::Notify`]
    Notifies,
}

/// One step of a script. Slots are taken modulo the number of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Binds a channel into an empty slot.
    Bind(u16, Source),
    /// Unbinds by the call that returns errors.
    Unbind(u16),
    /// Unbinds by dropping the channel.
    Drop(u16),
    /// Waits, also with the id of a channel that was dropped.
    Wait(u16),
    /// Waits for each wake, also with the id of a channel that was dropped.
    WaitEach(u16),
    /// Cancels, also with the id of a channel that was dropped.
    Cancel(u16),
    /// Blocks for its wake, with a deadline.
    Block(u16),
    /// A task waits for its wake while a reactor reads once, and is dropped; also with the id of a channel
    /// that was dropped.
    Await(u16),
    /// The peer notifies, or the virtual interrupt is raised.
    Signal(u16),
    /// The program notifies its peer.
    Notify(u16),
    /// One step for many slots: the first slot, and how many from there on.
    Many(Each, u16, u16),
    /// The peer notifies this many times in a row.
    Storm(u16, u16),
    /// Begins a round with a budget.
    Begin(u16),
    /// Takes one wake of the round.
    Next,
    /// Takes this many wakes of the round.
    NextMany(u16),
    /// Ends the round and checks its result.
    Finish,
    /// Ends the round by dropping it.
    Leave,
    /// One turn of an event loop: a whole round, if there is a reason for one.
    Turn,
    /// A turn in which each channel that wakes is waited on again.
    Serve,
    /// Sets a callback, or removes the one that is set.
    Callback(u16),
    /// A turn in which callbacks are called. Other wakes are kept for the next wait.
    Calls,
    /// The context hands over, and another one adopts the same ports.
    HandOver,
    /// The loop reports readiness without a reason.
    Spurious,
    /// The driver's ring overflows.
    Overflow,
    /// The next such call fails.
    Fail(Failing),
    /// The nth such call from now on fails.
    FailNth(Failing, u16),
    /// The next `unmask` takes only this many ports.
    Short(u16),
    /// Tears the context down, if nothing is left.
    Teardown,
}

impl Source {
    /// Every kind.
    pub const ALL: [Source; 3] = [Source::Unbound, Source::Interdomain, Source::Virq];
}

impl Failing {
    /// Every kind.
    pub const ALL: [Failing; 12] = [
        Failing::Opening,
        Failing::Binding,
        Failing::Unbinding,
        Failing::Unmasking,
        Failing::ShortUnmask,
        Failing::Interrupted,
        Failing::Reading,
        Failing::Registering,
        Failing::Deregistering,
        Failing::Resetting,
        Failing::Notifying,
        Failing::Sleeping,
    ];

    /// How many of them, from the first on, can be decoded from bytes. With more, old bytes would mean
    /// something else.
    const DECODED: usize = 9;

    /// The ways in which a call can fail.
    pub fn of(call: Call) -> impl Iterator<Item = Failing> {
        let fails = move |failing: &Failing| failing.calls().contains(&call);
        Failing::ALL.into_iter().filter(fails)
    }

    /// The calls of the simulator that it makes fail.
    pub(crate) const fn calls(self) -> &'static [Call] {
        match self {
            Failing::Opening => &[Call::Open],
            Failing::Binding => &[Call::BindUnboundPort, Call::BindInterdomain, Call::BindVirq],
            Failing::Unbinding => &[Call::Unbind],
            Failing::Unmasking | Failing::ShortUnmask => &[Call::Unmask],
            Failing::Interrupted | Failing::Reading => &[Call::Pending],
            Failing::Registering => &[Call::Register],
            Failing::Deregistering => &[Call::Deregister],
            Failing::Resetting => &[Call::Reset],
            Failing::Notifying => &[Call::Notify],
            Failing::Sleeping => &[Call::Sleep],
        }
    }
}

impl Each {
    /// The step for one slot.
    #[must_use]
    pub const fn one(self, slot: u16) -> Op {
        match self {
            Each::Binds(source) => Op::Bind(slot, source),
            Each::Unbinds => Op::Unbind(slot),
            Each::Drops => Op::Drop(slot),
            Each::Waits => Op::Wait(slot),
            Each::Cancels => Op::Cancel(slot),
            Each::Signals => Op::Signal(slot),
            Each::Notifies => Op::Notify(slot),
        }
    }
}

impl Op {
    /// Reads a script from any bytes: the first chooses the loop's trigger, then two a step.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> (Trigger, Vec<Op>) {
        let trigger = match bytes.first().map(|byte| byte % 2) {
            Some(1) => Trigger::Edge,
            Some(_) | None => Trigger::Level,
        };
        let steps = bytes.get(1..).unwrap_or_default().chunks_exact(2);
        (
            trigger,
            steps.map(|step| Op::of(step[0], step[1])).collect(),
        )
    }

    /// The step that two bytes mean. It is one for a single slot.
    #[must_use]
    pub fn of(kind: u8, which: u8) -> Op {
        let pick = |count: usize| usize::from(which) % count;
        let slot = u16::from(which);
        match kind % 20 {
            0..=1 => Op::Bind(slot / 3, Source::ALL[pick(3)]),
            2 => Op::Unbind(slot),
            3 => Op::Drop(slot),
            4..=6 => Op::Wait(slot),
            7 => Op::Cancel(slot),
            8..=9 => Op::Signal(slot),
            10 => Op::Notify(slot),
            11 => Op::Begin(slot),
            12 => Op::Next,
            13 => Op::Finish,
            14 => Op::Leave,
            15 => Op::Turn,
            16 if which >= 128 => Op::WaitEach(slot - 128),
            16 => Op::Spurious,
            17 => Op::Overflow,
            18 => Op::Fail(Failing::ALL[pick(Failing::DECODED)]),
            _ if which >= 128 => Op::Block(slot - 128),
            _ if which >= 64 => Op::Await(slot - 64),
            _ => Op::Teardown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_decode_to_the_same_steps_as_before() {
        for (bytes, op) in [
            ([0, 7], Op::Bind(2, Source::Interdomain)),
            ([21, 255], Op::Bind(85, Source::Unbound)),
            ([6, 200], Op::Wait(200)),
            ([11, 255], Op::Begin(255)),
            ([18, 8], Op::Fail(Failing::Deregistering)),
            ([18, 9], Op::Fail(Failing::Opening)),
            ([16, 1], Op::Spurious),
            ([16, 129], Op::WaitEach(1)),
            ([19, 1], Op::Teardown),
            ([19, 129], Op::Block(1)),
            ([19, 65], Op::Await(1)),
        ] {
            assert_eq!(Op::of(bytes[0], bytes[1]), op, "{bytes:?}");
        }
    }
}
