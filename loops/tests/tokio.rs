//! Tasks on tokio.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "functions that only tests call"
)]

use std::future::{Future, poll_fn};
use std::os::unix::net::UnixDatagram;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as Cx, Poll, Wake, Waker};
use std::thread;

use crate::tasks::{Opener, Rig, Runtime as _, cases, opener, soon, start};
use evtchn_core::{Cause, Context, Error, Link, Woken};
use evtchn_loops::TokioRegistrar;
use tokio::runtime::{Builder, Runtime};
use tokio::task::coop::{consume_budget, has_budget_remaining};

struct Tokio(Runtime);

impl Tokio {
    fn all() -> [Tokio; 2] {
        let current = Builder::new_current_thread().enable_io().build();
        let many = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_io()
            .build();
        [current, many].map(|runtime| Tokio(runtime.unwrap()))
    }
}

impl crate::tasks::Runtime for Tokio {
    type Loop = TokioRegistrar;

    fn context(opener: Opener) -> Context<TokioRegistrar> {
        Context::new(opener).unwrap()
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    async fn called(event_loop: &TokioRegistrar) {
        event_loop.called().await;
    }
}

cases!(Tokio);

#[test]
fn an_adapter_that_the_program_makes_drives_its_context() {
    for runtime in Tokio::all() {
        runtime.block_on(async {
            let event_loop = TokioRegistrar::new().unwrap();
            crate::tasks::an_adapter_of_the_program_drives_the_context::<Tokio>(event_loop).await;
        });
    }
}

#[test]
fn outside_a_runtime_there_is_no_adapter() {
    assert!(TokioRegistrar::new().is_err());
    assert!(Context::<TokioRegistrar>::new(opener().0).is_err());
}

#[test]
fn a_future_that_waits_may_be_dropped_outside_of_its_runtime_and_after_it() {
    for drop_runtime_first in [false, true] {
        for runtime in Tokio::all() {
            let (rig, channel, woken) = runtime.block_on(async {
                let rig = Rig::<Tokio>::new();
                let (channel, _) = rig.bind();
                let mut woken = channel.woken();
                start(&mut woken).await;
                (rig, channel, woken)
            });
            let runtime = (!drop_runtime_first).then_some(runtime);
            drop(woken);
            assert_eq!(rig.ctx.link(), Link::Idle);
            drop((channel, rig, runtime));
        }
    }
}

#[test]
fn after_its_runtime_a_wait_is_an_error() {
    for runtime in Tokio::all() {
        let rig = runtime.block_on(async { Rig::<Tokio>::new() });
        let (channel, _) = rig.bind();
        drop(runtime);
        channel.wait().unwrap_err();
        assert_eq!(rig.ctx.link(), Link::Idle);
    }
}

/// What tokio's own I/O answers in a runtime that was shut down meanwhile.
fn answer_of_tokio(runtime: Runtime) -> String {
    let (ours, _theirs) = UnixDatagram::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let watched = {
        let _inside = runtime.enter();
        tokio::net::UnixDatagram::from_std(ours).unwrap()
    };
    drop(runtime);
    let polled = watched.poll_recv_ready(&mut Cx::from_waker(Waker::noop()));
    let Poll::Ready(Err(error)) = polled else {
        panic!("tokio waits on");
    };
    error.to_string()
}

/// A waker that remembers whether it was called.
#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Bell {
    fn rang(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

#[test]
fn waits_under_way_end_with_the_error_of_tokio_when_its_runtime_is_shut_down() {
    for Tokio(runtime) in Tokio::all() {
        let rig = runtime.block_on(async { Rig::<Tokio>::new() });
        let bound = [rig.bind(), rig.bind(), rig.bind()];
        let bell = Arc::<Bell>::default();
        let waker = Waker::from(Arc::clone(&bell));
        let cx = &mut Cx::from_waker(&waker);
        let mut woken = pin!(bound[0].0.woken());
        assert!(woken.as_mut().poll(cx).is_pending());
        let mut wakes = bound[1].0.wakes().unwrap();
        assert!(wakes.poll_wake(cx).is_pending());
        bound[2].0.wait().unwrap();
        let mut called = pin!(rig.ctx.registrar().called());
        assert!(called.as_mut().poll(cx).is_pending());
        assert!(!bell.rang());

        let expected = answer_of_tokio(runtime);
        assert!(bell.rang());
        let Poll::Ready(Err(Error::Register(error))) = woken.as_mut().poll(cx) else {
            panic!("the future waits on");
        };
        assert_eq!(error.to_string(), expected);
        let Poll::Ready(Some(Err(Error::Register(error)))) = wakes.poll_wake(cx) else {
            panic!("the stream waits on");
        };
        assert_eq!(error.to_string(), expected);
        assert!(called.as_mut().poll(cx).is_ready());
        let Err(Error::Register(error)) = rig.ctx.dispatch_callbacks() else {
            panic!("the round says nothing");
        };
        assert_eq!(error.to_string(), expected);
        assert!(!rig.opener.is_watched());
    }
}

#[test]
fn a_thread_that_waits_elsewhere_ends_when_the_runtime_is_shut_down() {
    for Tokio(runtime) in Tokio::all() {
        let rig = runtime.block_on(async { Rig::<Tokio>::new() });
        let (channel, _) = rig.bind();
        let (started, waits) = std::sync::mpsc::channel();
        let ended = thread::spawn(move || {
            let mut woken = channel.woken();
            async_io::block_on(async {
                start(&mut woken).await;
                started.send(()).unwrap();
                woken.await
            })
        });
        waits.recv().unwrap();
        runtime.shutdown_background();
        let failed = ended.join().unwrap();
        assert!(matches!(failed, Err(Error::Register(_))));
    }
}

#[test]
fn events_from_before_the_shutdown_are_delivered_first() {
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    let rig = runtime.block_on(async { Rig::<Tokio>::new() });
    let ((fired, theirs), (quiet, _)) = (rig.bind(), rig.bind());
    let cx = &mut Cx::from_waker(Waker::noop());
    let (mut first, mut second) = (pin!(fired.woken()), pin!(quiet.woken()));
    assert!(first.as_mut().poll(cx).is_pending());
    assert!(second.as_mut().poll(cx).is_pending());
    // The reactor does not turn any more.
    rig.guest.send(theirs).unwrap();
    drop(runtime);
    assert!(matches!(
        first.as_mut().poll(cx),
        Poll::Ready(Ok(Cause::Event))
    ));
    assert!(matches!(second.as_mut().poll(cx), Poll::Ready(Err(_))));
}

#[test]
fn after_its_runtime_all_but_a_wait_works_and_nothing_is_lost() {
    for Tokio(runtime) in Tokio::all() {
        let rig = runtime.block_on(async { Rig::<Tokio>::new() });
        let (channel, theirs) = rig.bind();
        channel.wait().unwrap();
        drop(runtime);
        // The wait from before is not taken back, and each round says what is wrong with it.
        rig.ctx.dispatch().unwrap().finish().unwrap_err();
        channel.cancel().unwrap();
        rig.ctx.dispatch().unwrap().finish().unwrap();
        channel.notify().unwrap();
        let (mut second, _) = rig.bind();
        second.wait().unwrap_err();
        second.unbind().unwrap();
        rig.guest.send(theirs).unwrap();
        // The next bind reads, and keeps what came.
        drop(rig.bind());
        // A wake that a round would hand out has the device registered; a task takes it at once.
        channel.wait().unwrap_err();
        assert_eq!(rig.ctx.dispatch().unwrap().count(), 0);
        let woken = pin!(channel.woken()).poll(&mut Cx::from_waker(Waker::noop()));
        assert!(matches!(woken, Poll::Ready(Ok(Cause::Event))));
        drop(channel);
        rig.ctx.teardown().unwrap();
        assert_eq!(rig.ctx.link(), Link::Closed);
    }
}

#[test]
fn a_branch_of_select_that_loses_loses_no_wake() {
    for runtime in Tokio::all() {
        runtime.block_on(async {
            let rig = Rig::<Tokio>::new();
            let (channel, theirs) = rig.bind();
            for _ in 0..10 {
                tokio::select! {
                    biased;
                    _ = channel.woken() => panic!("nothing was sent"),
                    () = crate::tasks::turn() => {}
                }
                assert!(!rig.opener.is_watched());
                rig.guest.send(theirs).unwrap();
                assert_eq!(soon(channel.woken()).await.unwrap(), Cause::Event);
            }
        });
    }
}

#[test]
fn a_thousand_tasks_are_each_woken() {
    for runtime in Tokio::all() {
        runtime.block_on(async {
            let rig = Rig::<Tokio>::new();
            let bound: Vec<_> = (0..1_000).map(|_| rig.bind()).collect();
            let wait = |woken: Woken<_>| tokio::spawn(async move { soon(woken).await.unwrap() });
            let tasks: Vec<_> = bound.iter().map(|(it, _)| wait(it.woken())).collect();
            for (_, theirs) in &bound {
                rig.guest.send(*theirs).unwrap();
            }
            for task in tasks {
                assert_eq!(task.await.unwrap(), Cause::Event);
            }
            assert_eq!(rig.ctx.link(), Link::Idle);
        });
    }
}

#[test]
fn no_task_is_spawned() {
    for runtime in Tokio::all() {
        let tasks = runtime.0.metrics();
        runtime.block_on(async {
            let rig = Rig::<Tokio>::new();
            let (channel, theirs) = rig.bind();
            for _ in 0..3 {
                let mut woken = channel.woken();
                start(&mut woken).await;
                assert_eq!(tasks.num_alive_tasks(), 0);
                rig.guest.send(theirs).unwrap();
                assert_eq!(soon(woken).await.unwrap(), Cause::Event);
                assert_eq!(tasks.num_alive_tasks(), 0);
            }
        });
    }
}

/// There the runtime would call the adapter from inside its own poll.
#[test]
fn a_task_without_budget_may_register() {
    for runtime in Tokio::all() {
        runtime.block_on(async {
            let rig = Rig::<Tokio>::new();
            let (channel, theirs) = rig.bind();
            let mut woken = channel.woken();
            poll_fn(|cx| {
                while has_budget_remaining() {
                    let _spent = pin!(consume_budget()).poll(cx);
                }
                assert!(pin!(&mut woken).poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            rig.guest.send(theirs).unwrap();
            assert_eq!(soon(woken).await.unwrap(), Cause::Event);
        });
    }
}
