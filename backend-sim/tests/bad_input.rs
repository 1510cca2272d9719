//! Every wrong value in every call of the simulator: a typed error, and nothing changed. One table
//! lists them all.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends by panicking, and so do its helpers"
)]

use std::fmt::Debug;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use evtchn_core::{DomId, EventChannel, Open, Port, PortBuf, Registrar, RemotePort, Virq};
use evtchn_sim::abi::{self, Access, Arg};
use evtchn_sim::{
    Call, Config, Delivery, DomainConfig, Errno, FileId, Guest, ReaderId, Sim, SimDevice, SimLoop,
    SimOpen, World,
};

/// A domain that does not exist.
const NOBODY: DomId = DomId::new(1234);
/// An id that no domain can have.
const RESERVED: DomId = DomId::new(0x7ff1);
const DOM0: DomId = DomId::DOM0;
const SELF: DomId = DomId::SELF;
/// Valid in no domain of these tests.
const BEYOND: u32 = 60_000;

struct Rig {
    sim: Sim,
    guest: Guest,
    opener: SimOpen,
    device: SimDevice,
    event_loop: SimLoop,
    /// Files that no call reaches: closed, of a dead domain, of another machine.
    gone: [FileId; 3],
    /// A read that was over and told.
    told: ReaderId,
}

impl Rig {
    fn new() -> Rig {
        let sim = Sim::new(1);
        let dead = sim.create_domain().unwrap();
        let guest = sim.guest(sim.create_domain().unwrap());
        let other = Sim::new(1).with(|world| world.open(DOM0).unwrap());
        let (gone, told) = sim.with(|world| {
            let closed = world.open(DOM0).unwrap();
            let told = world.read_blocking(closed, 0).unwrap();
            assert_eq!(world.end_of_read(told), Some(Ok(vec![])));
            world.close(closed).unwrap();
            let of_dead = world.open(dead).unwrap();
            world.destroy_domain(dead).unwrap();
            ([closed, of_dead, other], told)
        });
        let opener = sim.open(DOM0);
        let device = opener.open().unwrap();
        Rig {
            guest,
            opener,
            device,
            event_loop: SimLoop::level(),
            gone,
            told,
            sim,
        }
    }

    fn world<T>(&self, act: impl FnOnce(&mut World) -> Result<T, Errno>) -> Answer {
        say(self.sim.with(act))
    }

    /// The answer of a call on each of the files that are gone, which is the same.
    fn gone<T>(&self, mut act: impl FnMut(&mut World, FileId) -> Result<T, Errno>) -> Answer {
        let answers = self
            .gone
            .map(|file| say(self.sim.with(|world| act(world, file))));
        assert_eq!(answers, [answers[0]; 3]);
        answers[0]
    }
}

/// The errno of a refusal, or nothing.
type Answer = Option<Errno>;

fn say<T>(answer: Result<T, Errno>) -> Answer {
    answer.err()
}

fn of_device<T>(answer: Result<T, evtchn_sim::Error>) -> Answer {
    answer.err().map(|error| error.errno)
}

fn port(raw: u32) -> Port {
    Port::new(raw).unwrap()
}

/// The call with its bad value, the errno it must give, and the call itself.
type Row = (&'static str, Errno, fn(&Rig) -> Answer);

const FILES: &[Row] = &[
    ("open for nobody", Errno::ENOENT, |rig| {
        rig.world(|w| w.open(NOBODY))
    }),
    ("open for a reserved id", Errno::ENOENT, |rig| {
        rig.world(|w| w.open(RESERVED))
    }),
    ("open for SELF", Errno::ENOENT, |rig| {
        rig.world(|w| w.open(SELF))
    }),
    ("open_with for nobody", Errno::ENOENT, |rig| {
        rig.world(|w| w.open_with(NOBODY, Access::ReadOnly, false))
    }),
    ("dup", Errno::EBADF, |rig| rig.gone(World::dup)),
    ("close", Errno::EBADF, |rig| rig.gone(World::close)),
    ("ioctl", Errno::EBADF, |rig| {
        rig.gone(|w, f| w.ioctl(f, abi::RESET, 0))
    }),
    ("ioctl of no request", Errno::EBADF, |rig| {
        rig.gone(|w, f| w.ioctl(f, 0, Arg::Bad))
    }),
    ("read", Errno::EBADF, |rig| {
        rig.gone(|w, f| w.read(f, &mut [0; 4]))
    }),
    ("read_bad", Errno::EBADF, |rig| {
        rig.gone(|w, f| w.read_bad(f, usize::MAX))
    }),
    ("read_blocking", Errno::EBADF, |rig| {
        rig.gone(|w, f| w.read_blocking(f, 4))
    }),
    ("write", Errno::EBADF, |rig| {
        rig.gone(|w, f| w.write(f, &[0; 4]))
    }),
    ("write_bad", Errno::EBADF, |rig| {
        rig.gone(|w, f| w.write_bad(f, usize::MAX))
    }),
    ("poll", Errno::EBADF, |rig| rig.gone(|w, f| w.poll(f))),
    ("wakes", Errno::EBADF, |rig| rig.gone(|w, f| w.wakes(f))),
    ("signals", Errno::EBADF, |rig| rig.gone(|w, f| w.signals(f))),
    ("overflow", Errno::EBADF, |rig| rig.gone(World::overflow)),
    ("set_nonblocking", Errno::EBADF, |rig| {
        rig.gone(|w, f| w.set_nonblocking(f, true))
    }),
    ("seek", Errno::EBADF, |rig| rig.gone(|w, f| w.seek(f))),
    ("at_offset", Errno::EBADF, |rig| {
        rig.gone(|w, f| w.at_offset(f, i64::MAX))
    }),
    ("at_offset below 0", Errno::EINVAL, |rig| {
        rig.gone(|w, f| w.at_offset(f, i64::MIN))
    }),
    ("map", Errno::EBADF, |rig| rig.gone(|w, f| w.map(f))),
    ("signal", Errno::ESRCH, |rig| {
        rig.world(|w| w.signal(rig.told))
    }),
    ("signal_restarting", Errno::ESRCH, |rig| {
        rig.world(|w| w.signal_restarting(rig.told))
    }),
    ("end_of_read", Errno::EBADF, |rig| {
        rig.world(|w| w.end_of_read(rig.told).unwrap())
    }),
    ("an unknown request", Errno::ENOSYS, |rig| {
        rig.world(|w| w.ioctl(rig.device.file(), u32::MAX, u32::MAX))
    }),
    ("a bad pointer", Errno::EFAULT, |rig| {
        rig.world(|w| w.ioctl(rig.device.file(), abi::NOTIFY, Arg::Bad))
    }),
    ("a huge read of nothing", Errno::EAGAIN, |rig| {
        rig.world(|w| w.read_bad(rig.device.file(), usize::MAX))
    }),
    ("a huge write of nothing", Errno::EFAULT, |rig| {
        rig.world(|w| w.write_bad(rig.device.file(), usize::MAX))
    }),
];

const DOMAINS: &[Row] = &[
    ("create an id in use", Errno::EEXIST, |rig| {
        say(rig.sim.create_domain_with_id(DOM0))
    }),
    ("create a reserved id", Errno::EINVAL, |rig| {
        say(rig.sim.create_domain_with_id(RESERVED))
    }),
    ("create without a vCPU", Errno::EINVAL, |rig| {
        create(rig, |c| c.vcpus = 0)
    }),
    ("create with all vCPUs", Errno::EINVAL, |rig| {
        create(rig, |c| c.vcpus = u32::MAX)
    }),
    ("destroy nobody", Errno::ESRCH, |rig| {
        say(rig.sim.destroy_domain(NOBODY))
    }),
    ("destroy domain 0", Errno::EINVAL, |rig| {
        say(rig.sim.destroy_domain(DOM0))
    }),
    ("kill nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.kill_domain(NOBODY))
    }),
    ("kill a reserved id", Errno::ESRCH, |rig| {
        rig.world(|w| w.kill_domain(RESERVED))
    }),
    ("kill SELF", Errno::ESRCH, |rig| {
        rig.world(|w| w.kill_domain(SELF))
    }),
    ("remove nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.remove_domain(NOBODY))
    }),
    ("remove a live one", Errno::EBUSY, |rig| {
        rig.world(|w| w.remove_domain(DOM0))
    }),
    ("kexec of nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.kexec_domain(NOBODY))
    }),
    ("pause nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.pause_domain(NOBODY))
    }),
    ("unpause nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.unpause_domain(NOBODY))
    }),
    ("unpause one that runs", Errno::EINVAL, |rig| {
        rig.world(|w| w.unpause_domain(DOM0))
    }),
    ("shut down nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.shut_down_domain(NOBODY))
    }),
    ("shut down domain 0", Errno::EINVAL, |rig| {
        rig.world(|w| w.shut_down_domain(DOM0))
    }),
    ("reset nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.reset_ports(DOM0, NOBODY))
    }),
    ("reset by nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.reset_ports(NOBODY, SELF))
    }),
    ("reset by a guest", Errno::EPERM, |rig| {
        rig.world(|w| w.reset_ports(rig.guest.domid(), DOM0))
    }),
    ("reset one that runs", Errno::EINVAL, |rig| {
        rig.world(|w| w.reset_ports(DOM0, rig.guest.domid()))
    }),
    ("alloc in nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.alloc_unbound(DOM0, NOBODY, DOM0))
    }),
    ("alloc by a guest", Errno::EPERM, |rig| {
        rig.world(|w| w.alloc_unbound(rig.guest.domid(), DOM0, DOM0))
    }),
    ("alloc by nobody", Errno::EPERM, |rig| {
        rig.world(|w| w.alloc_unbound(NOBODY, DOM0, DOM0))
    }),
    ("alloc for Xen in nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.alloc_for_xen(NOBODY, DOM0))
    }),
    ("Xen's events in nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.xen_events(NOBODY, 1))
    }),
    ("Xen's events of a kernel's port", Errno::EINVAL, |rig| {
        rig.world(|w| w.xen_events(DOM0, 1))
    }),
    ("Xen's events beyond", Errno::EINVAL, |rig| {
        rig.world(|w| w.xen_events(DOM0, u32::MAX))
    }),
    ("virq for nobody", Errno::ESRCH, |rig| {
        say(rig.sim.raise_virq(NOBODY, Virq::DOM_EXC))
    }),
    ("virq 24", Errno::EINVAL, |rig| {
        say(rig.sim.raise_virq(DOM0, Virq::new(24)))
    }),
    ("the largest virq", Errno::EINVAL, |rig| {
        say(rig.sim.raise_virq(DOM0, Virq::new(u32::MAX)))
    }),
    ("pirq for nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.raise_pirq(NOBODY, 1))
    }),
    ("the largest pirq", Errno::EINVAL, |rig| {
        rig.world(|w| w.raise_pirq(DOM0, u32::MAX))
    }),
    ("handler nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.set_virq_handler(NOBODY, Virq::DOM_EXC))
    }),
    ("handler of a vCPU's virq", Errno::EINVAL, |rig| {
        rig.world(|w| w.set_virq_handler(DOM0, Virq::DEBUG))
    }),
    ("handler of virq 2^32", Errno::EINVAL, |rig| {
        rig.world(|w| w.set_virq_handler(DOM0, Virq::new(u32::MAX)))
    }),
    ("connect nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.connect_static((DOM0, 500), (NOBODY, 500)))
    }),
    ("connect port 0", Errno::EBUSY, |rig| {
        rig.world(|w| w.connect_static((DOM0, 0), (DOM0, 500)))
    }),
    ("connect the largest port", Errno::ENOSPC, |rig| {
        rig.world(|w| w.connect_static((DOM0, 500), (DOM0, u32::MAX)))
    }),
    ("connect a port with itself", Errno::EBUSY, |rig| {
        rig.world(|w| w.connect_static((DOM0, 500), (DOM0, 500)))
    }),
    ("status in nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.status(DOM0, NOBODY, 1))
    }),
    ("status by nobody", Errno::EPERM, |rig| {
        rig.world(|w| w.status(NOBODY, DOM0, 1))
    }),
    ("status by a guest", Errno::EPERM, |rig| {
        rig.world(|w| w.status(rig.guest.domid(), DOM0, 1))
    }),
    ("status beyond", Errno::EINVAL, |rig| {
        rig.world(|w| w.status(DOM0, SELF, u32::MAX))
    }),
    ("status of SELF in nobody", Errno::ESRCH, |rig| {
        say(rig.sim.status(NOBODY, port(1)))
    }),
    ("vCPU of a port beyond", Errno::EINVAL, |rig| {
        rig.world(|w| w.notify_vcpu(DOM0, SELF, BEYOND))
    }),
];

const KERNELS: &[Row] = &[
    ("alloc of nobody", Errno::ESRCH, |rig| {
        say(nobody(rig).alloc_unbound(DOM0))
    }),
    ("bind of nobody", Errno::ESRCH, |rig| {
        say(nobody(rig).bind_interdomain(DOM0, port(1)))
    }),
    ("virq of nobody", Errno::ESRCH, |rig| {
        say(nobody(rig).bind_virq(Virq::DEBUG))
    }),
    ("send of nobody", Errno::ESRCH, |rig| {
        say(nobody(rig).send(port(1)))
    }),
    ("close of nobody", Errno::ESRCH, |rig| {
        say(nobody(rig).close(port(1)))
    }),
    ("events of nobody", Errno::ESRCH, |rig| {
        say(nobody(rig).events(port(1)))
    }),
    ("bind to nobody", Errno::ESRCH, |rig| {
        say(rig.guest.bind_interdomain(NOBODY, port(1)))
    }),
    ("bind to a kernel's port", Errno::EINVAL, |rig| {
        say(rig.guest.bind_interdomain(DOM0, port(1)))
    }),
    ("bind to the largest port", Errno::EINVAL, |rig| {
        say(rig.guest.bind_interdomain(DOM0, Port::MAX))
    }),
    ("bind to port 0", Errno::EINVAL, |rig| {
        rig.world(|w| w.kernel_bind_interdomain(DOM0, DOM0, 0))
    }),
    ("the largest virq", Errno::EINVAL, |rig| {
        say(rig.guest.bind_virq(Virq::new(u32::MAX)))
    }),
    ("send through a free port", Errno::EINVAL, |rig| {
        say(rig.guest.send(port(9)))
    }),
    ("send beyond", Errno::EINVAL, |rig| {
        say(rig.guest.send(Port::MAX))
    }),
    ("send through port 0", Errno::EINVAL, |rig| {
        rig.world(|w| w.kernel_send(DOM0, 0))
    }),
    ("close a free port", Errno::ENOTCONN, |rig| {
        say(rig.guest.close(port(9)))
    }),
    ("close beyond", Errno::ENOTCONN, |rig| {
        say(rig.guest.close(Port::MAX))
    }),
    ("close port 0", Errno::ENOTCONN, |rig| {
        rig.world(|w| w.kernel_close(DOM0, 0))
    }),
    ("events of a free port", Errno::ENOTCONN, |rig| {
        say(rig.guest.events(port(9)))
    }),
    ("the largest pirq", Errno::EINVAL, |rig| {
        rig.world(|w| w.kernel_bind_pirq(DOM0, u32::MAX))
    }),
    ("a pirq of a guest", Errno::EPERM, |rig| {
        rig.world(|w| w.kernel_bind_pirq(rig.guest.domid(), 1))
    }),
    ("move to no vCPU", Errno::ENOENT, |rig| {
        rig.world(|w| w.kernel_bind_vcpu(DOM0, 1, u32::MAX))
    }),
    ("move a port beyond", Errno::EINVAL, |rig| {
        rig.world(|w| w.kernel_bind_vcpu(DOM0, u32::MAX, 0))
    }),
    ("move in nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.kernel_bind_vcpu(NOBODY, 1, 0))
    }),
    ("unmask beyond", Errno::EINVAL, |rig| {
        rig.world(|w| w.kernel_unmask(DOM0, u32::MAX))
    }),
    ("unmask in nobody", Errno::ESRCH, |rig| {
        rig.world(|w| w.kernel_unmask(NOBODY, 1))
    }),
];

const DEVICES: &[Row] = &[
    ("open in nobody", Errno::ENOENT, |rig| {
        of_device(rig.sim.open(NOBODY).open())
    }),
    ("dup of what was not opened", Errno::EBADF, |rig| {
        of_device(rig.sim.open(DOM0).dup())
    }),
    ("overflow of what was not opened", Errno::EBADF, |rig| {
        say(rig.sim.open(DOM0).overflow())
    }),
    ("dup of a closed one", Errno::EBADF, |rig| {
        let opener = rig.sim.open(DOM0);
        drop(opener.open().unwrap());
        of_device(opener.dup())
    }),
    ("bind to nobody", Errno::ESRCH, |rig| {
        let domid = NOBODY;
        let remote = RemotePort {
            domid,
            port: Port::MAX,
        };
        of_device(rig.device.bind_interdomain(remote))
    }),
    ("the largest virq", Errno::EINVAL, |rig| {
        of_device(rig.device.bind_virq(Virq::new(u32::MAX)))
    }),
    ("a static port", Errno::ENOSYS, |rig| {
        of_device(rig.device.bind_static(Port::MAX))
    }),
    ("unbind the largest port", Errno::EINVAL, |rig| {
        of_device(rig.device.unbind(Port::MAX))
    }),
    ("unbind a kernel's port", Errno::ENOTCONN, |rig| {
        of_device(rig.device.unbind(port(1)))
    }),
    ("notify the largest port", Errno::ENOTCONN, |rig| {
        of_device(rig.device.notify(Port::MAX))
    }),
    ("restrict to domain 0", Errno::EINVAL, |rig| {
        of_device(rig.device.restrict(DOM0))
    }),
    ("restrict to a reserved id", Errno::EINVAL, |rig| {
        of_device(rig.device.restrict(RESERVED))
    }),
    ("deregister a stranger", Errno::ENOENT, |rig| {
        of_device(rig.event_loop.deregister(&rig.device))
    }),
    ("register twice", Errno::EEXIST, |rig| {
        rig.event_loop.register(&rig.device).unwrap();
        let again = of_device(rig.event_loop.register(&rig.device));
        rig.event_loop.deregister(&rig.device).unwrap();
        again
    }),
    ("a device of a dead domain", Errno::EBADF, |rig| {
        let device = orphan(rig);
        let mut buf = PortBuf::with_capacity(1);
        let all = [
            of_device(device.bind_virq(Virq::DEBUG)),
            of_device(device.bind_unbound_port(DOM0)),
            of_device(device.unbind(port(1))),
            of_device(device.notify(port(1))),
            of_device(device.pending(&mut buf)),
            of_device(device.unmask(&[port(1)])),
            of_device(device.reset()),
            of_device(device.restrict(DomId::new(5))),
            of_device(device.dup()),
            say(device.poll()),
            device
                .try_fd()
                .err()
                .and_then(|e| e.raw_os_error())
                .map(Errno::new),
        ];
        assert_eq!(all, [all[0]; 11]);
        all[0]
    }),
    ("register a device of a dead domain", Errno::EBADF, |rig| {
        of_device(rig.event_loop.register(&orphan(rig)))
    }),
];

fn create(rig: &Rig, change: impl FnOnce(&mut DomainConfig)) -> Answer {
    let mut config = DomainConfig::guest();
    change(&mut config);
    say(rig.sim.create_domain_with(None, &config))
}

fn nobody(rig: &Rig) -> Guest {
    rig.sim.guest(NOBODY)
}

/// A device whose domain is gone.
fn orphan(rig: &Rig) -> SimDevice {
    let domid = rig.sim.create_domain().unwrap();
    let device = rig.sim.open(domid).open().unwrap();
    rig.sim.destroy_domain(domid).unwrap();
    device
}

#[test]
fn every_bad_value_is_refused_with_its_errno_and_changes_no_port_or_file() {
    for &(what, errno, call) in [FILES, DOMAINS, KERNELS, DEVICES].into_iter().flatten() {
        let rig = Rig::new();
        let before = rig.sim.dump();
        let answer = catch_unwind(AssertUnwindSafe(|| call(&rig)));
        let Ok(answer) = answer else {
            panic!("{what}: it panics");
        };
        assert_eq!(answer, Some(errno), "{what}");
        assert_eq!(rig.sim.dump(), before, "{what}");
    }
}

/// Those that have nobody to refuse them, and what they come to.
type Harmless = (&'static str, fn(&Rig) -> String);

const HARMLESS: &[Harmless] = &[
    ("all time passes", |rig| {
        rig.sim.after(Duration::MAX, |_| {});
        rig.sim.advance(Duration::MAX);
        rig.sim.advance(Duration::MAX);
        text(rig.sim.now() == Duration::MAX)
    }),
    ("a choice of none", |rig| {
        text(rig.sim.with(|w| w.choice().of(0)) == 0)
    }),
    ("a step of nothing", |rig| text(!rig.sim.step())),
    ("a fault for the last call", |rig| {
        rig.opener.fail_nth(Call::Notify, u64::MAX, Errno::EIO);
        text(rig.device.reset().is_ok() && rig.opener.faults_left() == 1)
    }),
    ("a fault for the call before the first", |rig| {
        rig.opener.fail_nth(Call::Reset, 0, Errno::EIO);
        text(of_device(rig.device.reset()) == Some(Errno::EIO))
    }),
    ("a write of no port", |rig| {
        rig.opener.shorten_next(Call::Unmask, 0);
        text(rig.device.unmask(&[Port::MAX]) == Ok(0))
    }),
    ("a read of no port", |rig| {
        rig.opener.shorten_next(Call::Pending, 0);
        text(
            rig.device
                .pending(&mut PortBuf::with_capacity(usize::MAX))
                .is_ok(),
        )
    }),
    ("a write of more than a page", |rig| {
        text(rig.device.unmask(&vec![Port::MAX; 5000]) == Ok(1024))
    }),
    ("a blocking read of everything", |rig| {
        let end = rig.sim.with(|w| {
            let read = w.read_blocking(rig.device.file(), usize::MAX).unwrap();
            w.end_of_read(read)
        });
        text(end == Some(Err(Errno::EAGAIN)))
    }),
    ("a domain without a port", |rig| {
        let mut config = DomainConfig::guest();
        config.max_port = 0;
        config.kernel_ipis = 5;
        config.kernel_virqs = vec![Virq::TIMER, Virq::new(u32::MAX)];
        let domid = rig.sim.create_domain_with(None, &config).unwrap();
        text(say(rig.sim.guest(domid).alloc_unbound(DOM0)) == Some(Errno::ENOSPC))
    }),
    ("a domain with every port", |rig| {
        let mut config = DomainConfig::guest();
        config.max_port = u32::MAX;
        config.device_model_of = Some(NOBODY);
        config.pirqs = vec![u32::MAX];
        text(rig.sim.create_domain_with(None, &config).is_ok())
    }),
    ("a delivery that is set twice", |rig| {
        rig.sim.set_delivery(Delivery::Held);
        rig.sim.set_delivery(Delivery::Held);
        text(rig.sim.held() == 0)
    }),
    ("a descriptor of a device in overflow", |rig| {
        rig.opener.overflow().unwrap();
        let _ = rig.device.as_fd();
        text(rig.opener.overflow().is_ok())
    }),
    ("names of nobody", |rig| {
        let remote = nobody(rig).remote(Port::MAX);
        text(remote.domid == NOBODY && rig.sim.open(NOBODY).domid() == NOBODY)
    }),
    ("a machine of the oldest Xen", |_| {
        let mut config = Config::seeded(u64::MAX);
        config.xen = evtchn_sim::XenVersion(0, 0);
        text(World::new(config).open(DOM0).is_ok())
    }),
];

fn text(holds: impl Debug) -> String {
    format!("{holds:?}")
}

#[test]
fn what_nobody_refuses_is_harmless() {
    for &(what, call) in HARMLESS {
        let rig = Rig::new();
        let answer = catch_unwind(AssertUnwindSafe(|| call(&rig)));
        assert_eq!(answer.ok().as_deref(), Some("true"), "{what}");
    }
}
