//! Cases of the machine that only other threads or failures in between bring about.

use super::task::TaskId;
use super::*;

fn machine_with_a_channel() -> (Machine, ChannelId) {
    let mut machine = Machine::new();
    let id = machine.bind(Port::new(5).unwrap());
    (machine, id)
}

/// A thread blocks for a channel.
fn block(machine: &mut Machine, id: ChannelId) -> (Waited, Waiter) {
    let waiter = machine.waiter();
    (machine.wait(id, Owner::of(waiter)).unwrap(), waiter)
}

#[test]
fn a_cancel_is_taken_back_where_nothing_happened_since() {
    let (mut machine, id) = machine_with_a_channel();
    assert_eq!(machine.wait(id, Owner::NEXT), Ok(Waited::Armed));
    let before = machine.cancel(id).unwrap();
    assert_eq!(machine.wanted(), LinkInput::Unwanted);
    machine.restore(id, before);
    assert_eq!(machine.state(id), Ok(PortState::Waiting));
    assert_eq!(machine.wanted(), LinkInput::Wanted);
    machine.cancel(id).unwrap();
    assert_eq!(machine.wanted(), LinkInput::Unwanted);
}

#[test]
fn a_cancel_is_not_taken_back_after_another_wait_began() {
    let (mut machine, id) = machine_with_a_channel();
    assert_eq!(machine.wait(id, Owner::NEXT), Ok(Waited::Armed));
    let before = machine.cancel(id).unwrap();
    assert_eq!(machine.wait(id, Owner::NEXT), Ok(Waited::Armed));
    machine.restore(id, before);
    machine.cancel(id).unwrap();
    assert_eq!(machine.wanted(), LinkInput::Unwanted, "counted twice");
}

#[test]
fn a_cancel_that_ended_no_wait_is_not_taken_back() {
    let (mut machine, id) = machine_with_a_channel();
    let before = machine.cancel(id).unwrap();
    machine.restore(id, before);
    assert_eq!(machine.state(id), Ok(PortState::Live));
    assert_eq!(machine.wanted(), LinkInput::Unwanted);
    assert_eq!(machine.wait(id, Owner::NEXT), Ok(Waited::Armed));
    let before = machine.cancel(id).unwrap();
    machine.unbind(id).unwrap();
    machine.restore(id, before);
    assert_eq!(machine.wanted(), LinkInput::Unwanted);
}

#[test]
fn a_blocked_thread_is_woken_once_and_not_by_itself() {
    let (mut machine, id) = machine_with_a_channel();
    let (waited, waiter) = block(&mut machine, id);
    assert_eq!(waited, Waited::Armed);
    assert!(machine.take_threads_to_wake(None).is_empty());
    let other = machine.bind(Port::new(6).unwrap());
    let (_, theirs) = block(&mut machine, other);
    assert_ne!(waiter, theirs);
    machine.overflow();
    assert!(
        !machine.take_threads_to_wake(Some(waiter)).is_empty(),
        "there is another"
    );
    assert!(machine.take_threads_to_wake(None).is_empty(), "woken twice");
    assert_eq!(
        machine.look(id, waiter),
        block::Look::Woken(Cause::Overflow)
    );
    assert_eq!(machine.wait(other, Owner::NEXT), Ok(Waited::Taken));
    let before = machine.cancel(other).unwrap();
    assert!(before.is_waited() && !before.is_rounds());
    assert!(
        machine.take_threads_to_wake(Some(theirs)).is_empty(),
        "it knows"
    );
    assert_eq!(machine.look(other, theirs), block::Look::Cancelled);
    assert_eq!(block(&mut machine, other).0, Waited::Ready(Cause::Overflow));
    assert_eq!(machine.stats.wakes, 2);
}

#[test]
fn a_binding_that_is_replaced_while_it_waits_leaves_no_waiter() {
    let (mut machine, id) = machine_with_a_channel();
    machine.wait(id, Owner::NEXT).unwrap();
    let second = machine.bind(id.port());
    assert_eq!(machine.wanted(), LinkInput::Unwanted);
    let wake = machine.next_wake(|_| true).unwrap();
    assert_eq!((wake.channel, wake.cause), (id, Cause::Gone));
    assert!(!machine.has_ready());
    machine.wait(second, Owner::NEXT).unwrap();
    machine.cancel(second).unwrap();
    assert_eq!(machine.wanted(), LinkInput::Unwanted);
}

#[test]
fn a_task_with_two_fired_channels_is_queued_once() {
    let (mut machine, id) = machine_with_a_channel();
    let other = machine.bind(Port::new(6).unwrap());
    let task_id = machine.add_task();
    machine.wait(id, Owner::task(task_id)).unwrap();
    machine.wait(other, Owner::task(task_id)).unwrap();
    machine.overflow();
    for wakes in [true, false] {
        let waker = core::task::Waker::noop().clone();
        assert!(machine.set_waker(task_id, waker).is_none());
        assert_eq!(machine.next_due().is_some(), wakes);
    }
}

#[test]
fn the_end_of_a_wait_in_rounds_leaves_a_task_its_channel() {
    let (mut machine, id) = machine_with_a_channel();
    assert_eq!(machine.wait(id, Owner::NEXT), Ok(Waited::Armed));
    machine.cancel_in_rounds(id);
    assert_eq!(machine.wanted(), LinkInput::Unwanted);
    let task_id = machine.add_task();
    assert_eq!(machine.wait(id, Owner::task(task_id)), Ok(Waited::Armed));
    machine.cancel_in_rounds(id);
    assert!(!machine.has_due() && machine.wanted() == LinkInput::Wanted);
    machine.unbind(id).unwrap();
    machine.cancel_in_rounds(id);
}

#[test]
fn a_thread_that_blocks_ends_only_its_own_wait() {
    let (mut machine, id) = machine_with_a_channel();
    let (_, first) = block(&mut machine, id);
    machine.cancel(id).unwrap();
    let (_, second) = block(&mut machine, id);
    machine.end_block(id, first);
    assert_eq!(machine.look(id, second), block::Look::Nothing);
    assert_eq!(machine.wanted(), LinkInput::Wanted);
    machine.end_block(id, second);
    assert_eq!(machine.wanted(), LinkInput::Unwanted);
}

#[test]
fn a_cancel_before_an_unmask_is_taken_back_with_it() {
    let (mut machine, id) = machine_with_a_channel();
    machine.overflow();
    assert_eq!(block(&mut machine, id).0, Waited::Ready(Cause::Overflow));
    assert_eq!(machine.wait(id, Owner::NEXT), Ok(Waited::Unmask));
    let before = machine.cancel(id).unwrap();
    assert_eq!(machine.ports_to_unmask(), []);
    machine.restore(id, before);
    assert_eq!(machine.ports_to_unmask(), [id.port()]);
    machine.unmasked(0);
    assert_eq!(machine.ports_to_unmask(), []);
    assert_eq!(machine.state(id), Ok(PortState::Waiting));
}

#[test]
fn a_cancel_is_not_taken_back_where_a_task_took_over_what_it_left() {
    let (mut machine, id) = machine_with_a_channel();
    assert_eq!(machine.wait(id, Owner::NEXT), Ok(Waited::Armed));
    machine.overflow();
    let before = machine.cancel(id).unwrap();
    let task_id = machine.add_task();
    let latched = Ok(Waited::Ready(Cause::Overflow));
    assert_eq!(machine.wait(id, Owner::task(task_id)), latched);
    machine.restore(id, before);
    let woken = block::Look::Woken(Cause::Overflow);
    assert_eq!(machine.next_fired(task_id), Some((id, woken)));
    machine.leave(id, task_id);
    assert_eq!(machine.wanted(), LinkInput::Unwanted, "counted twice");
}

#[test]
fn the_id_of_a_queued_task_is_used_again_once_it_left_the_queue() {
    let (mut machine, id) = machine_with_a_channel();
    machine.overflow();
    let left = machine.add_task();
    let latched = Ok(Waited::Ready(Cause::Overflow));
    assert_eq!(machine.wait(id, Owner::task(left)), latched);
    machine.leave(id, left);
    assert!(machine.remove_task(left).is_none());
    let other = machine.add_task();
    assert_ne!(left, other);
    assert!(machine.next_due().is_none());
    assert_eq!(machine.add_task(), left);
    assert_eq!(machine.next_fired(left), None, "that was for another task");
}

#[test]
fn a_channel_removed_and_added_again_fires_once() {
    let (mut machine, id) = machine_with_a_channel();
    machine.overflow();
    let task_id = machine.add_task();
    for _ in 0..2 {
        let latched = Ok(Waited::Ready(Cause::Overflow));
        assert_eq!(machine.wait(id, Owner::task(task_id)), latched);
        machine.leave(id, task_id);
        machine.forget(id, task_id);
        assert_eq!(machine.next_fired(task_id), None);
    }
}

/// Every state, with each kind of owner, as one slot.
fn slots() -> impl Iterator<Item = Slot> {
    let owners = [Owner::NEXT, Owner::EACH, Owner::of(Waiter::FIRST)];
    PortState::ALL.into_iter().flat_map(move |state| {
        owners.map(|owner| {
            let mut slot = Slot::default();
            (slot.state, slot.owner) = (state, owner);
            slot
        })
    })
}

#[test]
fn an_event_that_is_handed_out_at_once_goes_where_its_steps_lead() {
    for slot in slots() {
        let (mut machine, id) = machine_with_a_channel();
        let port = machine.ports.by_id(id).unwrap();
        (port.state, port.owner) = (slot.state, slot.owner);
        let next = machine.ports.next();
        let Some((channel, quick)) = machine.ports.plain(id.port().as_raw()) else {
            assert!(slot.state != PortState::Waiting || !slot.owner.is_rounds());
            continue;
        };
        let goes_on = step::fire(quick, next);
        let (ready, fired) = slot.state.step(PortInput::Event);
        let (delivered, handed_out) = ready.step(PortInput::Deliver);
        assert_eq!(fired, PortEffect::Fire);
        assert_eq!(handed_out, PortEffect::Deliver(Cause::Event));
        assert!(slot.owner.is_rounds());
        let (unmasking, effect) = delivered.step(PortInput::Wait);
        assert_eq!(effect, PortEffect::Unmask);
        assert_eq!((channel, goes_on), (id, slot.owner == Owner::EACH));
        let expected = if goes_on { unmasking } else { delivered };
        assert_eq!(machine.state(id), Ok(expected));
        assert_eq!(machine.ports.by_id(id).unwrap().owner, slot.owner);
    }
}

#[test]
fn a_wait_in_its_round_goes_where_its_step_leads() {
    for slot in slots() {
        let (mut machine, id) = machine_with_a_channel();
        let next = machine.ports.next();
        let mut count = Count::default();
        let quick = machine.ports.by_id(id).unwrap();
        (quick.state, quick.owner) = (slot.state, slot.owner);
        if !step::wait_again(quick, next, &mut count) {
            assert_eq!((quick.state, quick.owner), (slot.state, slot.owner));
            assert!(slot.state != PortState::Delivered || !slot.owner.is_rounds());
            continue;
        }
        let (unmasking, effect) = slot.state.step(PortInput::Wait);
        assert_eq!(
            (machine.state(id), effect),
            (Ok(unmasking), PortEffect::Unmask)
        );
        assert!(count.waited == 1 && slot.owner.is_rounds());
        let written = unmasking.step(PortInput::Unmasked);
        assert_eq!(written, (PortState::Waiting, PortEffect::Nothing));
    }
}

#[test]
fn an_event_of_a_task_goes_where_its_steps_lead() {
    let mine = Owner::task(TaskId(1));
    let owners = [mine, Owner::task(TaskId(2)), Owner::NEXT, Owner::EACH];
    for (state, owner) in PortState::ALL
        .into_iter()
        .flat_map(|it| owners.map(|owner| (it, owner)))
    {
        let (mut machine, id) = machine_with_a_channel();
        let next = machine.ports.next();
        let slot = machine.ports.by_id(id).unwrap();
        (slot.state, slot.owner) = (state, owner);
        let event = PortState::Waiting.step(PortInput::Event).0;
        let kept = event.step(PortInput::Keep).0;
        if let Some((channel, task_id, slot)) = machine.ports.plain_of_task(id.port().as_raw()) {
            assert_eq!((channel, Owner::task(task_id)), (id, owner));
            assert_eq!(state, PortState::Waiting);
            step::keep(slot);
            assert_eq!(slot.state, kept);
            continue;
        }
        assert!(state != PortState::Waiting || owner.task_id().is_none());
        let taken = kept.step(PortInput::Wait).0;
        let expected = state == kept && owner == mine;
        let (mut count, mut again, mut last) = (
            Count::default(),
            *slot_of(&mut machine, id),
            *slot_of(&mut machine, id),
        );
        count.waited = 1;
        assert_eq!(step::take_kept(&mut again, mine, next), expected);
        assert_eq!(step::take_last(&mut last, mine, &mut count), expected);
        assert_eq!(count.waited, usize::from(!expected));
        if expected {
            assert_eq!(
                (last.state, last.owner),
                (taken.step(PortInput::Cancel).0, Owner::NEXT)
            );
            *slot_of(&mut machine, id) = again;
            assert_eq!(machine.state(id), Ok(taken.step(PortInput::Wait).0));
        } else {
            assert_eq!((last.state, again.state), (state, state));
        }
    }
}

fn slot_of(machine: &mut Machine, id: ChannelId) -> &mut Slot {
    machine.ports.by_id(id).unwrap()
}

/// A machine of which this many ports are queued for the next unmask.
fn machine_with_queued_unmasks(ports: u32) -> (Machine, Vec<ChannelId>) {
    let mut machine = Machine::new();
    let bind = |raw| machine.bind(Port::new(raw).unwrap());
    let ids: Vec<ChannelId> = (1..=ports).map(bind).collect();
    let filled = machine.inbox().fill(|room| {
        for (word, id) in room.iter_mut().zip(&ids) {
            *word = id.port().as_raw();
        }
        Ok::<_, core::convert::Infallible>(ids.len())
    });
    assert_eq!(filled, Ok(()));
    machine.queue_unread();
    for id in &ids {
        assert_eq!(block(&mut machine, *id).0, Waited::Ready(Cause::Event));
        assert!(machine.wait_again(*id));
    }
    (machine, ids)
}

#[test]
fn a_queued_port_is_unmasked_once_whatever_comes_in_between() {
    let (mut machine, ids) = machine_with_queued_unmasks(4);
    let [first, second, third, fourth] = ids[..] else {
        unreachable!()
    };
    machine.cancel(first).unwrap();
    machine.unbind(second).unwrap();
    let reused = machine.bind(second.port());
    machine.cancel(third).unwrap();
    machine.go_on(third);
    assert_eq!(machine.ports_to_unmask(), [third.port(), fourth.port()]);
    machine.unmasked(0);
    assert_eq!(machine.ports_to_unmask(), []);
    assert_eq!(machine.state(first), Ok(PortState::Masked));
    assert_eq!(machine.state(reused), Ok(PortState::Live));
    assert_eq!(machine.state(third), Ok(PortState::Waiting));
    assert_eq!(machine.state(fourth), Ok(PortState::Waiting));
}

#[test]
fn what_was_not_unmasked_is_due_with_the_next_unmask() {
    for is_looked_at in [false, true] {
        let (mut machine, ids) = machine_with_queued_unmasks(3);
        if is_looked_at {
            assert_eq!(machine.state(ids[2]), Ok(PortState::Unmasking));
        }
        assert_eq!(machine.ports_to_unmask().len(), 3);
        machine.unmasked(2);
        assert_eq!(machine.state(ids[0]), Ok(PortState::Waiting));
        assert_eq!(machine.state(ids[1]), Ok(PortState::Unmasking));
        assert_eq!(machine.ports_to_unmask(), [ids[1].port(), ids[2].port()]);
        machine.unmasked(0);
        assert_eq!(machine.state(ids[2]), Ok(PortState::Waiting));
    }
}

/// A shortcut does to a channel what the input does, and takes every channel of rounds in that
/// state.
fn goes_where_its_step_leads(
    take: fn(&mut Slot, &mut Count) -> bool,
    from: PortState,
    input: PortInput,
) {
    let (_, id) = machine_with_a_channel();
    for slot in slots() {
        let (mut quick, mut stepped) = (slot, slot);
        let (mut quick_count, mut count) = (Count::default(), Count::default());
        quick_count.enter(&slot);
        count.enter(&slot);
        let is_taken = take(&mut quick, &mut quick_count);
        assert_eq!(is_taken, slot.state == from && slot.owner.is_rounds());
        if is_taken {
            let effect = advance(id, &mut stepped, input, &mut count);
            assert_eq!(effect, PortEffect::Nothing);
            if input == PortInput::Cancel {
                stepped.owner = Owner::NEXT;
            }
        }
        assert_eq!(quick, stepped);
        assert_eq!(quick_count.waited, count.waited);
        assert_eq!(quick_count.queued, count.queued);
    }
}

#[test]
fn a_wait_beside_others_goes_where_its_step_leads() {
    goes_where_its_step_leads(step::wait_plainly, PortState::Live, PortInput::Wait);
}

#[test]
fn a_cancel_before_its_event_goes_where_its_step_leads() {
    goes_where_its_step_leads(step::cancel_plainly, PortState::Waiting, PortInput::Cancel);
}

#[test]
fn an_owner_is_rounds_or_a_thread_or_a_task() {
    let (thread, task) = (Waiter::FIRST, Waiter::task(TaskId(7)));
    for (owner, waiter) in [
        (Owner::NEXT, None),
        (Owner::EACH, None),
        (Owner::of(thread), Some(thread)),
        (Owner::of(task), Some(task)),
    ] {
        assert_eq!(owner.waiter(), waiter);
        assert_eq!(owner.is_rounds(), waiter.is_none());
        assert_eq!(owner.is_each(), owner == Owner::EACH);
    }
}
