//! Calls that lead back into the context on the same thread, once for each of very many events: the
//! stack does not grow.

use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use evtchn_core::{Driver, Error};

use super::*;

/// More nested calls than fit on any stack.
const MANY: u32 = 100_000;
const STACK: usize = 256 << 10;

/// Runs a test on a thread with a small stack.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().stack_size(STACK);
    thread.spawn(test).unwrap().join().unwrap();
}

type Future = Woken<FakeLoop>;

/// A task whose waker polls it at once and drops it when it is ready.
struct Task {
    future: Mutex<Option<Future>>,
    ready: Arc<AtomicUsize>,
}

impl Task {
    fn poll(self: Arc<Self>) {
        let mut place = self.future.lock().unwrap_or_else(PoisonError::into_inner);
        let mut future = place.take().unwrap();
        let waker = Waker::from(Arc::clone(&self));
        if poll(&mut future, &waker).is_ready() {
            self.ready.fetch_add(1, Ordering::Relaxed);
        } else {
            *place = Some(future);
        }
    }
}

impl Waking for Task {
    fn wake(self: Arc<Self>) {
        self.poll();
    }
}

/// A context with very many channels, each with a task that is polled inside of its waker.
struct Crowd {
    tester: Tester,
    ctx: Ctx,
    channels: Vec<Channel<FakeLoop>>,
    ready: Arc<AtomicUsize>,
}

impl Crowd {
    fn new() -> Crowd {
        let tester = Tester::new();
        tester.script().ports = (1..=MANY).collect();
        let ctx = tester.context();
        let bind = |_| ctx.bind_unbound_port(GUEST).unwrap();
        Crowd {
            channels: (0..MANY).map(bind).collect(),
            ready: Arc::default(),
            tester,
            ctx,
        }
    }

    fn start(&self) {
        for channel in &self.channels {
            let task = Arc::new(Task {
                future: Mutex::new(Some(channel.woken())),
                ready: Arc::clone(&self.ready),
            });
            task.poll();
        }
    }

    /// Each port has an event.
    fn fire(&self) {
        for channels in self.channels.chunks(PORTS_OF_A_READ) {
            let ports: Vec<_> = channels.iter().map(Channel::port).collect();
            self.tester.batch(&ports);
        }
    }

    fn take_ready(&self) -> usize {
        self.ready.swap(0, Ordering::Relaxed)
    }
}

/// A full read, so that the next one follows at once.
const PORTS_OF_A_READ: usize = evtchn_core::PortBuf::MAX;

#[test]
fn many_wakers_that_poll_at_once_need_no_stack() {
    on_a_small_stack(|| {
        let crowd = Crowd::new();
        crowd.start();
        crowd.fire();
        assert_eq!(crowd.ctx.drive().unwrap(), Outcome::Done);
        assert_eq!(crowd.take_ready(), MANY as usize);
        assert_eq!(crowd.ctx.link(), Link::Idle);

        // Woken by a round of values.
        crowd.start();
        crowd.fire();
        assert_eq!(crowd.ctx.dispatch().unwrap().count(), 0);
        assert_eq!(crowd.take_ready(), MANY as usize);

        // Woken by the end of the context.
        crowd.start();
        drop(crowd.ctx);
        assert_eq!(crowd.ready.load(Ordering::Relaxed), MANY as usize);
    });
}

#[test]
fn many_wakers_that_poll_and_hooks_that_drive_need_no_stack() {
    on_a_small_stack(|| {
        let crowd = Crowd::new();
        drive_in_every_hook(&crowd.tester, &crowd.ctx.driver());
        crowd.start();
        crowd.fire();
        assert_eq!(crowd.ctx.drive().unwrap(), Outcome::Done);
        assert_eq!(crowd.take_ready(), MANY as usize);
        assert_eq!(crowd.ctx.link(), Link::Idle);
    });
}

/// Has the hooks drive each time.
fn drive_in_every_hook(tester: &Tester, driver: &Driver) {
    let again = || {
        let (tester, driver) = (tester.clone(), driver.clone());
        Box::new(move || {
            drive_in_every_hook(&tester, &driver);
            assert_eq!(driver.drive(), Outcome::Done);
        })
    };
    let mut script = tester.script();
    script.on_register = Some(again());
    script.on_deregister = Some(again());
}

#[test]
fn a_loop_that_dispatches_inside_its_wake_up_needs_no_stack() {
    on_a_small_stack(|| {
        let tester = Tester::new();
        tester.script().ports = (1..=MANY).collect();
        let ctx = Arc::new(tester.context());
        let bind = |_| ctx.bind_unbound_port(GUEST).unwrap();
        let channels: Vec<_> = (0..MANY).map(bind).collect();
        for (channel, count) in channels.iter().zip(1..) {
            channel.wait().unwrap();
            if count % PORTS_OF_A_READ == 0 {
                let fired = &channels[count - PORTS_OF_A_READ..count];
                tester.batch(&fired.iter().map(Channel::port).collect::<Vec<_>>());
            }
        }
        let wakes = Arc::new(AtomicUsize::new(0));
        dispatch_in_every_wake_up(&tester, &ctx, &wakes);
        assert_eq!(ctx.drive().unwrap(), Outcome::Done);
        let fired = MANY as usize / PORTS_OF_A_READ * PORTS_OF_A_READ;
        assert_eq!(wakes.load(Ordering::Relaxed), fired);
        assert_eq!(ctx.next_timeout(), None);
        tester.script().on_wake = None;
    });
}

/// A round of one wake, which wakes the loop for the rest.
fn dispatch_in_every_wake_up(tester: &Tester, ctx: &Arc<Ctx>, wakes: &Arc<AtomicUsize>) {
    let (tester, ctx, wakes) = (tester.clone(), Arc::clone(ctx), Arc::clone(wakes));
    let script = tester.clone();
    script.script().on_wake = Some(Box::new(move || {
        dispatch_in_every_wake_up(&tester, &ctx, &wakes);
        let mut round = ctx.dispatch_at_most(1).unwrap();
        wakes.fetch_add(round.by_ref().count(), Ordering::Relaxed);
        round.finish().unwrap();
    }));
}

/// The hook requests a drive each time, and fails each time.
#[test]
fn a_hook_that_requests_a_drive_and_fails_each_time_is_not_called_for_ever() {
    let (tester, ctx, channel) = bound();
    drive_in_every_hook(&tester, &ctx.driver());
    (0..1_000).for_each(|_| tester.fail("register", ErrorKind::Other));
    assert!(channel.wait().is_err());
    // The drive tries to register too, and leaves the drive that its hook requested to the next
    // call.
    assert_eq!(tester.log(), ["register", "read", "register", "read"]);
    assert_eq!(ctx.stats().unreported, 1);
    tester.script().fail.clear();
    channel.wait().unwrap();
    assert_eq!(ctx.link(), Link::Watching);
}

#[test]
fn a_task_that_is_ready_inside_a_waker_is_woken_when_the_waker_returns() {
    let (tester, ctx, one) = bound();
    let ctx = Arc::new(ctx);
    let two = ctx.bind_unbound_port(GUEST).unwrap();
    let (counter, waker) = counting_waker();
    let (mut first, mut second) = (one.woken(), two.woken());
    assert!(poll(&mut second, &waker).is_pending());
    let order = Arc::new(Mutex::new(Vec::new()));
    let (inner, fires, wakes) = (Arc::clone(&ctx), tester.clone(), Arc::clone(&counter));
    let (notes, port) = (Arc::clone(&order), two.port());
    let drives = adverse::does(move || {
        fires.batch(&[port]);
        assert_eq!(inner.drive().unwrap(), Outcome::Done);
        notes.lock().unwrap().push(wakes.count());
    });
    assert!(poll(&mut first, &drives).is_pending());
    event(&tester, &ctx, &one);
    order.lock().unwrap().push(counter.count());
    assert_eq!(*order.lock().unwrap(), [0, 1]);
}

/// A thread that is inside a waker for long keeps no other thread from waking tasks.
#[test]
fn a_task_is_woken_while_another_thread_is_inside_a_waker() {
    let (tester, ctx, one) = bound();
    let two = ctx.bind_unbound_port(GUEST).unwrap();
    let (counter, waker) = counting_waker();
    let (mut first, mut second) = (one.woken(), two.woken());
    let (entered, has_entered) = channel();
    let (release, is_released) = channel::<()>();
    let is_released = Mutex::new(is_released);
    let stays = adverse::does(move || {
        entered.send(()).unwrap();
        let waits = is_released.lock().unwrap();
        waits.recv_timeout(Duration::from_secs(10)).unwrap();
    });
    assert!(poll(&mut first, &stays).is_pending());
    assert!(poll(&mut second, &waker).is_pending());
    tester.batch(&[one.port()]);
    thread::scope(|scope| {
        let inside = scope.spawn(|| ctx.drive().unwrap());
        has_entered.recv_timeout(Duration::from_secs(10)).unwrap();
        event(&tester, &ctx, &two);
        assert_eq!(counter.count(), 1);
        release.send(()).unwrap();
        assert_eq!(inside.join().unwrap(), Outcome::Done);
    });
    assert_eq!(ctx.stats().unreported, 0, "the waker panicked");
}

struct PanicsAgain;

impl Drop for PanicsAgain {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("in the drop"));
    }
}

#[test]
fn a_waker_whose_panic_panics_on_drop_affects_no_other_task() {
    let (tester, ctx, one) = bound();
    let two = ctx.bind_unbound_port(GUEST).unwrap();
    let (counter, waker) = counting_waker();
    let (mut first, mut second) = (one.woken(), two.woken());
    let panics = adverse::does(|| std::panic::resume_unwind(Box::new(PanicsAgain)));
    assert!(poll(&mut first, &panics).is_pending());
    assert!(poll(&mut second, &waker).is_pending());
    for turn in 1..3 {
        tester.batch(&[one.port(), two.port()]);
        let driven: Result<_, Error> = ctx.drive();
        assert_eq!(driven.unwrap(), Outcome::Done);
        assert_eq!((counter.count(), ctx.stats().unreported), (1, turn));
        for (woken, waker) in [(&mut first, &panics), (&mut second, &waker)] {
            assert!(matches!(poll(woken, waker), Poll::Ready(Ok(Cause::Event))));
        }
        assert!(poll(&mut first, &panics).is_pending());
        assert!(poll(&mut second, &waker).is_pending());
    }
}
