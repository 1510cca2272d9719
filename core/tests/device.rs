//! What can be done with a handle of an open device, and with a notifier after its device failed.

use evtchn_core::{Cause, Device, DomId, ErrorKind, EventChannel, Open, Port};

use crate::support::{Fake, Tester};

/// A device of another type.
#[derive(Debug)]
struct Other;

macro_rules! refused {
    ($($name:ident($($argument:ty),*) -> $answer:ty;)*) => {
        $(fn $name(&self, $(_: $argument),*) -> Result<$answer, evtchn_core::DeviceError> {
            unreachable!("no test calls it")
        })*
    };
}

impl EventChannel for Other {
    refused! {
        bind_unbound_port(DomId) -> Port;
        bind_interdomain(evtchn_core::RemotePort) -> Port;
        bind_virq(evtchn_core::Virq) -> Port;
        bind_static(Port) -> ();
        unbind(Port) -> ();
        notify(Port) -> ();
        pending(&mut evtchn_core::PortBuf) -> ();
        unmask(&[Port]) -> usize;
        reset() -> ();
        restrict(DomId) -> ();
    }

    fn is_inherited(&self) -> bool {
        false
    }
}

#[test]
fn a_device_comes_back_as_its_own_type_to_its_last_handle_alone() {
    let tester = Tester::new();
    let device = Device::new(tester.opener().open().unwrap());
    let device = device.into_inner::<Other>().unwrap_err();
    let other = device.clone();
    let device = device.into_inner::<Fake>().unwrap_err();
    drop(other);
    drop(device.into_inner::<Fake>().unwrap());
    assert_eq!(tester.log(), ["open", "close"]);
}

#[test]
fn a_handle_in_a_dump_shows_its_device() {
    assert_eq!(format!("{:?}", Device::new(Other)), "Device(Other)");
}

#[test]
fn a_notifier_notifies_until_its_device_fails() {
    let tester = Tester::new();
    let ctx = tester.context();
    let channel = ctx.bind_unbound_port(DomId::new(7)).unwrap();
    let notifier = channel.notifier();
    notifier.notify().unwrap();
    tester.fail("read", ErrorKind::Gone);
    channel.wait().unwrap();
    let mut round = ctx.dispatch().unwrap();
    assert_eq!(round.next().map(|wake| wake.cause), Some(Cause::Gone));
    round.finish().unwrap_err();
    tester.log();
    notifier.notify().unwrap_err();
    assert!(tester.log().is_empty());
}
