//! Mocks of a backend and of an event loop, for tests that check the calls themselves: which were
//! made, with what arguments, in what order. (The crate `evtchn-sim` has a device that behaves like
//! the real one.)
//!
//! They are made with [`mockall`](https://docs.rs/mockall): for each method there is an `expect_…`
//! that says what will be called and what comes of it, and a call that was not expected panics.
//! Closing the device is a call like the others, [`MockDevice::expect_close`].
//!
//! A context often asks for the process it is in and for the way its event loop reports readiness.
//! [`MockDevice::of_this_process`], [`MockOpen::of_this_process`] and
//! [`MockRegistrar::with_trigger`] make mocks that answer this. With `new` a test answers itself,
//! in order to fork or to catch the panic of a callback.
//!
//! ```
//! use evtchn::mock::{MockDevice, MockOpen, MockRegistrar, Sequence, brings, predicate};
//! use evtchn::{Context, DomId, Port, Trigger};
//!
//! let mut order = Sequence::new();
//! let mut opener = MockOpen::of_this_process();
//! let mut device = MockDevice::of_this_process();
//! let mut event_loop = MockRegistrar::with_trigger(Trigger::Level);
//! let port = Port::new(5).ok_or("no port")?;
//!
//! // What the context is expected to do, from the first bind to the end.
//! device.expect_bind_unbound_port().with(predicate::eq(DomId::new(7))).return_const(Ok(port));
//! event_loop.expect_register().times(1).in_sequence(&mut order).return_const(Ok(()));
//! device.expect_pending().times(1).in_sequence(&mut order).returning(brings([port]));
//! event_loop.expect_deregister().times(1).in_sequence(&mut order).return_const(Ok(()));
//! device.expect_unbind().times(1).in_sequence(&mut order).return_const(Ok(()));
//! device.expect_close().times(1).in_sequence(&mut order).return_const(());
//! opener.expect_open().return_once(|| Ok(device));
//!
//! let ctx = Context::with_registrar(opener, event_loop);
//! let mut channel = ctx.bind_unbound_port(DomId::new(7))?;
//! channel.wait()?;
//! let wakes: Vec<_> = ctx.dispatch()?.map(|wake| wake.port()).collect();
//! assert_eq!(wakes, [port]);
//! channel.unbind()?;
//! ctx.teardown()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::thread::panicking;
use std::time::Duration;

use crate::hal::{
    Device, DeviceCall, DeviceError, ErrorKind, EventChannel, LoopError, Open, PortBuf, Registrar,
    Sleep, Slept, Trigger,
};
use crate::ids::{DomId, Port, RemotePort, Virq};

pub use mockall::{Sequence, predicate};

/// A failure of the device that a test made up.
///
/// ```
/// use evtchn::mock::{MockOpen, MockRegistrar, device_error};
/// use evtchn::{Context, DomId, Error, ErrorKind, Trigger};
///
/// let mut opener = MockOpen::of_this_process();
/// opener.expect_open().return_once(|| Err(device_error(ErrorKind::NoDevice)));
/// let ctx = Context::with_registrar(opener, MockRegistrar::with_trigger(Trigger::Level));
/// let error = ctx.bind_unbound_port(DomId::new(7)).unwrap_err();
/// assert!(matches!(error, Error::Device(why) if why == device_error(ErrorKind::NoDevice)));
/// ```
#[must_use]
pub fn device_error(kind: ErrorKind) -> DeviceError {
    DeviceError::new(kind, DeviceCall::Other("do what the test refuses"))
}

/// A failure of the event loop that a test made up. Its own error is that
/// [of the device](device_error).
#[must_use]
pub fn loop_error(kind: ErrorKind) -> LoopError {
    device_error(kind).into()
}

/// Makes each [`EventChannel::pending`] read these ports:
/// `device.expect_pending().returning(brings([port]))`. Without ports each read is empty.
///
/// # Panics
/// The returned function panics if its buffer has no room for the ports.
pub fn brings(
    ports: impl IntoIterator<Item = Port>,
) -> impl Fn(&mut PortBuf) -> Result<(), DeviceError> + Send + 'static {
    let brought: Vec<u32> = ports.into_iter().map(Port::as_raw).collect();
    move |buf| {
        buf.fill(|room| {
            let (count, fits) = (brought.len(), room.len());
            assert!(count <= fits, "{count} ports do not fit a read of {fits}");
            room[..count].copy_from_slice(&brought);
            Ok(count)
        })
    }
}

/// The macro makes public modules, which no program needs to name.
mod made {
    use super::*;

    mockall::mock! {
        /// A device, to be given to the [`MockOpen`] that opens it.
        #[derive(Debug)]
        pub Device {
            /// Called when the device is dropped, unless the test is panicking.
            pub fn close(&self);
        }

        impl EventChannel for Device {
            fn bind_unbound_port(&self, remote: DomId) -> Result<Port, DeviceError>;
            fn bind_interdomain(&self, remote: RemotePort) -> Result<Port, DeviceError>;
            fn bind_virq(&self, virq: Virq) -> Result<Port, DeviceError>;
            fn bind_static(&self, port: Port) -> Result<(), DeviceError>;
            fn unbind(&self, port: Port) -> Result<(), DeviceError>;
            fn notify(&self, port: Port) -> Result<(), DeviceError>;
            fn notify_many(&self, ports: &[Port], failed: &mut dyn FnMut(usize, DeviceError));
            fn pending(&self, buf: &mut PortBuf) -> Result<(), DeviceError>;
            fn unmask(&self, ports: &[Port]) -> Result<usize, DeviceError>;
            fn reset(&self) -> Result<(), DeviceError>;
            fn restrict(&self, domid: DomId) -> Result<(), DeviceError>;
            fn is_inherited(&self) -> bool;
        }
    }
    mockall::mock! {
        /// An opener; `expect_open().return_once(|| Ok(device))` has it open a [`MockDevice`].
        #[derive(Debug)]
        pub Open {}

        impl Open for Open {
            type Device = MockDevice;

            fn open(&self) -> Result<MockDevice, DeviceError>;
            fn process(&self) -> u64;
        }
    }
    mockall::mock! {
        /// An event loop.
        #[derive(Debug)]
        pub Registrar {}

        impl Registrar for Registrar {
            fn trigger(&self) -> Trigger;
            fn register(&self, device: &Device) -> Result<(), LoopError>;
            fn deregister(&self, device: &Device) -> Result<(), LoopError>;
            fn wake(&self);
        }

        impl Sleep for Registrar {
            type Deadline = Duration;

            fn deadline(&self, timeout: Duration) -> Duration;
            fn ticket(&self) -> u64;
            fn sleep(&self, ticket: u64, deadline: Option<Duration>) -> Result<Slept, LoopError>;
        }
    }
}

pub use made::{MockDevice, MockOpen, MockRegistrar};

impl MockDevice {
    /// A device that the calling process opened. Once a test panics, the device says that it was
    /// inherited, so that no drop makes a call that the test did not expect.
    #[must_use]
    pub fn of_this_process() -> MockDevice {
        let mut device = MockDevice::new();
        device.expect_is_inherited().returning(panicking);
        device
    }
}

impl Drop for MockDevice {
    fn drop(&mut self) {
        // A second panic would abort the tests and hide the first.
        if !panicking() {
            self.close();
        }
    }
}

impl MockOpen {
    /// An opener in a process that does not fork. Once a test panics, the opener says that it is in
    /// a forked child, so that dropping context and channels does nothing.
    #[must_use]
    pub fn of_this_process() -> MockOpen {
        let mut opener = MockOpen::new();
        opener.expect_process().returning(|| u64::from(panicking()));
        opener
    }
}

impl MockRegistrar {
    /// An event loop that reports readiness in this way.
    #[must_use]
    pub fn with_trigger(trigger: Trigger) -> MockRegistrar {
        let mut registrar = MockRegistrar::new();
        registrar.expect_trigger().return_const(trigger);
        registrar
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::{Context, Notifier};

    fn port(raw: u32) -> Port {
        Port::new(raw).unwrap()
    }

    /// A value of the program that notifies the peer when it is dropped.
    struct Farewell(Notifier);

    impl Drop for Farewell {
        fn drop(&mut self) {
            let _unreported = self.0.notify();
        }
    }

    #[test]
    fn a_read_brings_the_same_ports_each_time() {
        let mut device = MockDevice::of_this_process();
        let read = device.expect_pending().times(2);
        read.returning(brings([port(3), port(1)]));
        device.expect_close().times(1).return_const(());
        let mut buf = PortBuf::with_capacity(2);
        for _ in 0..2 {
            device.pending(&mut buf).unwrap();
            assert_eq!(buf.words(), [3, 1]);
        }
        brings([])(&mut buf).unwrap();
        assert_eq!(buf.words(), [0; 0]);
    }

    #[test]
    #[should_panic(expected = "2 ports do not fit a read of 1")]
    fn a_read_of_more_than_there_is_room_for_panics() {
        let read = brings([port(3), port(1)]);
        let _never = read(&mut PortBuf::with_capacity(1));
    }

    #[test]
    #[should_panic(expected = "MockDevice::close")]
    fn a_close_that_was_not_expected_panics() {
        drop(MockDevice::of_this_process());
    }

    #[test]
    fn a_test_that_panics_meets_no_second_panic_in_its_drops() {
        let failed = catch_unwind(AssertUnwindSafe(|| {
            let mut opener = MockOpen::of_this_process();
            let mut device = MockDevice::of_this_process();
            let mut event_loop = MockRegistrar::with_trigger(Trigger::Level);
            let bind = device.expect_bind_unbound_port().times(1);
            bind.return_const(Ok(port(1)));
            event_loop.expect_register().return_const(Ok(()));
            opener.expect_open().return_once(|| Ok(device));
            let ctx = Context::with_registrar(opener, event_loop);
            let channel = ctx.bind_unbound_port(DomId::DOM0).unwrap();
            channel.wait().unwrap();
            let _farewell = Farewell(channel.notifier());
            let _round = ctx.dispatch().unwrap();
            panic!("the first");
        }));
        let message = failed.unwrap_err();
        assert_eq!(message.downcast_ref::<&str>(), Some(&"the first"));
    }
}
