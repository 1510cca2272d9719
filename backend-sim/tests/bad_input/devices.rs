//! Calls on the simulated device and on its event loop.

use evtchn_core::{DomId, EventChannel, Open, Port, PortBuf, Registrar, RemotePort, Virq};
use evtchn_sim::Errno;

use super::rig::*;

pub(crate) const DEVICES: &[Row] = &[
    ("open in an unknown domain", Errno::ENOENT, |rig| {
        of_device(rig.sim.open(UNKNOWN).open())
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
    ("bind to an unknown domain", Errno::ESRCH, |rig| {
        let domid = UNKNOWN;
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
];
