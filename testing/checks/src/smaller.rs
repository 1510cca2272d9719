//! Smaller steps, for shrinking a script that breaks.

use crate::op::Op;

impl Op {
    /// The same step with only this many slots.
    pub(crate) fn within(self, slots: u16) -> Op {
        match self {
            Op::Bind(slot, source) => Op::Bind(slot % slots, source),
            Op::Unbind(slot) => Op::Unbind(slot % slots),
            Op::Drop(slot) => Op::Drop(slot % slots),
            Op::Wait(slot) => Op::Wait(slot % slots),
            Op::WaitEach(slot) => Op::WaitEach(slot % slots),
            Op::Cancel(slot) => Op::Cancel(slot % slots),
            Op::Block(slot) => Op::Block(slot % slots),
            Op::Await(slot) => Op::Await(slot % slots),
            Op::Callback(slot) => Op::Callback(slot % slots),
            Op::Signal(slot) => Op::Signal(slot % slots),
            Op::Notify(slot) => Op::Notify(slot % slots),
            Op::Many(each, first, count) => Op::Many(each, first % slots, count.min(slots)),
            Op::Storm(slot, times) => Op::Storm(slot % slots, times),
            Op::Begin(_)
            | Op::Next
            | Op::NextMany(_)
            | Op::Finish
            | Op::Leave
            | Op::Turn
            | Op::Serve
            | Op::Calls
            | Op::HandOver
            | Op::Spurious
            | Op::Overflow
            | Op::Fail(_)
            | Op::FailNth(..)
            | Op::Short(_)
            | Op::Teardown => self,
        }
    }

    /// Smaller steps to try in its place, the smallest first.
    pub(crate) fn smaller(self) -> impl Iterator<Item = Op> {
        let smaller = self.smaller_or_same().into_iter();
        smaller.filter(move |op| *op != self)
    }

    fn smaller_or_same(self) -> Vec<Op> {
        match self {
            Op::Many(each, first, count) => {
                let last = first.saturating_add(count.saturating_sub(1));
                let at_first = |count| Op::Many(each, first, count);
                let at_last = |fewer| Op::Many(each, last - (fewer - 1), fewer);
                let mut smaller = fewer(count, each.one(first), at_first);
                smaller.extend(fewer(count, each.one(last), at_last));
                smaller
            }
            Op::Storm(slot, times) => {
                fewer(times, Op::Signal(slot), |times| Op::Storm(slot, times))
            }
            Op::NextMany(wakes) => fewer(wakes, Op::Next, Op::NextMany),
            Op::FailNth(failing, nth) => {
                fewer(nth, Op::Fail(failing), |nth| Op::FailNth(failing, nth))
            }
            Op::Begin(budget) => fewer(budget, Op::Begin(1), Op::Begin),
            Op::Short(ports) => fewer(ports, Op::Short(1), Op::Short),
            Op::Serve | Op::Calls => vec![Op::Turn],
            Op::Block(slot) | Op::Await(slot) | Op::WaitEach(slot) => vec![Op::Wait(slot)],
            Op::Bind(..)
            | Op::Unbind(_)
            | Op::Drop(_)
            | Op::Wait(_)
            | Op::Cancel(_)
            | Op::Signal(_)
            | Op::Notify(_)
            | Op::Next
            | Op::Finish
            | Op::Leave
            | Op::Turn
            | Op::Callback(_)
            | Op::HandOver
            | Op::Spurious
            | Op::Overflow
            | Op::Fail(_)
            | Op::Teardown => Vec::new(),
        }
    }
}

/// The step for one, then the steps for fewer: a half, three quarters, and so on to one less.
fn fewer(count: u16, one: Op, some: impl Fn(u16) -> Op) -> Vec<Op> {
    let halved = |less: &u16| Some(less / 2).filter(|less| *less > 0);
    let less = std::iter::successors(halved(&count), halved);
    let smaller = less.map(|less| some(count - less));
    let one = Some(one).filter(|_| count > 0);
    one.into_iter().chain(smaller).collect()
}
