//! Which binds deliver, what coalesces, and what reset and unbind leave behind.

use super::*;

#[test]
fn bind_interdomain_leaves_one_event_and_bind_unbound_none() {
    let mut bench = Bench::new();
    let unbound = bench.unbound();
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
    let bound = bench.ioctl(abi::BIND_INTERDOMAIN, [SELF, unbound]);
    assert_eq!(
        bench.read(),
        Ok(vec![bound.unwrap()]),
        "and none on the other"
    );
    for virq in [3, 8, 1] {
        bench.ioctl(abi::BIND_VIRQ, virq).unwrap();
        assert_eq!(bench.read(), Err(Errno::EAGAIN), "virq {virq}");
    }
}

#[test]
fn notifies_sent_while_unbound_are_dropped_and_give_one_initial_event() {
    let mut bench = Bench::new();
    let ours = bench.unbound();
    for _ in 0..3 {
        bench.ioctl(abi::NOTIFY, ours).unwrap();
    }
    let peer = bench.peer;
    let args = [SELF, ours];
    let theirs = bench.world.ioctl(peer, abi::BIND_INTERDOMAIN, args);
    let theirs = theirs.unwrap();
    assert_eq!(read(&mut bench.world, peer, 64), Ok(vec![theirs]));
    bench.world.write(peer, &theirs.to_ne_bytes()).unwrap();
    assert_eq!(read(&mut bench.world, peer, 64), Err(Errno::EAGAIN));
}

#[test]
fn rebinding_a_half_closed_port_gives_one_event_on_the_new_port_only() {
    let mut bench = Bench::new();
    let (ours, theirs) = bench.pair();
    bench.world.ioctl(bench.peer, abi::UNBIND, theirs).unwrap();
    assert_eq!(bench.read(), Err(Errno::EAGAIN), "a close is not an event");
    let args = [SELF, ours];
    let again = bench.world.ioctl(bench.peer, abi::BIND_INTERDOMAIN, args);
    let again = again.unwrap();
    assert_eq!(read(&mut bench.world, bench.peer, 64), Ok(vec![again]));
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
}

#[test]
fn notifies_of_an_unread_port_are_one_event_now_and_one_after_the_write() {
    let mut bench = Bench::new();
    let (ours, theirs) = bench.pair();
    (0..5).for_each(|_| bench.fire(theirs));
    assert_eq!(bench.read(), Ok(vec![ours]));
    (0..5).for_each(|_| bench.fire(theirs));
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
    bench.write(&[ours]).unwrap();
    assert_eq!(bench.read(), Ok(vec![ours]));
    bench.write(&[ours]).unwrap();
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
}

#[test]
fn a_virq_raised_three_times_unread_is_one_event_and_one_after_the_write() {
    let mut bench = Bench::new();
    bench.world.raise_virq(DomId::DOM0, Virq::DOM_EXC).unwrap();
    let port = bench.ioctl(abi::BIND_VIRQ, 3).unwrap();
    assert_eq!(bench.read(), Err(Errno::EAGAIN), "raised before the bind");
    for _ in 0..3 {
        bench.world.raise_virq(DomId::DOM0, Virq::DOM_EXC).unwrap();
    }
    assert_eq!(bench.read(), Ok(vec![port]));
    bench.write(&[port]).unwrap();
    assert_eq!(bench.read(), Ok(vec![port]));
    bench.write(&[port]).unwrap();
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
}

#[test]
fn destroying_a_domain_gives_one_dom_exc_and_one_latched_behind_it() {
    let mut bench = Bench::new();
    let port = bench.ioctl(abi::BIND_VIRQ, 3).unwrap();
    bench.world.destroy_domain(bench.domu).unwrap();
    for _ in 0..2 {
        assert_eq!(bench.read(), Ok(vec![port]));
        bench.write(&[port]).unwrap();
    }
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
}

#[test]
fn a_write_of_several_pending_ports_queues_them_in_the_order_of_its_words() {
    let mut bench = Bench::new();
    let pairs = bench.fired_pairs(4);
    bench.read().unwrap();
    pairs.iter().for_each(|pair| bench.fire(pair.1));
    let order = [2, 0, 3, 1].map(|index: usize| pairs[index].0);
    bench.write(&order).unwrap();
    assert_eq!(bench.read(), Ok(order.to_vec()));
}

#[test]
fn a_port_enabled_and_notified_again_goes_to_the_tail() {
    let mut bench = Bench::new();
    let pairs = bench.fired_pairs(3);
    let first = pairs[0].0;
    assert_eq!(read(&mut bench.world, bench.file, 4), Ok(vec![first]));
    bench.write(&[first]).unwrap();
    bench.fire(pairs[0].1);
    assert_eq!(bench.read(), Ok(vec![pairs[1].0, pairs[2].0, first]));
}

#[test]
fn a_pending_port_written_twice_in_one_write_is_delivered_once_and_left_enabled() {
    let mut bench = Bench::new();
    let (ours, theirs) = bench.fired_pairs(1)[0];
    bench.read().unwrap();
    bench.fire(theirs);
    bench.write(&[ours, ours]).unwrap();
    bench.fire(theirs);
    // The first word let the event in, which disabled the port; the second enabled it again.
    assert_eq!(bench.read(), Ok(vec![ours, ours]));
}

#[test]
fn reset_enables_nothing() {
    let mut bench = Bench::new();
    let (ours, theirs) = bench.fired_pairs(1)[0];
    bench.ioctl(abi::RESET, 0).unwrap();
    assert_eq!(bench.poll(), PollBits::WRITABLE);
    bench.fire(theirs);
    assert_eq!(bench.read(), Err(Errno::EAGAIN), "disabled, and latched");
    bench.write(&[ours]).unwrap();
    assert_eq!(bench.read(), Ok(vec![ours]));
}

#[test]
fn an_event_dropped_by_reset_is_lost() {
    let mut bench = Bench::new();
    let (ours, _) = bench.fired_pairs(1)[0];
    bench.ioctl(abi::RESET, 0).unwrap();
    bench.write(&[ours]).unwrap();
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
}

#[test]
fn an_entry_outlives_the_unbind_of_its_port_and_writing_it_is_ignored() {
    let mut bench = Bench::new();
    let (ours, _) = bench.fired_pairs(1)[0];
    bench.ioctl(abi::UNBIND, ours).unwrap();
    assert_eq!(bench.poll(), PollBits::READABLE);
    assert_eq!(bench.read(), Ok(vec![ours]));
    assert_eq!(bench.write(&[ours]), Ok(4));
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
}

#[test]
fn stale_entry_reads_as_the_new_port() {
    let mut bench = Bench::new();
    let (ours, _) = bench.fired_pairs(1)[0];
    bench.ioctl(abi::UNBIND, ours).unwrap();
    assert_eq!(
        bench.ioctl(abi::BIND_VIRQ, 3),
        Ok(ours),
        "the number is reused"
    );
    assert_eq!(bench.read(), Ok(vec![ours]), "of the old binding");
    bench.write(&[ours]).unwrap();
    bench.world.raise_virq(DomId::DOM0, Virq::DOM_EXC).unwrap();
    assert_eq!(bench.read(), Ok(vec![ours]), "it was enabled all along");
}

#[test]
fn a_stale_entry_and_an_initial_event_are_the_same_number_twice() {
    let mut bench = Bench::new();
    let (ours, theirs) = bench.fired_pairs(1)[0];
    bench.ioctl(abi::UNBIND, ours).unwrap();
    let again = bench.ioctl(abi::BIND_INTERDOMAIN, [SELF, theirs]);
    assert_eq!(again, Ok(ours));
    assert_eq!(bench.read(), Ok(vec![ours, ours]));
}

#[test]
fn an_unbind_keeps_the_entry_and_the_latched_event_of_the_peer() {
    let mut bench = Bench::new();
    let (ours, theirs) = bench.pair();
    bench.fire(theirs);
    bench.fire(theirs);
    bench.world.ioctl(bench.peer, abi::UNBIND, theirs).unwrap();
    assert_eq!(bench.read(), Ok(vec![ours]));
    bench.write(&[ours]).unwrap();
    assert_eq!(bench.read(), Ok(vec![ours]));
    bench.write(&[ours]).unwrap();
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
    let remote = DomId::DOM0;
    assert_eq!(bench.status(ours), Status::Unbound { remote });
}

#[test]
fn what_was_latched_is_not_delivered_to_the_next_owner_of_the_number() {
    let mut bench = Bench::new();
    let (ours, theirs) = bench.fired_pairs(1)[0];
    bench.read().unwrap();
    bench.fire(theirs);
    bench.ioctl(abi::UNBIND, ours).unwrap();
    assert_eq!(bench.unbound(), ours);
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
}

#[test]
fn a_duplicate_shares_ports_ring_and_restriction() {
    let mut bench = Bench::new();
    let (ours, theirs) = bench.fired_pairs(1)[0];
    bench.world.dup(bench.file).unwrap();
    // The descriptor is not an argument of any call: the file is.
    assert_eq!(bench.read(), Ok(vec![ours]));
    assert_eq!(
        bench.read(),
        Err(Errno::EAGAIN),
        "each event has one reader"
    );
    bench.world.close(bench.file).unwrap();
    bench.fire(theirs);
    bench.write(&[ours]).unwrap();
    assert_eq!(bench.read(), Ok(vec![ours]), "still open");
}

#[test]
fn the_death_of_a_guest_sends_no_event_to_its_peer() {
    let mut bench = Bench::new();
    let domu = bench.domu;
    let ours = bench.ioctl(abi::BIND_UNBOUND_PORT, u32::from(domu.as_raw()));
    let ours = ours.unwrap();
    let world = &mut bench.world;
    let theirs = world.kernel_bind_interdomain(domu, DomId::DOM0, ours);
    world.kernel_send(domu, theirs.unwrap()).unwrap();
    assert_eq!(bench.read(), Ok(vec![ours]));
    bench.write(&[ours]).unwrap();
    bench.world.destroy_domain(domu).unwrap();
    assert_eq!(bench.poll(), PollBits::WRITABLE);
    assert_eq!(bench.status(ours), Status::Unbound { remote: domu });
    assert_eq!(bench.ioctl(abi::NOTIFY, ours), Ok(0));
    assert_eq!(bench.ioctl(abi::UNBIND, ours), Ok(0));
}

/// An event of a disabled port that something unmasked in Xen. Returns the bench and both ports.
fn unmasked_behind(abi: Abi) -> (Bench, u32, u32) {
    let mut bench = Bench::with(&DomainConfig {
        abi,
        ..DomainConfig::dom0()
    });
    let (ours, theirs) = bench.pair();
    bench.fire(theirs);
    assert_eq!(bench.read(), Ok(vec![ours]));
    bench.fire(theirs);
    bench.world.kernel_unmask(DomId::DOM0, ours).unwrap();
    assert_eq!(bench.read(), Err(Errno::EAGAIN), "it is ignored");
    (bench, ours, theirs)
}

#[test]
fn an_event_that_a_hypercall_unmasked_behind_a_disabled_port_is_lost_until_the_next_one() {
    let (mut bench, ours, theirs) = unmasked_behind(Abi::Fifo);
    assert_eq!(bench.write(&[ours]), Ok(4));
    assert_eq!(bench.read(), Err(Errno::EAGAIN), "it is lost");
    bench.fire(theirs);
    assert_eq!(bench.read(), Ok(vec![ours]));
}

#[test]
fn under_the_two_level_abi_that_event_comes_with_the_write() {
    let (mut bench, ours, _) = unmasked_behind(Abi::TwoLevel);
    assert_eq!(bench.write(&[ours]), Ok(4));
    assert_eq!(bench.read(), Ok(vec![ours]));
}
