//! Extreme arguments that are no errors.

use std::time::Duration;

use evtchn_core::{Device, Port, PortBuf, Registrar, Virq};
use evtchn_sim::{Call, Config, Delivery, DomainConfig, Errno, World, XenVersion};

use super::rig::*;

/// A name, and the call, which returns whether what must hold does hold.
pub(crate) type Harmless = (&'static str, fn(&Rig) -> bool);

pub(crate) const HARMLESS: &[Harmless] = &[
    ("all time passes", |rig| {
        rig.sim.after(Duration::MAX, |_| {});
        rig.sim.advance(Duration::MAX);
        rig.sim.advance(Duration::MAX);
        rig.sim.now() == Duration::MAX
    }),
    ("a choice of none", |rig| {
        rig.sim.with(|w| w.choice().of(0)) == 0
    }),
    ("a step of nothing", |rig| !rig.sim.step()),
    ("a fault for the last call", |rig| {
        rig.opener.fail_nth(Call::Notify, u64::MAX, Errno::EIO);
        rig.device.reset().is_ok() && rig.opener.faults_left() == 1
    }),
    ("a fault for the call before the first", |rig| {
        rig.opener.fail_nth(Call::Reset, 0, Errno::EIO);
        of_device(rig.device.reset()) == Some(Errno::EIO)
    }),
    ("a write of no port", |rig| {
        rig.opener.shorten_next(Call::Unmask, 0);
        rig.device.unmask(&[Port::MAX]) == Ok(0)
    }),
    ("a read of no port", |rig| {
        rig.opener.shorten_next(Call::Pending, 0);
        let mut buf = PortBuf::with_capacity(usize::MAX);
        rig.device.pending(&mut buf).is_ok() && buf.words().is_empty()
    }),
    ("a write of more than a page", |rig| {
        rig.device.unmask(&vec![Port::MAX; 5000]) == Ok(1024)
    }),
    ("a blocking read of everything", |rig| {
        let end = rig.sim.with(|w| {
            let read = w.read_blocking(rig.file(), usize::MAX).unwrap();
            w.end_of_read(read)
        });
        end == Some(Err(Errno::EAGAIN))
    }),
    ("a domain without a port", |rig| {
        let mut config = DomainConfig::guest();
        config.max_port = 0;
        config.kernel_ipis = 5;
        config.kernel_virqs = vec![Virq::TIMER, Virq::new(u32::MAX)];
        let domid = rig.sim.create_domain_with(None, &config).unwrap();
        say(rig.sim.guest(domid).alloc_unbound(DOM0)) == Some(Errno::ENOSPC)
    }),
    ("a domain with every port", |rig| {
        let mut config = DomainConfig::guest();
        config.max_port = u32::MAX;
        config.device_model_of = Some(UNKNOWN);
        config.pirqs = vec![u32::MAX];
        rig.sim.create_domain_with(None, &config).is_ok()
    }),
    ("a delivery that is set twice", |rig| {
        rig.sim.set_delivery(Delivery::Held);
        rig.sim.set_delivery(Delivery::Held);
        rig.sim.held() == 0
    }),
    ("a descriptor of a device in overflow", |rig| {
        rig.opener.overflow().unwrap();
        rig.device.fd().is_ok() && rig.opener.overflow().is_ok()
    }),
    ("a registered device of a dead domain", |rig| {
        let orphan = Device::new(orphan(rig));
        rig.event_loop.register(&orphan).unwrap();
        !rig.event_loop.ready() && !rig.event_loop.is_registered()
    }),
    ("names of an unknown domain", |rig| {
        let remote = unknown_guest(rig).remote(Port::MAX);
        remote.domid == UNKNOWN && rig.sim.open(UNKNOWN).domid() == UNKNOWN
    }),
    ("a machine of the oldest Xen", |_| {
        let mut config = Config::seeded(u64::MAX);
        config.xen = XenVersion(0, 0);
        World::new(config).open(DOM0).is_ok()
    }),
];
