//! Each fact of a platform shows in what a program can notice.

use evtchn_core::{DeviceError, DomId, Port, PortStatuses, Status};

use super::*;
use crate::driver::abi;
use crate::errno::Errno;
use crate::sim::Sim;
use crate::world::World;

const SELF: u32 = 0x7ff0;

/// What programs in domain 0 and in an unprivileged domain notice of a platform.
#[derive(Debug, PartialEq)]
struct Noticed {
    /// A port for a domain that does not exist.
    with_unknown_domain: Result<u32, Errno>,
    /// How many bytes a write of more than a page takes.
    written: Result<usize, Errno>,
    static_bind: Result<u32, Errno>,
    device: Result<(u32, u32), Errno>,
    domains: [Domain; 2],
}

#[derive(Debug, PartialEq)]
struct Domain {
    /// Whether an `UNBIND` of this number is out of range, which depends on the ABI.
    unbind: Result<u32, Errno>,
    /// What the kernel holds before programs start.
    held: Vec<Status>,
    /// What privcmd says of port 1.
    asked: Result<Status, Option<i32>>,
}

fn domain(sim: &Sim, domid: DomId) -> Domain {
    let port = Port::new(1).unwrap();
    let asked = sim.privcmd(domid).status(DomId::SELF, port);
    sim.with(|world| {
        let file = world.open(domid).unwrap();
        let unbind = world.ioctl(file, abi::UNBIND, 2000);
        let first = world.ioctl(file, abi::BIND_UNBOUND_PORT, SELF).unwrap();
        let held = |port| world.status(domid, DomId::SELF, port).unwrap().state;
        let held = (1..first).map(held).collect();
        world.close(file).unwrap();
        Domain {
            unbind,
            held,
            asked: asked
                .map(|it| it.state)
                .map_err(|it: DeviceError| it.code()),
        }
    })
}

fn noticed(platform: &Platform) -> Noticed {
    let sim = Sim::with_config(platform.config(1));
    let guest = sim.create_domain_with(None, &platform.guest()).unwrap();
    let domains = [DomId::DOM0, guest].map(|domid| domain(&sim, domid));
    sim.with(|world: &mut World| {
        let file = world.open(DomId::DOM0).unwrap();
        Noticed {
            static_bind: world.ioctl(file, abi::BIND_STATIC, abi::Arg::Bad),
            with_unknown_domain: world.ioctl(file, abi::BIND_UNBOUND_PORT, 1234),
            written: world.write(file, &vec![0; 1 << 17]),
            device: world.device_number(DomId::DOM0),
            domains,
        }
    })
}

/// The name of a fact, and a way to change it.
type Swap = (&'static str, fn(&mut Platform));

/// A way to change each fact, named as in [`Platform::facts`].
fn swaps() -> Vec<Swap> {
    fn other<T: PartialEq>(datum: &mut Datum<T>, ways: [T; 2]) {
        let [one, two] = ways;
        datum.value = if datum.value == one { two } else { one };
    }
    fn abi(datum: &mut Datum<Abi>) {
        other(datum, [Abi::Fifo, Abi::TwoLevel]);
    }
    fn virqs(datum: &mut Datum<&'static [Virq]>) {
        other(datum, [&[Virq::TBUF], &[]]);
    }
    fn calls(datum: &mut Datum<Hypercalls>) {
        other(datum, [Hypercalls::Made, Hypercalls::Refused]);
    }
    vec![
        ("access policy", |it| {
            other(&mut it.policy, [Policy::Dummy, Policy::Silo]);
        }),
        ("page size", |it| it.page_size.value = 1 << 16),
        ("BIND_STATIC", |it| {
            other(&mut it.bind_static, [true, false]);
        }),
        ("device minor", |it| it.device_minor.value += 1),
        ("dom0: ABI", |it| abi(&mut it.dom0.abi)),
        ("dom0: port for xenstored", |it| {
            other(&mut it.dom0.store_port, [true, false]);
        }),
        ("dom0: VIRQs", |it| virqs(&mut it.dom0.virqs)),
        ("dom0: other ports", |it| it.dom0.other_ports.value += 1),
        ("dom0: hypercalls", |it| calls(&mut it.dom0.hypercalls)),
        ("guest: ABI", |it| abi(&mut it.guest.abi)),
        ("guest: port for xenstored", |it| {
            other(&mut it.guest.store_port, [true, false]);
        }),
        ("guest: VIRQs", |it| virqs(&mut it.guest.virqs)),
        ("guest: other ports", |it| it.guest.other_ports.value += 1),
        ("guest: hypercalls", |it| calls(&mut it.guest.hypercalls)),
    ]
}

#[test]
fn each_fact_that_is_swapped_alone_is_noticed_on_every_platform() {
    for platform in Platform::ALL {
        let before = noticed(platform);
        for (name, swap) in swaps() {
            let mut other = *platform;
            swap(&mut other);
            assert_ne!(noticed(&other), before, "{name} of {}", platform.name);
        }
    }
}

#[test]
fn every_fact_has_a_swap_and_a_source() {
    let named: Vec<_> = swaps().into_iter().map(|(name, _)| name).collect();
    for platform in Platform::ALL {
        let facts = platform.facts();
        let names: Vec<_> = facts.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, named, "{}", platform.name);
        for (name, fact) in facts {
            assert!(!fact.source.is_empty(), "{name} of {}", platform.name);
        }
    }
}

#[test]
fn the_default_is_linux_6_1_on_xen_4_17() {
    let [first, ..] = Platform::ALL else {
        panic!("there is no platform");
    };
    assert_eq!(*first, Platform::LINUX_6_1_ON_XEN_4_17);
    let (made, seeded) = (first.config(3), Config::seeded(3));
    assert_eq!(format!("{made:?}"), format!("{seeded:?}"));
}

#[test]
fn a_platform_is_found_by_its_name_and_by_no_other() {
    for platform in Platform::ALL {
        assert_eq!(Platform::named(platform.name), Some(platform));
        let versions = format!("linux-{}-xen-{}", platform.linux, platform.xen);
        assert!(platform.name.starts_with(&versions), "{}", platform.name);
    }
    assert_eq!(Platform::named("linux-2.6"), None);
    assert_eq!(Platform::named(""), None);
}

#[test]
fn the_first_port_of_a_program_is_the_one_that_was_seen() {
    for (platform, first) in [
        (Platform::LINUX_6_1_ON_XEN_4_17, 8),
        (Platform::LINUX_6_12_ON_XEN_4_20, 8),
        (Platform::LINUX_6_12_ON_XEN_4_20_PVH, 7),
    ] {
        let [_, guest] = noticed(&platform).domains;
        assert_eq!(guest.held.len() + 1, first, "{}", platform.name);
    }
}
