//! Devices, loops and tables that a program wraps or takes apart.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use evtchn::poll::PollLoop;
use evtchn::sim::{Sim, SimDevice, SimLoop, SimOpen};
use evtchn::{
    Cause, Context, Device, DeviceError, DomId, Driver, Error, EventChannel, LoopError, Open,
    OwnTime, Parts, Port, PortBuf, Registrar, RemotePort, Trigger, Virq, WakeTargets,
};

use super::{bind_peer, machine};

/// A device that counts the notifies of another.
#[derive(Debug)]
struct Counted<D> {
    device: D,
    notifies: Arc<AtomicUsize>,
}

impl<D: EventChannel> EventChannel for Counted<D> {
    fn bind_unbound_port(&self, remote: DomId) -> Result<Port, DeviceError> {
        self.device.bind_unbound_port(remote)
    }

    fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, DeviceError> {
        self.device.bind_interdomain(remote)
    }

    fn bind_virq(&self, virq: Virq) -> Result<Port, DeviceError> {
        self.device.bind_virq(virq)
    }

    fn bind_static(&self, port: Port) -> Result<(), DeviceError> {
        self.device.bind_static(port)
    }

    fn unbind(&self, port: Port) -> Result<(), DeviceError> {
        self.device.unbind(port)
    }

    fn notify(&self, port: Port) -> Result<(), DeviceError> {
        self.notifies.fetch_add(1, Ordering::Relaxed);
        self.device.notify(port)
    }

    fn pending(&self, buf: &mut PortBuf) -> Result<(), DeviceError> {
        self.device.pending(buf)
    }

    fn unmask(&self, ports: &[Port]) -> Result<usize, DeviceError> {
        self.device.unmask(ports)
    }

    fn reset(&self) -> Result<(), DeviceError> {
        self.device.reset()
    }

    fn restrict(&self, domid: DomId) -> Result<(), DeviceError> {
        self.device.restrict(domid)
    }

    fn is_inherited(&self) -> bool {
        self.device.is_inherited()
    }

    fn inner(&self) -> Option<&dyn EventChannel> {
        Some(&self.device)
    }

    fn is_resumed(&self) -> bool {
        self.device.is_resumed()
    }

    fn own_time(&self) -> Option<&dyn OwnTime> {
        self.device.own_time()
    }

    fn fd(&self) -> Result<BorrowedFd<'_>, DeviceError> {
        self.device.fd()
    }
}

struct Counting {
    opener: SimOpen,
    notifies: Arc<AtomicUsize>,
}

impl Open for Counting {
    type Device = Counted<SimDevice>;

    fn open(&self) -> Result<Counted<SimDevice>, DeviceError> {
        Ok(Counted {
            device: self.opener.open()?,
            notifies: Arc::clone(&self.notifies),
        })
    }

    fn process(&self) -> u64 {
        self.opener.process()
    }
}

/// A loop that counts the registrations of another.
#[derive(Debug)]
struct Observed<R> {
    event_loop: R,
    registrations: AtomicUsize,
}

impl<R: Registrar> Registrar for Observed<R> {
    fn attach(&self, driver: Driver) {
        self.event_loop.attach(driver);
    }

    fn trigger(&self) -> Trigger {
        self.event_loop.trigger()
    }

    fn register(&self, device: &Device) -> Result<(), LoopError> {
        self.registrations.fetch_add(1, Ordering::Relaxed);
        self.event_loop.register(device)
    }

    fn deregister(&self, device: &Device) -> Result<(), LoopError> {
        self.event_loop.deregister(device)
    }

    fn wake(&self) {
        self.event_loop.wake();
    }

    fn wake_only(&self, targets: WakeTargets<'_>) {
        self.event_loop.wake_only(targets);
    }
}

/// Three waits, each with its wake.
fn drive_three<R: Registrar>(event_loop: R) {
    let sim = Sim::new(1);
    let notifies = Arc::new(AtomicUsize::new(0));
    let opener = Counting {
        opener: sim.open(DomId::DOM0),
        notifies: Arc::clone(&notifies),
    };
    let observed = Observed {
        event_loop,
        registrations: AtomicUsize::new(0),
    };
    let ctx = Context::with_registrar(opener, observed);
    let near = ctx.bind_unbound_port(DomId::SELF).unwrap();
    let remote = (DomId::SELF, near.port()).into();
    let far = ctx.bind_interdomain(remote).unwrap();
    for _ in 0..3 {
        near.wait().unwrap();
        far.notify().unwrap();
        assert_eq!(ctx.dispatch().unwrap().count(), 1);
    }
    assert_eq!(notifies.load(Ordering::Relaxed), 3);
    assert_eq!(ctx.registrar().registrations.load(Ordering::Relaxed), 3);
}

/// The loop knows the device inside by its type, or by its descriptor.
#[test]
fn a_device_and_a_loop_are_wrapped() {
    drive_three(SimLoop::level());
    drive_three(SimLoop::edge());
    drive_three(PollLoop::new().unwrap());
}

#[test]
fn channels_that_were_handed_over_are_not_bound_here() {
    let (sim, guest) = machine();
    let ctx = Context::with_registrar(sim.open(DomId::DOM0), SimLoop::level());
    let bind = |_| ctx.bind_unbound_port(guest.domid()).unwrap();
    let mut channels: Vec<_> = (0..2).map(bind).collect();
    let peer_port = bind_peer(&guest, &channels[0]);
    let Parts { device, table } = ctx.hand_over(&mut channels).unwrap();
    for channel in &channels {
        let refused = [
            channel.notify(),
            channel.wait(),
            channel.notifier().notify(),
        ];
        for refused in refused {
            assert!(matches!(refused, Err(Error::NotBound(id)) if id == channel.id()));
        }
    }
    let text = table.to_v1();
    let parts = Parts {
        device,
        table: text.parse().unwrap(),
    };
    let opener = sim.open(DomId::DOM0);
    let (next, adopted) = Context::from_parts(parts, opener, SimLoop::level());
    // What is left of the first owner closes nothing.
    drop((channels, ctx));
    let ports: Vec<_> = adopted.iter().map(evtchn::Channel::port).collect();
    assert_eq!(ports, table.ports());
    adopted[0].wait().unwrap();
    guest.send(peer_port).unwrap();
    let causes: Vec<_> = next.dispatch().unwrap().map(|it| it.cause).collect();
    assert_eq!(causes, [Cause::Adopted]);
}
