//! A backend and an event loop of third parties, in safe code: they replace the simulator and our
//! loops without another context type.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

mod eventfd_loop;
mod memory;

use std::time::{Duration, Instant};

use evtchn::sim::{Errno, Sim, SimDevice, SimLoop};
use evtchn::{
    Backend, Cause, Channel, Context, DeviceCall, DomId, Error, ErrorKind, Link, Port, Registrar,
};

use eventfd_loop::EventfdLoop;
use memory::{Memory, MemoryDevice, Refused};

/// Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A program that knows no backend: two channels of one domain, connected to each other.
struct Program<R: Registrar> {
    ctx: Context<R>,
    near: Channel<R>,
    far: Channel<R>,
}

impl<R: Registrar> Program<R> {
    fn on(ctx: Context<R>) -> Program<R> {
        let near = ctx.bind_unbound_port(DomId::SELF).unwrap();
        let remote = (DomId::SELF, near.port()).into();
        let far = ctx.bind_interdomain(remote).unwrap();
        Program { ctx, near, far }
    }

    fn turn(&self) -> Vec<(Port, Cause)> {
        let mut round = self.ctx.dispatch().unwrap();
        let wakes = round.by_ref().map(|wake| (wake.port(), wake.cause));
        let wakes = wakes.collect();
        round.finish().unwrap();
        wakes
    }

    /// Everything that a channel does.
    fn run(mut self, is_ready: impl Fn(&R) -> bool) {
        let near = (self.near.port(), Cause::Event);
        // The event of the bind.
        self.far.wait().unwrap();
        assert!(is_ready(self.ctx.registrar()));
        assert_eq!(self.turn(), [(self.far.port(), Cause::Event)]);
        assert!(!is_ready(self.ctx.registrar()));
        for _ in 0..3 {
            self.near.wait().unwrap();
            self.far.notify().unwrap();
            assert!(is_ready(self.ctx.registrar()));
            assert_eq!(self.turn(), [near]);
            assert_eq!(self.ctx.link(), Link::Idle);
        }
        // Read without a wait, and kept.
        self.far.wait().unwrap();
        self.near.wait().unwrap();
        assert!(self.near.cancel().unwrap());
        self.far.notify().unwrap();
        assert_eq!(self.turn(), []);
        self.near.wait().unwrap();
        assert!(is_ready(self.ctx.registrar()), "it was woken");
        assert_eq!(self.turn(), [near]);
        assert_eq!(self.ctx.stats().opens, 1);

        self.near.unbind().unwrap();
        assert!(matches!(self.near.notify(), Err(Error::NotBound(_))));
        let left = self.ctx.teardown().unwrap_err();
        assert!(matches!(left, Error::StillInUse(_)), "{left:?}");
        self.far.unbind().unwrap();
        self.ctx.teardown().unwrap();
        assert_eq!(self.ctx.link(), Link::Closed);
        assert_eq!(self.ctx.stats().unreported, 0);
    }
}

fn backends() -> [Backend; 2] {
    [Memory.into(), Sim::new(1).open(DomId::DOM0).into()]
}

#[test]
fn one_program_runs_on_a_third_partys_backend_and_on_the_simulator() {
    for backend in backends() {
        let ctx = evtchn::poll::Context::new(backend).unwrap();
        let is_ready = |it: &evtchn::poll::PollLoop| {
            let readiness = it.wait(Some(Duration::ZERO)).unwrap();
            readiness.ready || readiness.woken
        };
        Program::on(ctx).run(is_ready);
    }
}

#[test]
fn one_program_runs_on_a_third_partys_loop_over_either_backend() {
    for backend in backends() {
        let ctx: Context<EventfdLoop> = Context::new(backend).unwrap();
        Program::on(ctx).run(|it| it.wait(Some(Duration::ZERO)));
    }
}

#[test]
fn contexts_on_either_backend_are_of_one_type() {
    let contexts = backends().map(|backend| Context::<EventfdLoop>::new(backend).unwrap());
    let programs = contexts.map(Program::on);
    for program in &programs {
        program.near.wait().unwrap();
        program.far.notify().unwrap();
    }
    for program in &programs {
        assert!(program.ctx.registrar().wait(Some(PATIENCE)));
        assert_eq!(program.turn(), [(program.near.port(), Cause::Event)]);
    }
}

#[test]
fn a_thread_blocks_on_a_third_partys_loop_over_either_backend() {
    for backend in backends() {
        let ctx: Context<EventfdLoop> = Context::new(backend).unwrap();
        let Program { ctx, near, far } = Program::on(ctx);
        let notifier = far.notifier();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while ctx.link() != Link::Watching {
                    std::thread::yield_now();
                }
                notifier.notify().unwrap();
            });
            let hang = Instant::now() + PATIENCE;
            assert_eq!(near.block_until(hang).unwrap(), Some(Cause::Event));
        });
        assert_eq!(near.block_for(Duration::ZERO).unwrap(), None);
        std::thread::scope(|scope| {
            scope.spawn(|| while !near.cancel().unwrap() {});
            assert!(matches!(near.block(), Err(Error::Cancelled)));
        });
        assert_eq!(ctx.link(), Link::Idle);
    }
}

#[test]
fn a_third_partys_error_is_the_source_and_its_device_can_be_taken_out() {
    let ctx: Context<EventfdLoop> = Context::new(Memory).unwrap();
    let error = ctx.bind_virq(evtchn::Virq::DOM_EXC).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot bind virtual interrupt DOM_EXC: not supported"
    );
    let device = error.device().unwrap();
    assert_eq!(device.kind(), ErrorKind::Unsupported);
    assert_eq!(device.call(), DeviceCall::BindVirq(evtchn::Virq::DOM_EXC));
    assert_eq!(device.code(), None);
    let own = std::error::Error::source(device).and_then(|own| own.downcast_ref());
    assert_eq!(own, Some(&Refused));
    assert_eq!(ctx.link(), Link::Closed);
    // The backend has no statuses of ports.
    let channel = ctx.bind_unbound_port(DomId::SELF).unwrap();
    let unknown = ctx.check_peers().unwrap_err();
    let kind = unknown.device().map(evtchn::DeviceError::kind);
    assert_eq!(kind, Some(ErrorKind::Unsupported));

    let parts = ctx.hand_over(&mut [channel]).unwrap();
    let device = parts.device.into_inner::<SimDevice>().unwrap_err();
    assert!(device.downcast_ref::<SimDevice>().is_none());
    assert!(device.downcast_ref::<MemoryDevice>().is_some());
    let device: MemoryDevice = device.into_inner().unwrap();
    assert_eq!(device.bound(), parts.table.ports());
}

/// The loop could never see the device ready.
#[test]
fn the_loop_of_the_simulator_refuses_a_third_partys_device() {
    let ctx = Context::with_registrar(Memory, SimLoop::level());
    let channel = ctx.bind_unbound_port(DomId::SELF).unwrap();
    let refused = channel.wait().unwrap_err();
    assert!(matches!(refused, Error::Register(_)), "{refused:?}");
    assert_eq!(Errno::of(&refused), Some(Errno::EPERM));
    assert_eq!(ctx.link(), Link::Idle);
    channel.notify().unwrap();
}
