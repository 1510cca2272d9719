//! The calls that a test expects, step by step: no other calls and no other order.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::sync::mpsc::{self, Sender};
use std::thread::panicking;

use evtchn_core::mock::{
    MockDevice, MockOpen, MockRegistrar, Sequence, brings, device_error, loop_error,
};
use evtchn_core::{Context, DeviceError, DomId, ErrorKind, Port, Slept, Trigger};

mockall::mock! {
    /// The program over the context.
    pub(crate) Program {
        /// A wake of this port was handed to it.
        pub(crate) fn takes(&self, port: Port);

        /// Called when it is dropped, after the context.
        fn ends(&self);
    }
}

impl Drop for MockProgram {
    fn drop(&mut self) {
        if !panicking() {
            self.ends();
        }
    }
}

/// A context over mocks.
pub(crate) type MockContext = Context<MockRegistrar>;

/// The steps that are expected, of the device opened last, the event loop and the program.
pub(crate) struct Order {
    sequence: Sequence,
    opener: MockOpen,
    device: MockDevice,
    /// To the open that returns `device`.
    to_open: Sender<MockDevice>,
    event_loop: MockRegistrar,
    program: MockProgram,
}

/// The port with this number.
pub(crate) fn port(raw: u32) -> Port {
    Port::new(raw).unwrap()
}

fn ports<const N: usize>(raw: [u32; N]) -> Vec<Port> {
    raw.into_iter().map(port).collect()
}

fn failed<T>(kind: ErrorKind) -> Result<T, DeviceError> {
    Err(device_error(kind))
}

/// Expects an open, which returns what is sent.
fn expect_open(opener: &mut MockOpen, sequence: &mut Sequence) -> Sender<MockDevice> {
    let (to_open, device) = mpsc::channel();
    let open = opener.expect_open().times(1).in_sequence(sequence);
    open.return_once(move || Ok(device.try_recv().unwrap()));
    to_open
}

/// Adds steps. In each, `then!(mock.expect_method())` is the next one.
macro_rules! then {
    ($self:ident . $mock:ident . $expect:ident) => {
        $self
            .$mock
            .$expect()
            .times(1)
            .in_sequence(&mut $self.sequence)
    };
}

impl Order {
    /// First the device is opened.
    pub(crate) fn open() -> Order {
        Order::open_under(Trigger::Level)
    }

    /// First the device is opened, under an event loop that reports readiness like this.
    pub(crate) fn open_under(trigger: Trigger) -> Order {
        let mut sequence = Sequence::new();
        let mut opener = MockOpen::of_this_process();
        Order {
            to_open: expect_open(&mut opener, &mut sequence),
            sequence,
            opener,
            device: MockDevice::of_this_process(),
            event_loop: MockRegistrar::with_trigger(trigger),
            program: MockProgram::new(),
        }
    }

    /// A device is opened again; its steps follow.
    pub(crate) fn open_again(mut self) -> Order {
        let device = std::mem::replace(&mut self.device, MockDevice::of_this_process());
        self.to_open.send(device).unwrap();
        self.to_open = expect_open(&mut self.opener, &mut self.sequence);
        self
    }

    pub(crate) fn restrict(mut self, domid: DomId) -> Order {
        let restrict = then!(self.device.expect_restrict);
        restrict
            .withf(move |asked| *asked == domid)
            .return_const(Ok(()));
        self
    }

    pub(crate) fn bind(mut self, raw: u32) -> Order {
        then!(self.device.expect_bind_unbound_port).return_const(Ok(port(raw)));
        self
    }

    pub(crate) fn bind_fails(mut self, kind: ErrorKind) -> Order {
        then!(self.device.expect_bind_unbound_port).return_const(failed(kind));
        self
    }

    pub(crate) fn unbind(mut self, raw: u32) -> Order {
        let unbind = then!(self.device.expect_unbind);
        unbind
            .withf(move |asked| *asked == port(raw))
            .return_const(Ok(()));
        self
    }

    pub(crate) fn read<const N: usize>(mut self, raw: [u32; N]) -> Order {
        then!(self.device.expect_pending).returning(brings(ports(raw)));
        self
    }

    pub(crate) fn read_fails(mut self, kind: ErrorKind) -> Order {
        then!(self.device.expect_pending).return_const(failed(kind));
        self
    }

    pub(crate) fn reset(mut self) -> Order {
        then!(self.device.expect_reset).return_const(Ok(()));
        self
    }

    pub(crate) fn write<const N: usize>(self, raw: [u32; N]) -> Order {
        self.write_takes(N, raw)
    }

    /// A write of these ports, which takes only the first so many.
    pub(crate) fn write_takes<const N: usize>(mut self, taken: usize, raw: [u32; N]) -> Order {
        let write = then!(self.device.expect_unmask);
        write
            .withf(move |asked| asked == ports(raw))
            .return_const(Ok(taken));
        self
    }

    pub(crate) fn write_fails<const N: usize>(mut self, raw: [u32; N], kind: ErrorKind) -> Order {
        let write = then!(self.device.expect_unmask);
        write
            .withf(move |asked| asked == ports(raw))
            .return_const(failed(kind));
        self
    }

    pub(crate) fn close(mut self) -> Order {
        then!(self.device.expect_close).return_const(());
        self
    }

    pub(crate) fn register(mut self) -> Order {
        then!(self.event_loop.expect_register).return_const(Ok(()));
        self
    }

    pub(crate) fn deregister(mut self) -> Order {
        then!(self.event_loop.expect_deregister).return_const(Ok(()));
        self
    }

    pub(crate) fn deregister_fails(mut self, kind: ErrorKind) -> Order {
        then!(self.event_loop.expect_deregister).return_const(Err(loop_error(kind)));
        self
    }

    pub(crate) fn wake(mut self) -> Order {
        then!(self.event_loop.expect_wake).return_const(());
        self
    }

    /// A thread that blocks sleeps in the event loop, until this.
    pub(crate) fn sleep(mut self, slept: Slept) -> Order {
        then!(self.event_loop.expect_ticket).return_const(0_u64);
        then!(self.event_loop.expect_sleep).return_const(Ok(slept));
        self
    }

    /// The thread that blocks looks before it would sleep again.
    pub(crate) fn look(mut self) -> Order {
        then!(self.event_loop.expect_ticket).return_const(0_u64);
        self
    }

    /// The program takes a wake of this port.
    pub(crate) fn takes(mut self, raw: u32) -> Order {
        let takes = then!(self.program.expect_takes);
        takes
            .withf(move |taken| *taken == port(raw))
            .return_const(());
        self
    }

    /// The context that makes these calls, and the program, which outlives it. A step that is still
    /// missing when the program is dropped fails the test, even if the context was leaked.
    pub(crate) fn begin(mut self) -> (MockProgram, MockContext) {
        then!(self.program.expect_ends).return_const(());
        self.to_open.send(self.device).unwrap();
        (
            self.program,
            Context::with_registrar(self.opener, self.event_loop),
        )
    }
}
