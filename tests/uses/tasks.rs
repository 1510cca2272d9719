//! Channels in tasks.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use evtchn::tokio::{Channel, Context};
use evtchn::{Cause, DomId, Error, Link, Wake};
use futures_lite::{StreamExt, future};
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;

use super::{bind_peer, machine};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_several_threads_each_own_a_channel() {
    let (sim, guest) = machine();
    let ctx = Arc::new(Context::new(sim.backend(DomId::DOM0)).unwrap());
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let channel = ctx.bind_unbound_port(guest.domid()).unwrap();
        let peer_port = bind_peer(&guest, &channel);
        let ctx = Arc::clone(&ctx);
        tasks.spawn(async move {
            let wake = channel.woken().await?;
            channel.notify()?;
            Ok::<_, Error>((wake, ctx.link()))
        });
        guest.send(peer_port).unwrap();
    }
    let mut woken = 0;
    while let Some(answer) = tasks.join_next().await {
        let (cause, _) = answer.unwrap().unwrap();
        assert_eq!(cause, Cause::Event);
        woken += 1;
    }
    assert_eq!(woken, 8);
    ctx.teardown().unwrap();
}

/// The wake, or nothing after a timeout.
async fn wake_within(channel: &Channel, time: Duration) -> Result<Option<Cause>, Error> {
    tokio::select! {
        woken = channel.woken() => woken.map(Some),
        () = sleep(time) => Ok(None),
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_lost_to_a_timer_loses_no_wake() {
    let (sim, guest) = machine();
    let ctx = Context::new(sim.backend(DomId::DOM0)).unwrap();
    let channel = ctx.bind_unbound_port(guest.domid()).unwrap();
    let peer_port = bind_peer(&guest, &channel);
    let second = Duration::from_secs(1);
    for _ in 0..3 {
        assert_eq!(wake_within(&channel, second).await.unwrap(), None);
        assert_eq!(ctx.link(), Link::Idle, "the dropped future ended its wait");
        guest.send(peer_port).unwrap();
        let woken = wake_within(&channel, second).await.unwrap();
        assert_eq!(woken, Some(Cause::Event));
    }
    // The event comes while the future exists, and the future is dropped without another poll.
    let mut woken = Box::pin(channel.woken());
    assert!(future::poll_once(&mut woken).await.is_none());
    guest.send(peer_port).unwrap();
    ctx.drive().unwrap();
    drop(woken);
    assert_eq!(channel.woken().await.unwrap(), Cause::Event);
}

/// Answers so many wakes.
async fn answer(channel: &Channel, times: u32) -> Result<u32, Error> {
    for _ in 0..times {
        channel.woken().await?;
        channel.notify()?;
    }
    Ok(times)
}

#[tokio::test]
async fn an_async_function_borrows_a_channel_across_an_await() {
    let (sim, guest) = machine();
    let ctx = Context::new(sim.backend(DomId::DOM0)).unwrap();
    let mut channel = ctx.bind_unbound_port(guest.domid()).unwrap();
    let peer_port = bind_peer(&guest, &channel);
    let ask = async {
        for asked in 1..=3 {
            guest.send(peer_port).unwrap();
            // The bind was the first event.
            while guest.events(peer_port).unwrap() < 1 + asked {
                yield_now().await;
            }
        }
    };
    let (answered, ()) = tokio::join!(answer(&channel, 3), ask);
    assert_eq!(answered.unwrap(), 3);
    channel.unbind().unwrap();
}

type Waiting = Pin<Box<dyn Future<Output = Result<Cause, Error>> + Send>>;

#[tokio::test]
async fn futures_of_several_channels_come_in_boxes() {
    let (sim, guest) = machine();
    let ctx = Context::new(sim.backend(DomId::DOM0)).unwrap();
    let bind = |_| ctx.bind_unbound_port(guest.domid()).unwrap();
    let channels: Vec<Channel> = (0..3).map(bind).collect();
    let waits: Vec<Waiting> = channels
        .iter()
        .map(|it| Box::pin(it.woken()) as Waiting)
        .collect();
    let send = async {
        for channel in &channels {
            let peer_port = bind_peer(&guest, channel);
            guest.send(peer_port).unwrap();
        }
    };
    let take = async {
        let mut causes = Vec::new();
        for wait in waits {
            causes.push(wait.await.unwrap());
        }
        causes
    };
    let ((), causes) = future::zip(send, take).await;
    assert_eq!(causes, [Cause::Event; 3]);
}

#[tokio::test]
async fn wakes_are_a_stream_with_combinators() {
    let (sim, guest) = machine();
    let ctx = Context::new(sim.backend(DomId::DOM0)).unwrap();
    let first = ctx.bind_unbound_port(guest.domid()).unwrap();
    let second = ctx.bind_unbound_port(guest.domid()).unwrap();
    let peer_ports = [&first, &second].map(|it| bind_peer(&guest, it));
    let numbers = (first.wakes().unwrap())
        .or(second.wakes().unwrap())
        .map(|wake: Result<Wake, Error>| wake.unwrap().channel)
        .take(4);
    for peer_port in peer_ports {
        guest.send(peer_port).unwrap();
    }
    let mut numbers = Box::pin(numbers);
    let mut seen = vec![
        StreamExt::next(&mut numbers).await.unwrap(),
        StreamExt::next(&mut numbers).await.unwrap(),
    ];
    for peer_port in peer_ports {
        guest.send(peer_port).unwrap();
    }
    seen.extend(numbers.collect::<Vec<_>>().await);
    let count = |id| seen.iter().filter(|it| **it == id).count();
    assert_eq!((count(first.id()), count(second.id())), (2, 2));
    assert_eq!(ctx.link(), Link::Idle);

    // A stream of several channels ends when the last one of them is gone.
    let mut both = ctx.wakes();
    both.add(first.id()).unwrap();
    both.add(second.id()).unwrap();
    sim.destroy_domain(guest.domid()).unwrap();
    ctx.check_peers().unwrap();
    let ends = both
        .take(2)
        .filter(|wake| wake.as_ref().unwrap().cause.is_end());
    assert_eq!(ends.count().await, 2);
}

#[tokio::test]
async fn an_aborted_task_leaves_no_wait() {
    let (sim, guest) = machine();
    let ctx = Context::new(sim.backend(DomId::DOM0)).unwrap();
    let channel = Arc::new(ctx.bind_unbound_port(guest.domid()).unwrap());
    let peer_port = bind_peer(&guest, &channel);
    let waits = Arc::clone(&channel);
    let task = tokio::spawn(async move { waits.woken().await });
    while ctx.link() != Link::Watching {
        yield_now().await;
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(ctx.link(), Link::Idle);
    assert!(!channel.cancel().unwrap(), "nothing waits");
    guest.send(peer_port).unwrap();
    assert_eq!(channel.woken().await.unwrap(), Cause::Event);
}
