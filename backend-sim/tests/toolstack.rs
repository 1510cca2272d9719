//! What the toolstack and Xen do to a domain, seen from a file in domain 0.
#![expect(clippy::unwrap_used, reason = "a test ends by panicking")]

use evtchn_core::{DomId, Status, Virq};
use evtchn_sim::abi::{self, PollBits};
use evtchn_sim::{Config, DomainConfig, Errno, FileId, World};

const DOM0: DomId = DomId::DOM0;
const SELF: u32 = 0x7ff0;

/// Domain 0 with an open file, a guest, and a port of the file connected to one of the guest.
struct Bench {
    world: World,
    file: FileId,
    guest: DomId,
    ours: u32,
    theirs: u32,
}

impl Bench {
    fn new() -> Bench {
        let mut world = World::new(Config::seeded(1));
        let file = world.open(DOM0).unwrap();
        let guest = world.create_domain(None, &DomainConfig::guest()).unwrap();
        let remote = u32::from(guest.as_raw());
        let ours = world.ioctl(file, abi::BIND_UNBOUND_PORT, remote).unwrap();
        let theirs = world.kernel_bind_interdomain(guest, DOM0, ours).unwrap();
        Bench {
            world,
            file,
            guest,
            ours,
            theirs,
        }
    }

    fn notify(&mut self) {
        let notified = self.world.ioctl(self.file, abi::NOTIFY, self.ours);
        assert_eq!(notified, Ok(0));
    }

    /// How many events the guest has handled, that of its bind among them.
    fn handled(&mut self) -> u32 {
        self.world.kernel_events(self.guest, self.theirs).unwrap()
    }

    fn read(&mut self) -> Result<u32, Errno> {
        let mut bytes = [0; 4];
        self.world.read(self.file, &mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn status(&self) -> Status {
        let status = self.world.status(DOM0, DomId::SELF, self.ours);
        status.unwrap().state
    }
}

#[test]
fn a_paused_guest_handles_what_came_meanwhile_as_one_event() {
    let mut bench = Bench::new();
    bench.notify();
    assert_eq!(bench.handled(), 2);
    bench.world.pause_domain(bench.guest).unwrap();
    bench.notify();
    bench.notify();
    assert_eq!((bench.handled(), bench.world.held()), (2, 0));
    bench.world.unpause_domain(bench.guest).unwrap();
    assert_eq!(bench.handled(), 3);
}

#[test]
fn the_file_of_a_paused_domain_becomes_readable_when_it_runs_again() {
    let mut bench = Bench::new();
    let (guest, world) = (bench.guest, &mut bench.world);
    let file = world.open(guest).unwrap();
    let waiting = world.ioctl(file, abi::BIND_UNBOUND_PORT, 0).unwrap();
    let remote = u32::from(guest.as_raw());
    let args = [remote, waiting];
    let ours = world
        .ioctl(bench.file, abi::BIND_INTERDOMAIN, args)
        .unwrap();
    world.pause_domain(guest).unwrap();
    world.ioctl(bench.file, abi::NOTIFY, ours).unwrap();
    assert_eq!(world.poll(file), Ok(PollBits::WRITABLE));
    world.unpause_domain(guest).unwrap();
    assert_eq!(world.poll(file), Ok(PollBits::READABLE));
}

#[test]
fn a_shutdown_raises_dom_exc_and_nothing_else() {
    let mut bench = Bench::new();
    let exc = bench
        .world
        .ioctl(bench.file, abi::BIND_VIRQ, Virq::DOM_EXC.as_raw());
    bench.world.shut_down_domain(bench.guest).unwrap();
    assert_eq!(bench.read(), exc);
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
    bench.notify();
    assert_eq!(bench.handled(), 1, "none of its vCPUs runs");
    assert!(matches!(bench.status(), Status::Interdomain { .. }));
    bench.world.destroy_domain(bench.guest).unwrap();
    let remote = bench.guest;
    assert_eq!(bench.status(), Status::Unbound { remote });
}

#[test]
fn a_reset_of_a_paused_guest_half_closes_our_port_and_sends_no_event() {
    let mut bench = Bench::new();
    let running = bench.world.reset_ports(DOM0, bench.guest);
    assert_eq!(running, Err(Errno::EINVAL));
    bench.world.pause_domain(bench.guest).unwrap();
    bench.world.reset_ports(DOM0, bench.guest).unwrap();
    let remote = bench.guest;
    assert_eq!(bench.status(), Status::Unbound { remote });
    assert_eq!(bench.read(), Err(Errno::EAGAIN));
    bench.notify();
}

#[test]
fn a_device_model_notifies_xen_through_its_device() {
    let mut bench = Bench::new();
    let xens = bench.world.alloc_for_xen(bench.guest, DOM0).unwrap();
    let args = [u32::from(bench.guest.as_raw()), xens];
    let ours = bench.world.ioctl(bench.file, abi::BIND_INTERDOMAIN, args);
    let ours = ours.unwrap();
    assert_eq!(bench.read(), Ok(ours));
    for _ in 0..3 {
        bench.world.ioctl(bench.file, abi::NOTIFY, ours).unwrap();
    }
    assert_eq!(bench.world.xen_events(bench.guest, xens), Ok(3));
    let asked = bench.world.status(bench.guest, DomId::SELF, xens);
    assert_eq!(asked, Err(Errno::EACCES), "Xen 4.17 does not say");
    assert!(bench.world.dump().contains(" xen"));
}

#[test]
fn a_port_that_the_toolstack_allocates_in_a_guest_can_be_bound_to() {
    let mut bench = Bench::new();
    let port = bench.world.alloc_unbound(DOM0, bench.guest, DomId::SELF);
    let args = [u32::from(bench.guest.as_raw()), port.unwrap()];
    let bound = bench.world.ioctl(bench.file, abi::BIND_INTERDOMAIN, args);
    assert_eq!(bench.read(), bound);
}

#[test]
fn a_kernel_that_boots_after_a_reset_has_the_ports_of_its_abi_again() {
    let mut bench = Bench::new();
    bench.world.kexec_domain(DOM0).unwrap();
    let file = bench.world.open(DOM0).unwrap();
    let mut bind = || bench.world.ioctl(file, abi::BIND_UNBOUND_PORT, SELF);
    while bind().unwrap() < 4096 {}
    assert!(bind().is_ok());
}

#[test]
fn a_physical_interrupt_is_an_event_of_the_kernel_that_bound_it() {
    let mut bench = Bench::new();
    let port = bench.world.kernel_bind_pirq(DOM0, 9).unwrap();
    bench.world.raise_pirq(DOM0, 9).unwrap();
    bench.world.raise_pirq(DOM0, 9).unwrap();
    assert_eq!(bench.world.kernel_events(DOM0, port), Ok(2));
    let status = bench.world.status(DOM0, DomId::SELF, port).unwrap();
    assert_eq!(status.state, Status::Pirq { pirq: 9 });
    assert_eq!(status.state.to_string(), "pirq 9");
}

#[test]
fn events_of_a_port_go_to_the_vcpu_that_its_kernel_chose() {
    let mut config = Config::seeded(1);
    config.dom0.vcpus = 2;
    let mut world = World::new(config);
    let file = world.open(DOM0).unwrap();
    let port = world.ioctl(file, abi::BIND_UNBOUND_PORT, SELF).unwrap();
    let vcpu_of = |world: &World| world.status(DOM0, DomId::SELF, port).unwrap().vcpu;
    assert_eq!(vcpu_of(&world), 0);
    world.kernel_bind_vcpu(DOM0, port, 1).unwrap();
    assert_eq!(vcpu_of(&world), 1);
    let moved = world.kernel_bind_vcpu(DOM0, port, 2);
    assert_eq!(moved, Err(Errno::ENOENT));
}

#[test]
fn every_act_on_a_domain_is_in_the_digest() {
    let run = |act: fn(&mut Bench) -> bool| {
        let mut bench = Bench::new();
        assert!(act(&mut bench));
        bench.world.digest()
    };
    let digests = [
        run(|_| true),
        run(|b| b.world.pause_domain(b.guest).is_ok()),
        run(|b| b.world.shut_down_domain(b.guest).is_ok()),
        run(|b| b.world.reset_ports(b.guest, DomId::SELF).is_ok()),
        run(|b| b.world.alloc_unbound(DOM0, b.guest, DOM0).is_ok()),
        run(|b| b.world.raise_pirq(DOM0, 3).is_ok()),
        run(|b| b.world.kernel_bind_pirq(DOM0, 3).is_ok()),
        run(|b| b.world.kernel_unmask(DOM0, b.ours).is_ok()),
        run(|b| b.world.kernel_bind_vcpu(DOM0, b.ours, 0).is_ok()),
        run(|b| b.world.set_nonblocking(b.file, false).is_ok()),
        run(|b| b.world.set_nonblocking(b.file, true).is_ok()),
        run(|b| b.world.read_blocking(b.file, 4).is_ok()),
        run(|b| b.world.read_blocking(b.file, 3).is_ok()),
    ];
    for (index, digest) in digests.iter().enumerate() {
        assert!(!digests[..index].contains(digest), "number {index}");
    }
}
