//! What holds for tasks on every async runtime, on the simulator. No case waits for a clock: one
//! that is not woken gives up after many turns of its reactor.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "functions that only tests call"
)]

mod life;

use std::fs;
use std::future::{Future, poll_fn};
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::pin;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;

use evtchn_core::{
    Cause, Channel, Context, DeviceError, DomId, Error, EventChannel, Link, Open, Port, Registrar,
    Wake, Woken,
};
use evtchn_sim::{DomainConfig, Guest, Sim, SimDevice, SimOpen};
pub(crate) use life::*;

/// How often a case lets the reactor turn before it gives up.
const TURNS: usize = 100_000;

/// An async runtime and its adapter.
pub(crate) trait Runtime {
    type Loop: Registrar;

    /// A context with an adapter of this runtime, from inside of it.
    fn context(opener: Opener) -> Context<Self::Loop>;
    fn block_on<F: Future>(&self, future: F) -> F::Output;
    async fn called(event_loop: &Self::Loop);
}

/// Opens a simulated device and remembers its descriptor.
#[derive(Clone)]
pub(crate) struct Opener {
    sim: SimOpen,
    fd: Arc<AtomicI32>,
    /// A device that others have open too.
    shared: Arc<Mutex<Option<Vec<OwnedFd>>>>,
}

impl Open for Opener {
    type Device = SimDevice;

    fn open(&self) -> Result<SimDevice, DeviceError> {
        let device = self.sim.open()?;
        let fd = device.fd()?;
        self.fd.store(fd.as_raw_fd(), Ordering::Relaxed);
        if let Some(shared) = &mut *self.shared.lock().unwrap() {
            shared.push(fd.try_clone_to_owned().unwrap());
        }
        Ok(device)
    }

    fn process(&self) -> u64 {
        self.sim.process()
    }
}

impl Opener {
    /// Keeps what is opened from now on open elsewhere too, as in the child of a fork.
    pub(crate) fn share(&self) {
        *self.shared.lock().unwrap() = Some(Vec::new());
    }

    /// Whether some epoll instance of this process has the device, as the kernel reports it.
    pub(crate) fn is_watched(&self) -> bool {
        let fd = self.fd.load(Ordering::Relaxed).to_string();
        let infos = fs::read_dir("/proc/self/fdinfo").unwrap();
        infos
            .filter_map(|info| fs::read_to_string(info.unwrap().path()).ok())
            .any(|info| {
                info.lines()
                    .filter_map(|line| line.strip_prefix("tfd:"))
                    .any(|entry| entry.split_whitespace().next() == Some(&fd))
            })
    }
}

pub(crate) struct Rig<R: Runtime> {
    pub(crate) opener: Opener,
    pub(crate) guest: Guest,
    pub(crate) ctx: Context<R::Loop>,
}

pub(crate) type Ours<R> = Channel<<R as Runtime>::Loop>;

pub(crate) fn opener() -> (Opener, Guest) {
    let sim = Sim::new(0);
    let mut roomy = DomainConfig::guest();
    roomy.max_port = u32::MAX;
    let guest = sim.guest(sim.create_domain_with(None, &roomy).unwrap());
    let opener = Opener {
        sim: sim.open(DomId::DOM0),
        fd: Arc::new(AtomicI32::new(-1)),
        shared: Arc::default(),
    };
    (opener, guest)
}

impl<R: Runtime> Rig<R> {
    pub(crate) fn new() -> Rig<R> {
        let (opener, guest) = opener();
        let ctx = R::context(opener.clone());
        Rig { opener, guest, ctx }
    }

    /// A channel, and the guest's end of it.
    pub(crate) fn bind(&self) -> (Ours<R>, Port) {
        let channel = self.ctx.bind_unbound_port(self.guest.domid()).unwrap();
        let theirs = self.guest.bind_interdomain(DomId::DOM0, channel.port());
        (channel, theirs.unwrap())
    }
}

/// Lets the reactor turn.
pub(crate) async fn turn() {
    let mut turned = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut turned, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What the future comes to, which must be soon.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    for _ in 0..TURNS {
        if let Poll::Ready(output) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
            return output;
        }
        turn().await;
    }
    panic!("it is not woken");
}

/// Lets the reactor turn until something is so, which must be soon.
async fn until(is_so: impl Fn() -> bool) {
    soon(poll_fn(|_| {
        if is_so() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }))
    .await;
}

/// Polls a future that must not be ready.
pub(crate) async fn start<F: Future + Unpin>(future: &mut F) {
    let polled = poll_fn(|cx| Poll::Ready(pin!(&mut *future).poll(cx).is_pending())).await;
    assert!(polled, "it is ready");
}

pub(crate) async fn a_lone_future_is_registered_while_it_waits<R: Runtime>() {
    let rig = Rig::<R>::new();
    let (channel, theirs) = rig.bind();
    assert!(!rig.opener.is_watched());
    for _ in 0..3 {
        let mut woken = channel.woken();
        start(&mut woken).await;
        assert!(rig.opener.is_watched());
        rig.guest.send(theirs).unwrap();
        assert_eq!(soon(woken).await.unwrap(), Cause::Event);
        assert!(!rig.opener.is_watched());
    }
    drop(channel);
    rig.ctx.teardown().unwrap();
}

/// Like the driver, the simulator shows it alone: no readiness for reading comes.
pub(crate) async fn the_error_bit_alone_wakes_each_time<R: Runtime>() {
    let rig = Rig::<R>::new();
    let (channel, _theirs) = rig.bind();
    let mut wakes = channel.wakes().unwrap();
    for overflows in 1..4 {
        start(&mut pin!(wakes.next())).await;
        rig.opener.sim.overflow().unwrap();
        let wake = soon(wakes.next()).await.unwrap().unwrap();
        assert_eq!(wake.cause, Cause::Overflow);
        assert_eq!(rig.ctx.stats().overflows, overflows);
    }
}

pub(crate) async fn a_dropped_future_leaves_nothing_and_loses_nothing<R: Runtime>() {
    let rig = Rig::<R>::new();
    let (channel, theirs) = rig.bind();
    let (other, _) = rig.bind();
    let mut keeps = other.woken();
    start(&mut keeps).await;
    let mut woken = channel.woken();
    start(&mut woken).await;
    rig.guest.send(theirs).unwrap();
    until(|| rig.ctx.stats().reads > 0).await;
    // Woken, and never polled again.
    drop(woken);
    channel.wait().unwrap();
    let wakes: Vec<_> = rig.ctx.dispatch().unwrap().collect();
    assert_eq!(wakes, [wake(&channel, Cause::Event)]);
    drop(keeps);
    assert!(!rig.opener.is_watched());
}

pub(crate) async fn a_future_that_is_not_polled_again_starves_no_other<R: Runtime>() {
    let rig = Rig::<R>::new();
    let (stored, theirs) = rig.bind();
    let (channel, second) = rig.bind();
    let mut never = stored.woken();
    start(&mut never).await;
    rig.guest.send(theirs).unwrap();
    for _ in 0..3 {
        let mut woken = channel.woken();
        start(&mut woken).await;
        rig.guest.send(second).unwrap();
        assert_eq!(soon(woken).await.unwrap(), Cause::Event);
    }
    assert_eq!(soon(never).await.unwrap(), Cause::Event);
}

pub(crate) async fn a_stream_of_a_thousand_channels_registers_once<R: Runtime>() {
    let rig = Rig::<R>::new();
    let bound: Vec<_> = (0..1_000).map(|_| rig.bind()).collect();
    let mut wakes = rig.ctx.wakes();
    for (channel, _) in &bound {
        wakes.add(channel.id()).unwrap();
    }
    for _ in 0..3 {
        for (_, theirs) in &bound {
            rig.guest.send(*theirs).unwrap();
        }
        for _ in &bound {
            soon(wakes.next()).await.unwrap().unwrap();
        }
        start(&mut pin!(wakes.next())).await;
    }
    assert_eq!(rig.ctx.stats().registers, 1);
    drop(wakes);
    assert!(!rig.opener.is_watched());
}

pub(crate) async fn a_storm_of_one_channel_hides_no_other<R: Runtime>() {
    let rig = Rig::<R>::new();
    let ((storm, stormy), (calm, calmly)) = (rig.bind(), rig.bind());
    let mut wakes = storm.wakes().unwrap();
    let mut woken = calm.woken();
    start(&mut woken).await;
    rig.guest.send(stormy).unwrap();
    for turn in 0..20 {
        soon(wakes.next()).await.unwrap().unwrap();
        rig.guest.send(stormy).unwrap();
        if turn == 10 {
            rig.guest.send(calmly).unwrap();
        }
    }
    // It came with one of the reads that the storm needed.
    let came = poll_fn(|cx| Poll::Ready(pin!(&mut woken).poll(cx))).await;
    assert!(matches!(came, Poll::Ready(Ok(Cause::Event))));
}

pub(crate) async fn a_peer_on_another_thread_wakes_a_task<R: Runtime>() {
    let rig = Rig::<R>::new();
    let (channel, theirs) = rig.bind();
    let mut wakes = channel.wakes().unwrap();
    for _ in 0..100 {
        let guest = rig.guest.clone();
        let peer = thread::spawn(move || guest.send(theirs).unwrap());
        // It sleeps in the reactor, and takes no turns of its own.
        assert_eq!(wakes.next().await.unwrap().unwrap().cause, Cause::Event);
        peer.join().unwrap();
    }
}

pub(crate) async fn a_task_is_woken_by_the_end_of_its_channel_or_context<R: Runtime>() {
    let rig = Rig::<R>::new();
    let (channel, _) = rig.bind();
    let (mut unbound, _) = rig.bind();
    let mut gone = unbound.woken();
    start(&mut gone).await;
    unbound.unbind().unwrap();
    assert_eq!(soon(gone).await.unwrap(), Cause::Gone);
    let mut woken: Woken<_> = channel.woken();
    start(&mut woken).await;
    drop(rig.ctx);
    assert!(!rig.opener.is_watched());
    assert!(matches!(soon(woken).await, Err(Error::Cancelled)));
}

pub(crate) async fn callbacks_run_in_a_round_that_called_announces<R: Runtime>() {
    let rig = Rig::<R>::new();
    let (channel, theirs) = rig.bind();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    channel
        .set_callback(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
    for call in 1..4 {
        channel.wait().unwrap();
        rig.guest.send(theirs).unwrap();
        soon(R::called(rig.ctx.registrar())).await;
        rig.ctx.dispatch_callbacks().unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), call);
    }
    assert_eq!(rig.ctx.link(), Link::Idle);
}

/// It works as one that the context makes by itself.
pub(crate) async fn an_adapter_of_the_program_drives_the_context<R: Runtime>(event_loop: R::Loop) {
    let (opener, guest) = opener();
    let ctx = Context::with_registrar(opener.clone(), event_loop);
    let channel = ctx.bind_unbound_port(guest.domid()).unwrap();
    let theirs = guest.bind_interdomain(DomId::DOM0, channel.port());
    let mut woken = channel.woken();
    start(&mut woken).await;
    assert!(opener.is_watched());
    guest.send(theirs.unwrap()).unwrap();
    assert_eq!(soon(woken).await.unwrap(), Cause::Event);
    assert!(!opener.is_watched());
}

/// A wake of this channel.
pub(crate) fn wake<R: Registrar>(channel: &Channel<R>, cause: Cause) -> Wake {
    let channel = channel.id();
    Wake { channel, cause }
}

/// The cases, as tests of one runtime.
macro_rules! cases {
    ($runtime:ident: $($case:ident)*) => {$(
        #[test]
        fn $case() {
            for runtime in $runtime::all() {
                crate::tasks::Runtime::block_on(&runtime, crate::tasks::$case::<$runtime>());
            }
        }
    )*};
    ($runtime:ident) => {
        cases! { $runtime:
            a_lone_future_is_registered_while_it_waits
            the_error_bit_alone_wakes_each_time
            a_dropped_future_leaves_nothing_and_loses_nothing
            a_future_that_is_not_polled_again_starves_no_other
            a_stream_of_a_thousand_channels_registers_once
            a_storm_of_one_channel_hides_no_other
            a_peer_on_another_thread_wakes_a_task
            a_task_is_woken_by_the_end_of_its_channel_or_context
            callbacks_run_in_a_round_that_called_announces
            a_future_that_is_never_polled_registers_nothing
            an_event_of_a_dropped_future_goes_to_the_next_one
            a_stream_is_fused_after_the_unbind
            futures_may_be_dropped_in_a_thread_without_a_runtime
            the_reactor_lets_go_of_a_device_before_it_closes
            a_storm_longer_than_a_drive_is_read_to_its_end
        }
    };
}
pub(crate) use cases;
