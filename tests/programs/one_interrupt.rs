//! One virtual interrupt, on one thread.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::time::Duration;

use evtchn::poll::Context;
use evtchn::sim::{Call, Errno, Fault, Sim};
use evtchn::xen::XenOpen;
use evtchn::{Backend, Cause, DeviceCall, DeviceError, DomId, Error, ErrorKind, Virq};

/// The program. It ends only with an error.
fn watch(backend: impl Into<Backend>, mut printed: impl FnMut(Cause)) -> Result<(), Error> {
    let ctx = Context::new(backend)?;
    let console = ctx.bind_virq(Virq::CON_RING)?;
    loop {
        printed(console.block()?);
    }
}

const HOUR: Duration = Duration::from_secs(3600);

/// A machine on which Xen prints something after each of three hours.
fn machine() -> Sim {
    let sim = Sim::new(1);
    for hours in 1..=3 {
        sim.after(HOUR * hours, |world| {
            world.raise_virq(DomId::DOM0, Virq::CON_RING).unwrap();
        });
    }
    sim
}

#[test]
fn each_interrupt_ends_a_block_and_a_block_without_a_next_one_fails() {
    let sim = machine();
    let mut seen = Vec::new();
    let ended = watch(sim.backend(DomId::DOM0), |cause| {
        seen.push((cause, sim.now()));
    });
    assert_eq!(seen, [1, 2, 3].map(|hours| (Cause::Event, HOUR * hours)));
    assert!(matches!(ended, Err(Error::Sleep(_))), "{ended:?}");
    assert_eq!(sim.open_files(), 0);
}

#[test]
fn a_failed_device_ends_the_program_with_the_call_and_the_errno() {
    let sim = machine();
    sim.install(Fault::fail(Call::Pending, Errno::EIO).nth(2));
    let mut seen = 0;
    let error = watch(sim.backend(DomId::DOM0), |_| seen += 1).unwrap_err();
    assert_eq!(seen, 1);
    assert_eq!(Errno::of(&error), Some(Errno::EIO));
    let call = error.device().map(DeviceError::call);
    assert_eq!(call, Some(DeviceCall::Pending));
    assert_eq!(sim.open_files(), 0);
}

#[test]
fn the_same_program_runs_on_a_real_device_or_reports_its_absence() {
    let error = watch(XenOpen::at("/nowhere/evtchn"), |_| {}).unwrap_err();
    let kind = error.device().map(DeviceError::kind);
    assert_eq!(kind, Some(ErrorKind::NoDevice), "{error}");
}
