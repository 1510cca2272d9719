//! Tasks on tokio.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "functions that only tests call"
)]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use crate::tasks::{Opener, Rig, Runtime as _, cases, opener, soon, start};
use evtchn_core::{Cause, Context, Link, Woken};
use evtchn_loops::TokioLoop;
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
    type Loop = TokioLoop;

    fn context(opener: Opener) -> Context<Opener, TokioLoop> {
        TokioLoop::context(opener).unwrap()
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }

    async fn called(event_loop: &TokioLoop) {
        event_loop.called().await;
    }
}

cases!(Tokio);

#[test]
fn an_adapter_without_its_context_registers_nothing() {
    for runtime in Tokio::all() {
        runtime.block_on(async {
            let event_loop = TokioLoop::new().unwrap();
            crate::tasks::without_its_context_nothing_is_registered::<Tokio>(event_loop).await;
        });
    }
}

#[test]
fn outside_a_runtime_there_is_no_adapter() {
    assert!(TokioLoop::new().is_err());
    assert!(TokioLoop::context(opener().0).is_err());
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
            let wait = |woken: Woken<_, _>| tokio::spawn(async move { soon(woken).await.unwrap() });
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
