//! Bounds the queues by the number of bound ports.
//!
//! A cancel leaves its wake in the ready queue and its port among the unmasks, because finding them
//! would cost time in every call. Such stale entries are skipped later. Here they are removed once
//! they outnumber the others, so a call is still O(1) on average.

use super::port::{PortInput, PortState};
use super::step::advance;
use super::task::TaskId;
use super::{Machine, Slot, Wake};

/// How many stale entries are always allowed.
pub(super) const SPARE: usize = 16;

/// Whether a cancel or an unbind in this state leaves a stale entry.
#[inline]
pub(super) const fn leaves_an_entry(slot: &Slot) -> bool {
    matches!(slot.state, PortState::Ready(_) | PortState::Unmasking)
}

impl Machine {
    /// After a cancel or an unbind that [left a stale entry](leaves_an_entry).
    pub(super) fn tidy(&mut self) {
        if self.count.queued == 0 {
            self.ready.clear();
        } else if self.ready.len() > 2 * self.count.queued + SPARE {
            self.tidy_ready();
        }
        if self.to_unmask.len() > 2 * self.ports.bound() + SPARE {
            self.tidy_unmasks();
        }
    }

    /// After a cancel of a channel of the task.
    pub(super) fn tidy_task(&mut self, task_id: TaskId) {
        self.count.tasks.tidy_fired(task_id);
    }

    /// Keeps one wake of each port that is `Ready`, in the place of its first one.
    #[cold]
    fn tidy_ready(&mut self) {
        let Machine {
            ready,
            ports,
            count,
            ..
        } = self;
        // A wake of a port that is no longer bound is queued once.
        let is_unbound = |wake: &Wake| wake.cause.is_unbound();
        // The first wake of a port takes it out of `Ready`, so its second wake is removed.
        ready.retain(|wake| {
            is_unbound(wake)
                || ports.by_id(wake.channel).is_ok_and(|slot| {
                    let is_ready = matches!(slot.state, PortState::Ready(_));
                    if is_ready {
                        advance(wake.channel, slot, PortInput::Cancel, count);
                    }
                    is_ready
                })
        });
        for wake in ready.iter().filter(|wake| !is_unbound(wake)) {
            if let Ok(slot) = ports.by_id(wake.channel) {
                advance(wake.channel, slot, PortInput::Queue, count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ChannelId, Owner, Waited, Waiter};
    use super::*;
    use crate::ids::Port;

    const TURNS: usize = 1_000;

    fn machine<const N: usize>() -> (Machine, [ChannelId; N]) {
        let mut machine = Machine::new();
        let mut ports = (1..).filter_map(Port::new);
        let ids = [0; N].map(|_| machine.bind(ports.next().unwrap()));
        (machine, ids)
    }

    /// Queues a wake of each channel, in this order.
    fn queue(machine: &mut Machine, ids: &[ChannelId]) {
        for id in ids {
            machine.wait(*id, Owner::NEXT).unwrap();
        }
        machine.overflow();
    }

    /// Hands out an event of each channel, so that the next wait has to unmask it.
    fn hand_out_events(machine: &mut Machine, ids: &[ChannelId]) {
        for id in ids {
            machine.wait(*id, Owner::NEXT).unwrap();
        }
        let filled = machine.inbox().fill(|room| {
            for (word, id) in room.iter_mut().zip(ids) {
                *word = id.port().as_raw();
            }
            Ok::<_, core::convert::Infallible>(ids.len())
        });
        assert_eq!(filled, Ok(()));
        for id in ids {
            let taken = machine.next_event(|taker| (taker == *id).then_some(()));
            assert_eq!(taken, Some(((), *id)));
        }
    }

    fn wakes(machine: &mut Machine) -> Vec<ChannelId> {
        let next = || machine.next_wake(|_| true).map(|wake| wake.channel);
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn cancelled_wakes_do_not_pile_up_behind_one_that_is_queued() {
        let (mut machine, ids @ [first, second, third]) = machine();
        queue(&mut machine, &ids);
        for _ in 0..TURNS {
            // Each is in the queue many times when the other one is cancelled.
            for id in [second, third] {
                machine.cancel(id).unwrap();
                assert_eq!(machine.wait(id, Owner::NEXT), Ok(Waited::Queued));
            }
            assert!(machine.ready.len() <= 2 * ids.len() + SPARE + 1);
        }
        assert_eq!(machine.count.queued, 3);
        let mut woke = wakes(&mut machine);
        assert_eq!(woke[0], first);
        woke.sort_unstable();
        assert_eq!(woke, ids, "each once");
        assert_eq!((machine.count.queued, machine.count.waited), (0, 0));
    }

    #[test]
    fn what_is_taken_out_of_the_queue_is_only_what_was_cancelled() {
        let (mut machine, ids @ [first, second, third]) = machine();
        queue(&mut machine, &ids);
        machine.cancel(second).unwrap();
        assert!(matches!(
            machine.wait(second, Owner::of(Waiter::FIRST)),
            Ok(Waited::Ready(_))
        ));
        // It waits for its next event, and the wake that it took at once is in the queue.
        assert_eq!(machine.wait(second, Owner::NEXT), Ok(Waited::Unmask));
        let mut least = usize::MAX;
        for _ in 0..TURNS {
            machine.cancel(third).unwrap();
            least = least.min(machine.ready.len());
            assert_eq!(machine.wait(third, Owner::NEXT), Ok(Waited::Queued));
        }
        assert_eq!(least, 1, "only the first one counted");
        machine.cancel(third).unwrap();
        assert_eq!(machine.state(second), Ok(PortState::Unmasking));
        assert_eq!((machine.count.queued, machine.count.waited), (1, 2));
        assert_eq!(wakes(&mut machine), [first]);
    }

    #[test]
    fn wakes_of_bindings_that_are_gone_stay_as_they_are() {
        let (mut machine, ids @ [first, second]) = machine();
        queue(&mut machine, &ids);
        machine.fault();
        let third = machine.bind(Port::new(9).unwrap());
        queue(&mut machine, &[third]);
        for _ in 0..TURNS {
            machine.cancel(third).unwrap();
            assert_eq!(machine.wait(third, Owner::NEXT), Ok(Waited::Queued));
        }
        assert_eq!(wakes(&mut machine), [first, second, third]);
    }

    #[test]
    fn bindings_that_come_and_go_with_a_wake_leave_none_in_the_queue() {
        let (mut machine, [first]) = machine();
        queue(&mut machine, &[first]);
        let port = Port::new(9).unwrap();
        for _ in 0..TURNS {
            let id = machine.bind(port);
            queue(&mut machine, &[id]);
            machine.unbind(id).unwrap();
            assert!(machine.ready.len() <= 2 + SPARE + 1);
        }
        assert_eq!(wakes(&mut machine), [first]);
    }

    #[test]
    fn unmasks_of_cancelled_waits_do_not_pile_up() {
        let (mut machine, ids @ [first, second]) = machine();
        hand_out_events(&mut machine, &ids);
        for _ in 0..TURNS {
            for id in ids {
                machine.go_on(id);
            }
            assert!(machine.to_unmask.len() <= 3 * ids.len() + SPARE);
            for id in ids {
                machine.cancel(id).unwrap();
            }
        }
        machine.go_on(second);
        machine.go_on(first);
        let mut ports = machine.ports_to_unmask().to_vec();
        ports.sort_unstable();
        assert_eq!(ports, ids.map(ChannelId::port), "each once");
        machine.unmasked(0);
        for id in ids {
            assert_eq!(machine.state(id), Ok(PortState::Waiting));
        }
    }

    #[test]
    fn a_port_that_is_due_stays_so_while_others_are_cancelled() {
        let (mut machine, ids @ [first, second]) = machine();
        hand_out_events(&mut machine, &ids);
        machine.go_on(first);
        for _ in 0..TURNS {
            machine.go_on(second);
            machine.cancel(second).unwrap();
        }
        assert_eq!(machine.state(first), Ok(PortState::Unmasking));
        assert_eq!(machine.ports_to_unmask(), [first.port()]);
        machine.unmasked(0);
        assert_eq!(machine.state(first), Ok(PortState::Waiting));
        assert_eq!(machine.state(second), Ok(PortState::Masked));
    }

    #[test]
    fn cancels_again_and_again_leave_each_channel_of_a_task_queued_once() {
        let (mut machine, ids @ [first, second, third]) = machine();
        let task_id = machine.add_task();
        machine.wait(first, Owner::task(task_id)).unwrap();
        machine.overflow();
        for _ in 0..TURNS {
            for id in [third, second] {
                machine.wait(id, Owner::task(task_id)).unwrap();
                machine.cancel(id).unwrap();
            }
        }
        let fired = std::iter::from_fn(|| machine.next_fired(task_id)).map(|(id, _)| id);
        let fired: Vec<_> = fired.collect();
        assert!(fired.len() <= 2 * ids.len() + SPARE + 1);
        assert!(ids.iter().all(|id| fired.contains(id)));
    }

    #[test]
    fn ids_of_removed_tasks_that_are_still_queued_are_used_again() {
        let (mut machine, ids @ [first, _]) = machine();
        let task_ids = ids.map(|_| machine.add_task());
        machine.wait(first, Owner::task(task_ids[0])).unwrap();
        machine.cancel(first).unwrap();
        for _ in 0..TURNS {
            let [one, other] = ids.map(|id| {
                let task_id = machine.add_task();
                machine.wait(id, Owner::task(task_id)).unwrap();
                machine.cancel(id).unwrap();
                task_id
            });
            assert!(one.0.max(other.0) as usize <= 2 * SPARE);
            for task_id in [one, other] {
                assert!(machine.remove_task(task_id).is_none());
            }
        }
        // It is still in the queue, and is woken once.
        assert!(
            machine
                .set_waker(task_ids[0], core::task::Waker::noop().clone())
                .is_none()
        );
        assert!(machine.next_due().is_some() && machine.next_due().is_none());
        for task_id in task_ids {
            let _waker = machine.remove_task(task_id);
        }
        let taken = machine.add_task();
        assert!((taken.0 as usize) <= 2 * SPARE);
    }
}
