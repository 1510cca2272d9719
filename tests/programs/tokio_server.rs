//! A server on tokio: a task for each guest, and one that checks all peers from time to time.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use evtchn::sim::{Guest, Sim};
use evtchn::tokio::{Channel, Context};
use evtchn::{DomId, Error, Link, Port};
use tokio::task::{JoinSet, yield_now};

/// Answers each wake of one guest until the guest is gone.
async fn answer(channel: Channel, woken: Arc<AtomicUsize>) -> Result<(), Error> {
    let mut wakes = channel.wakes()?;
    while let Some(wake) = wakes.next().await {
        if wake?.cause.is_end() {
            break;
        }
        woken.fetch_add(1, Ordering::Relaxed);
        channel.notify()?;
    }
    Ok(())
}

/// Xen sends no event when a guest closes its port or dies. `timer` returns when the next check is
/// due: in a program `|| tokio::time::sleep(Duration::from_secs(5))`.
async fn check_peers<T: Future<Output = ()>>(
    ctx: Context,
    timer: impl Fn() -> T,
) -> Result<(), Error> {
    loop {
        timer().await;
        ctx.check_peers()?;
    }
}

/// A guest asks, waits for the answer, asks again, and is destroyed at the end.
async fn ask(sim: Sim, guest: Guest, port: Port, questions: u32) {
    let peer_port = guest.bind_interdomain(DomId::DOM0, port).unwrap();
    for _ in 0..questions {
        let before = guest.events(peer_port).unwrap();
        guest.send(peer_port).unwrap();
        while guest.events(peer_port).unwrap() == before {
            yield_now().await;
        }
    }
    sim.destroy_domain(guest.domid()).unwrap();
}

#[tokio::test]
async fn a_task_for_each_guest_answers_until_a_check_finds_the_guest_gone() {
    const GUESTS: u32 = 5;
    const QUESTIONS: u32 = 4;

    let sim = Sim::new(1);
    let ctx = Context::new(sim.backend(DomId::DOM0)).unwrap();
    let woken = Arc::new(AtomicUsize::new(0));
    let mut servers = JoinSet::new();
    for _ in 0..GUESTS {
        let guest = sim.guest(sim.create_domain().unwrap());
        let channel = ctx.bind_unbound_port(guest.domid()).unwrap();
        tokio::spawn(ask(sim.clone(), guest, channel.port(), QUESTIONS));
        servers.spawn(answer(channel, Arc::clone(&woken)));
    }
    let checks = tokio::spawn(check_peers(ctx.clone(), yield_now));

    while let Some(ended) = servers.join_next().await {
        ended.unwrap().unwrap();
    }
    // The checks found each guest when it connected at the latest, and when it was gone.
    assert!(!checks.is_finished());
    checks.abort();
    assert!(checks.await.unwrap_err().is_cancelled());
    let woken = woken.load(Ordering::Relaxed);
    assert!(woken >= (GUESTS * QUESTIONS) as usize, "{woken}");
    assert_eq!(ctx.link(), Link::Idle);
    ctx.teardown().unwrap();
}
