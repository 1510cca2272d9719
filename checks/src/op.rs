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
    /// A virtual interrupt of its own for each slot.
    Virq,
}

/// A call of the seam that can be made to fail.
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
    /// `pending`, for good.
    Reading,
    /// `register`
    Registering,
    /// `deregister`
    Deregistering,
}

/// One step of a script. Slots are taken modulo the number of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Binds a channel into an empty slot.
    Bind(u8, Source),
    /// Unbinds by the call that reports errors.
    Unbind(u8),
    /// Unbinds by dropping the channel.
    Drop(u8),
    /// Waits, also by the id of a channel that is gone.
    Wait(u8),
    /// Cancels, also by the id of a channel that is gone.
    Cancel(u8),
    /// The peer notifies, or the virtual interrupt is raised.
    Signal(u8),
    /// The program notifies its peer.
    Notify(u8),
    /// Begins a round with a budget.
    Begin(u8),
    /// Takes one wake of the round.
    Next,
    /// Ends the round and looks at its result.
    Finish,
    /// Ends the round by dropping it.
    Leave,
    /// One turn of an event loop: a whole round if there is reason for one.
    Turn,
    /// The loop says ready for nothing.
    Spurious,
    /// The driver's ring overflows.
    Overflow,
    /// The next such call fails.
    Fail(Failing),
    /// Tears the context down, if nothing is left.
    Teardown,
}

impl Source {
    /// Every kind.
    pub const ALL: [Source; 3] = [Source::Unbound, Source::Interdomain, Source::Virq];
}

impl Failing {
    /// Every kind.
    pub const ALL: [Failing; 9] = [
        Failing::Opening,
        Failing::Binding,
        Failing::Unbinding,
        Failing::Unmasking,
        Failing::ShortUnmask,
        Failing::Interrupted,
        Failing::Reading,
        Failing::Registering,
        Failing::Deregistering,
    ];

    /// The calls of the simulated device that are meant.
    pub(crate) const fn calls(self) -> &'static [Call] {
        match self {
            Failing::Opening => &[Call::Open],
            Failing::Binding => &[Call::BindUnboundPort, Call::BindInterdomain, Call::BindVirq],
            Failing::Unbinding => &[Call::Unbind],
            Failing::Unmasking | Failing::ShortUnmask => &[Call::Unmask],
            Failing::Interrupted | Failing::Reading => &[Call::Pending],
            Failing::Registering => &[Call::Register],
            Failing::Deregistering => &[Call::Deregister],
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

    /// The step that two bytes mean.
    #[must_use]
    pub fn of(kind: u8, which: u8) -> Op {
        let pick = |count: usize| usize::from(which) % count;
        match kind % 20 {
            0..=1 => Op::Bind(which / 3, Source::ALL[pick(3)]),
            2 => Op::Unbind(which),
            3 => Op::Drop(which),
            4..=6 => Op::Wait(which),
            7 => Op::Cancel(which),
            8..=9 => Op::Signal(which),
            10 => Op::Notify(which),
            11 => Op::Begin(which),
            12 => Op::Next,
            13 => Op::Finish,
            14 => Op::Leave,
            15 => Op::Turn,
            16 => Op::Spurious,
            17 => Op::Overflow,
            18 => Op::Fail(Failing::ALL[pick(Failing::ALL.len())]),
            _ => Op::Teardown,
        }
    }
}
