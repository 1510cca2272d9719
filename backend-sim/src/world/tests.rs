//! When events arrive, that runs repeat, and what a domain's own kernel does.

use std::sync::mpsc;
use std::time::Duration;

use evtchn_core::Status;

use super::*;
use crate::driver::abi;
use crate::platform::XenVersion;

const SELF: u32 = 0x7ff0;

fn read(world: &mut World, file: FileId) -> Vec<u32> {
    let mut words = [0; 64];
    let read = world.read_words(file, &mut words).unwrap_or(0);
    words[..read].to_vec()
}

fn write(world: &mut World, file: FileId, ports: &[u32]) {
    for port in ports {
        world.write(file, &port.to_ne_bytes()).unwrap();
    }
}

/// `count` loopback pairs of one file: the second of each notifies the first. Nothing unread.
fn pairs(world: &mut World, file: FileId, count: usize) -> Vec<(u32, u32)> {
    let pair = |_| {
        let first = world.ioctl(file, abi::BIND_UNBOUND_PORT, SELF).unwrap();
        let args = [SELF, first];
        let second = world.ioctl(file, abi::BIND_INTERDOMAIN, args).unwrap();
        world.run();
        assert_eq!(read(world, file), [second]);
        write(world, file, &[second]);
        (first, second)
    };
    (0..count).map(pair).collect()
}

#[test]
fn immediate_delivery_is_done_when_the_call_returns() {
    let mut world = World::new(Config::seeded(0));
    let file = world.open(DomId::DOM0).unwrap();
    let [(ours, theirs)] = pairs(&mut world, file, 1)[..] else {
        panic!()
    };
    world.ioctl(file, abi::NOTIFY, theirs).unwrap();
    assert_eq!(world.held(), 0);
    assert_eq!(read(&mut world, file), [ours]);
}

#[test]
fn held_delivery_waits_for_a_step_and_coalesces_meanwhile() {
    let mut world = World::new(Config::seeded(0));
    let file = world.open(DomId::DOM0).unwrap();
    world.set_delivery(Delivery::Held);
    let [(ours, theirs)] = pairs(&mut world, file, 1)[..] else {
        panic!()
    };
    for _ in 0..3 {
        world.ioctl(file, abi::NOTIFY, theirs).unwrap();
    }
    assert_eq!((world.held(), read(&mut world, file)), (1, vec![]));
    assert!(world.step());
    assert!(!world.step());
    assert_eq!(read(&mut world, file), [ours]);
    world.ioctl(file, abi::NOTIFY, theirs).unwrap();
    assert_eq!(world.held(), 0, "disabled: latched in Xen, not held");
    write(&mut world, file, &[ours]);
    assert_eq!(world.held(), 1);
    world.set_delivery(Delivery::Immediate);
    assert_eq!(read(&mut world, file), [ours], "what was held arrives");
}

#[test]
fn held_ports_arrive_in_the_order_that_the_choice_decides() {
    let mut config = Config::seeded(0);
    config.choice = Choice::scripted([3, 1, 1]);
    let mut world = World::new(config);
    let file = world.open(DomId::DOM0).unwrap();
    let pairs = pairs(&mut world, file, 4);
    world.set_delivery(Delivery::Held);
    for &(_, theirs) in &pairs {
        world.ioctl(file, abi::NOTIFY, theirs).unwrap();
    }
    world.run();
    let order = [3, 1, 2, 0].map(|index: usize| pairs[index].0);
    assert_eq!(read(&mut world, file), order);
}

#[test]
fn a_held_event_of_an_unbound_port_is_dropped() {
    for dom0 in [DomainConfig::dom0(), DomainConfig::dom0_two_level()] {
        let mut config = Config::seeded(0);
        config.dom0 = dom0;
        let abi = config.dom0.abi;
        let mut world = World::new(config);
        let file = world.open(DomId::DOM0).unwrap();
        let (ours, theirs) = pairs(&mut world, file, 1)[0];
        world.set_delivery(Delivery::Held);
        world.ioctl(file, abi::NOTIFY, theirs).unwrap();
        world.ioctl(file, abi::UNBIND, ours).unwrap();
        let next = world.ioctl(file, abi::BIND_UNBOUND_PORT, SELF).unwrap();
        // Under FIFO the number is busy while it stands in the guest's queue.
        assert_eq!(next == ours, abi == crate::config::Abi::TwoLevel);
        world.run();
        assert!(read(&mut world, file).is_empty());
        world.ioctl(file, abi::UNBIND, next).unwrap();
        let next = world.ioctl(file, abi::BIND_UNBOUND_PORT, SELF);
        assert_eq!(next, Ok(ours));
    }
}

/// A run with many free decisions.
fn scenario(seed: u64) -> (u64, String) {
    let mut config = Config::seeded(seed);
    config.xen = XenVersion(4, 21);
    let mut world = World::new(config);
    let file = world.open(DomId::DOM0).unwrap();
    let mut pairs = pairs(&mut world, file, 8);
    world.set_delivery(Delivery::Chosen);
    for _ in 0..500 {
        let index = world.choice().of(pairs.len());
        let (ours, theirs) = pairs[index];
        match world.choice().of(5) {
            0 | 1 => {
                world.ioctl(file, abi::NOTIFY, theirs).unwrap();
            }
            2 => {
                let fired = read(&mut world, file);
                write(&mut world, file, &fired);
            }
            3 => {
                world.ioctl(file, abi::UNBIND, ours).unwrap();
                let args = [SELF, theirs];
                let again = world.ioctl(file, abi::BIND_INTERDOMAIN, args);
                pairs[index].0 = again.unwrap();
            }
            _ => {
                world.step();
            }
        }
    }
    (world.digest(), world.dump())
}

#[test]
fn same_seed_same_digest_and_same_end() {
    for seed in 0..20 {
        assert_eq!(scenario(seed), scenario(seed), "seed {seed}");
    }
    let mut digests: Vec<u64> = (0..20).map(|seed| scenario(seed).0).collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 20);
}

#[test]
fn every_call_and_every_answer_is_in_the_digest() {
    let run = |act: fn(&mut World, FileId) -> bool| {
        let mut world = World::new(Config::seeded(0));
        let file = world.open(DomId::DOM0).unwrap();
        act(&mut world, file);
        world.digest()
    };
    let digests = [
        run(|_, _| true),
        run(|world, file| world.ioctl(file, abi::RESET, 0).is_ok()),
        run(|world, file| world.ioctl(file, abi::NOTIFY, 1).is_ok()),
        run(|world, file| world.ioctl(file, abi::NOTIFY, 2).is_ok()),
        run(|world, file| world.ioctl(file, abi::UNBIND, 1).is_ok()),
        run(|world, file| world.ioctl(file, abi::BIND_INTERDOMAIN, [0, 1]).is_ok()),
        run(|world, file| world.ioctl(file, abi::BIND_INTERDOMAIN, [0, 2]).is_ok()),
        run(|world, file| world.read(file, &mut [0; 4]).is_ok()),
        run(|world, file| world.read(file, &mut [0; 3]).is_ok()),
        run(|world, file| world.write(file, &[1, 0, 0, 0]).is_ok()),
        run(|world, file| world.write(file, &[2, 0, 0, 0]).is_ok()),
        run(|world, file| world.dup(file).is_ok()),
        run(|world, file| world.close(file).is_ok()),
        run(|world, file| world.overflow(file).is_ok()),
        run(|world, _| world.open(DomId::DOM0).is_ok()),
        run(|world, _| world.create_domain(None, &DomainConfig::guest()).is_ok()),
        run(|world, _| world.kernel_alloc_unbound(DomId::DOM0, DomId::DOM0).is_ok()),
        run(|world, _| world.raise_virq(DomId::DOM0, Virq::DOM_EXC).is_ok()),
        run(|world, _| world.kexec_domain(DomId::DOM0).is_ok()),
    ];
    for (index, digest) in digests.iter().enumerate() {
        assert!(!digests[..index].contains(digest), "number {index}");
    }
}

#[test]
fn a_timer_acts_at_its_own_time_and_may_set_more() {
    let mut world = World::new(Config::seeded(0));
    let (send, seen) = mpsc::channel();
    let at = |name: &'static str, send: &mpsc::Sender<(Duration, &'static str)>| {
        let send = send.clone();
        move |world: &mut World| send.send((world.now(), name)).unwrap()
    };
    let s = Duration::from_secs;
    let later = at("later", &send);
    let first = at("first", &send);
    world.after(s(2), move |world| {
        first(world);
        world.after(s(1), later);
    });
    world.after(s(9), at("never", &send));
    world.advance(s(1));
    assert_eq!((world.now(), world.next_deadline()), (s(1), Some(s(2))));
    world.advance(s(4));
    let seen: Vec<_> = seen.try_iter().collect();
    assert_eq!(seen, [(s(2), "first"), (s(3), "later")]);
    assert_eq!((world.now(), world.next_deadline()), (s(5), Some(s(9))));
}

#[test]
fn a_kernels_own_port_is_handled_at_once_every_time() {
    let mut world = World::new(Config::seeded(0));
    let domu = world.create_domain(None, &DomainConfig::guest()).unwrap();
    let file = world.open(DomId::DOM0).unwrap();
    let theirs = world.kernel_alloc_unbound(domu, DomId::DOM0).unwrap();
    let args = [u32::from(domu.as_raw()), theirs];
    let ours = world.ioctl(file, abi::BIND_INTERDOMAIN, args).unwrap();
    for _ in 0..3 {
        world.ioctl(file, abi::NOTIFY, ours).unwrap();
    }
    assert_eq!(world.kernel_events(domu, theirs), Ok(3));
    world.kernel_send(domu, theirs).unwrap();
    assert_eq!(read(&mut world, file), [ours]);
    world.kernel_close(domu, theirs).unwrap();
    let remote = domu;
    let status = world.status(DomId::DOM0, DomId::SELF, ours);
    assert_eq!(status.unwrap().state, Status::Unbound { remote });
    let gone = world.kernel_events(domu, theirs);
    assert_eq!(gone, Err(Errno::ENOTCONN));
}

#[test]
fn a_kernel_cannot_close_the_port_of_a_file() {
    let mut world = World::new(Config::seeded(0));
    let file = world.open(DomId::DOM0).unwrap();
    let port = world.ioctl(file, abi::BIND_UNBOUND_PORT, SELF).unwrap();
    let refused = world.kernel_close(DomId::DOM0, port);
    assert_eq!(refused, Err(Errno::ENOTCONN));
    let unknown = DomId::new(77);
    assert_eq!(world.kernel_close(unknown, 1), Err(Errno::ESRCH));
    assert_eq!(world.kernel_send(unknown, 1), Err(Errno::ESRCH));
    assert_eq!(
        world.kernel_bind_virq(unknown, Virq::DEBUG),
        Err(Errno::ESRCH)
    );
}

#[test]
fn a_kexec_closes_every_port_and_every_file_and_boots_again() {
    let mut world = World::new(Config::seeded(0));
    let domu = world.create_domain(None, &DomainConfig::guest()).unwrap();
    let file = world.open(DomId::DOM0).unwrap();
    let theirs = world.open(domu).unwrap();
    let remote = u32::from(domu.as_raw());
    let ours = world.ioctl(file, abi::BIND_UNBOUND_PORT, remote).unwrap();
    world
        .ioctl(theirs, abi::BIND_INTERDOMAIN, [0, ours])
        .unwrap();
    world.kexec_domain(domu).unwrap();
    let status = world.status(DomId::DOM0, DomId::SELF, ours);
    assert_eq!(status.unwrap().state, Status::Unbound { remote: domu });
    assert_eq!(world.ioctl(theirs, abi::RESET, 0), Err(Errno::EBADF));
    assert_eq!(world.open_files(), 1);
    let again = world.open(domu).unwrap();
    assert!(world.ioctl(again, abi::BIND_INTERDOMAIN, [0, ours]).is_ok());
}

#[test]
fn a_dump_has_a_line_per_port_and_per_file() {
    let mut world = World::new(Config::seeded(0));
    let file = world.open(DomId::DOM0).unwrap();
    let port = world.ioctl(file, abi::BIND_UNBOUND_PORT, 7).unwrap();
    let dump = world.dump();
    let line = format!("d0:{port} unbound for d7 file=0 enabled");
    assert!(dump.lines().any(|l| l == line), "{dump}");
    let line = "d0 file=0 bound=1 poll=0x104 ring=0/64 []";
    assert!(dump.lines().any(|l| l == line), "{dump}");
    assert!(dump.contains("d0:1 virq TIMER kernel events=0\n"));
}

#[test]
fn domain_calls_refuse_bad_numbers() {
    let mut world = World::new(Config::seeded(0));
    let guest = DomainConfig::guest();
    let dom0 = world.create_domain(Some(DomId::DOM0), &guest);
    assert_eq!(dom0, Err(Errno::EEXIST));
    let reserved = world.create_domain(Some(DomId::SELF), &guest);
    assert_eq!(reserved, Err(Errno::EINVAL));
    for vcpus in [0, u32::MAX] {
        let mut config = DomainConfig::guest();
        config.vcpus = vcpus;
        let refused = world.create_domain(None, &config);
        assert_eq!(refused, Err(Errno::EINVAL));
    }
    let unknown = DomId::new(77);
    assert_eq!(world.destroy_domain(unknown), Err(Errno::ESRCH));
    assert_eq!(world.kexec_domain(unknown), Err(Errno::ESRCH));
    assert_eq!(world.destroy_domain(DomId::DOM0), Err(Errno::EINVAL));
    assert_eq!(world.open(unknown), Err(Errno::ENOENT));
    let virq = world.raise_virq(DomId::DOM0, Virq::new(24));
    assert_eq!(virq, Err(Errno::EINVAL));
}

#[test]
fn a_closed_file_stays_closed_however_many_are_opened_after_it() {
    let mut world = World::new(Config::seeded(0));
    let stale = world.open(DomId::DOM0).unwrap();
    world.close(stale).unwrap();
    for _ in 0..3 {
        let file = world.open(DomId::DOM0).unwrap();
        assert_ne!(file, stale);
        assert_eq!(world.ioctl(stale, abi::RESET, 0), Err(Errno::EBADF));
        world.close(file).unwrap();
    }
}

#[test]
fn a_delayed_event_that_is_held_afterwards_waits_for_a_step() {
    let mut world = World::new(Config::seeded(0));
    let file = world.open(DomId::DOM0).unwrap();
    let (first, second) = pairs(&mut world, file, 1)[0];
    world.set_delivery(Delivery::Delayed(Duration::from_secs(8)));
    world.ioctl(file, abi::NOTIFY, second).unwrap();
    world.set_delivery(Delivery::Held);
    world.advance(Duration::from_secs(9));
    assert!(read(&mut world, file).is_empty());
    assert_eq!(world.held(), 1);
    world.run();
    assert_eq!(read(&mut world, file), [first]);
}

/// The FIFO ABI adds pages and takes none away (UNBIND: EINVAL behind the last one).
#[test]
fn a_low_port_that_is_bound_again_does_not_put_the_high_ones_out_of_range() {
    let mut world = World::new(Config::seeded(0));
    let file = world.open(DomId::DOM0).unwrap();
    let mut port = 0;
    while port < 1024 {
        port = world.ioctl(file, abi::BIND_UNBOUND_PORT, SELF).unwrap();
    }
    world.ioctl(file, abi::UNBIND, 500).unwrap();
    assert_eq!(world.ioctl(file, abi::BIND_UNBOUND_PORT, SELF), Ok(500));
    assert_eq!(world.ioctl(file, abi::UNBIND, port), Ok(0));
    let again = world.ioctl(file, abi::UNBIND, port);
    assert_eq!(again, Err(Errno::ENOTCONN));
}

#[test]
fn a_kernel_binds_ipis_and_per_vcpu_virqs_on_each_of_its_vcpus() {
    let mut config = Config::seeded(1);
    config.dom0.vcpus = 2;
    let mut world = World::new(config);
    let dom0 = DomId::DOM0;
    let ipis = [0, 1].map(|vcpu| world.kernel_bind_ipi(dom0, vcpu).unwrap());
    assert_eq!(world.kernel_bind_ipi(dom0, 2), Err(Errno::ENOENT));
    for (vcpu, port) in (0..).zip(ipis) {
        let status = world.status(dom0, DomId::SELF, port).unwrap();
        assert_eq!((status.state, status.vcpu), (Status::Ipi, vcpu));
        world.kernel_send(dom0, port).unwrap();
        assert_eq!(world.kernel_events(dom0, port), Ok(1));
    }

    // The kernel has TIMER on vCPU 0.
    let bind = |world: &mut World, virq, vcpu| world.kernel_bind_virq_on(dom0, virq, vcpu);
    assert_eq!(bind(&mut world, Virq::TIMER, 0), Err(Errno::EEXIST));
    let port = bind(&mut world, Virq::TIMER, 1).unwrap();
    assert_eq!(bind(&mut world, Virq::TIMER, 2), Err(Errno::ENOENT));
    assert_eq!(bind(&mut world, Virq::DOM_EXC, 1), Err(Errno::EINVAL));
    world.raise_virq(dom0, Virq::TIMER).unwrap();
    assert_eq!(world.kernel_events(dom0, port), Ok(0));
    world.raise_virq_on(dom0, Virq::TIMER, 1).unwrap();
    assert_eq!(world.kernel_events(dom0, port), Ok(1));
    world.raise_virq_on(dom0, Virq::TIMER, 7).unwrap();
    assert_eq!(world.kernel_events(dom0, port), Ok(1));
}
