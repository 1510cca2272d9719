//! Pairs of tasks that begin to wait and their ends.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context as Cx, Poll, Wake, Waker};

use evtchn::{Cause, Wakes};

use super::rig::{Pair, Rig, flat};

pub(super) const PAIRS: &[Pair] = &[
    (
        "first_poll_and_drop_of_a_future",
        &["Channel::woken"],
        futures,
    ),
    ("first_poll_and_cancel_of_a_future", &[], cancelled_futures),
    (
        "futures_that_come_and_go_inside_a_waker",
        &["Context::woken"],
        inside_a_waker,
    ),
    (
        "streams_that_come_and_go_inside_a_waker",
        &["Context::wakes"],
        streams_inside_a_waker,
    ),
    (
        "add_and_remove_of_a_stream",
        &["Wakes::add", "Wakes::remove"],
        add_and_remove,
    ),
    ("add_and_cancel_of_a_stream", &[], add_and_cancel),
    (
        "add_and_cancel_of_a_stream_with_a_latch",
        &[],
        add_and_cancel_latched,
    ),
    ("a_future_and_its_wake", &[], woken),
    (
        "an_event_and_a_stream_that_takes_it",
        &["Wakes::poll_wake", "Wakes::next"],
        taken,
    ),
    (
        "streams_that_are_begun_and_dropped",
        &["Channel::wakes"],
        begun,
    ),
];

fn cx() -> Cx<'static> {
    Cx::from_waker(Waker::noop())
}

fn woken(rig: &Rig) {
    flat(|| {
        let mut woken = pin!(rig.channels[1].woken());
        assert!(woken.as_mut().poll(&mut cx()).is_pending());
        rig.event(1);
        let woken = woken.poll(&mut cx());
        assert!(matches!(woken, Poll::Ready(Ok(Cause::Event))));
    });
}

fn taken(rig: &Rig) {
    let mut wakes = rig.channels[1].wakes().unwrap();
    let take = |wakes: &mut Wakes<_>| {
        let taken = wakes.poll_wake(&mut cx());
        assert!(matches!(taken, Poll::Ready(Some(Ok(_)))));
        let next = pin!(wakes.next());
        assert!(next.poll(&mut cx()).is_pending());
    };
    flat(|| {
        rig.event(1);
        take(&mut wakes);
    });
}

fn begun(rig: &Rig) {
    flat(|| {
        let mut wakes = rig.channels[1].wakes().unwrap();
        rig.event(1);
        assert!(wakes.poll_wake(&mut cx()).is_ready());
        drop(rig.channels[2].wakes().unwrap());
    });
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Cx::from_waker(Waker::noop()))
}

fn futures(rig: &Rig) {
    flat(|| {
        let mut woken = rig.channels[1].woken();
        assert!(poll(&mut woken).is_pending());
    });
}

fn cancelled_futures(rig: &Rig) {
    flat(|| {
        let mut woken = rig.channels[1].woken();
        assert!(poll(&mut woken).is_pending());
        rig.channels[1].cancel().unwrap();
        assert!(poll(&mut woken).is_ready());
    });
}

/// Takes its turns inside a waker. Other tasks are woken after the waker has returned.
struct Inside<F>(Mutex<Option<F>>);

impl<F: FnOnce() + Send + 'static> Wake for Inside<F> {
    fn wake(self: Arc<Self>) {
        let turns = self.0.lock().unwrap().take();
        turns.unwrap()();
    }
}

fn inside_a_waker_of(rig: &Rig, turns: impl FnOnce() + Send + 'static) {
    let inside = Arc::new(Inside(Mutex::new(Some(turns))));
    let waker = Waker::from(Arc::clone(&inside));
    let mut woken = rig.channels[3].woken();
    assert!(
        Pin::new(&mut woken)
            .poll(&mut Cx::from_waker(&waker))
            .is_pending()
    );
    rig.event(3);
    assert!(inside.0.lock().unwrap().is_none(), "the waker was called");
    assert_eq!(rig.ctx.stats().unreported, 0, "and has not panicked");
}

/// Each future that is cancelled and dropped leaves an entry in the queue of tasks to wake.
fn inside_a_waker(rig: &Rig) {
    let (ctx, id) = (Arc::clone(&rig.ctx), rig.channels[1].id());
    inside_a_waker_of(rig, move || {
        flat(|| {
            let mut woken = ctx.woken(id);
            assert!(poll(&mut woken).is_pending());
            ctx.cancel(id).unwrap();
        });
    });
}

fn streams_inside_a_waker(rig: &Rig) {
    let ids = [rig.channels[1].id(), rig.channels[2].id()];
    let ctx = Arc::clone(&rig.ctx);
    inside_a_waker_of(rig, move || {
        flat(|| {
            let mut both = [ctx.wakes(), ctx.wakes()];
            for (wakes, id) in both.iter_mut().zip(ids) {
                wakes.add(id).unwrap();
                ctx.cancel(id).unwrap();
            }
        });
    });
}

fn add_and_remove(rig: &Rig) {
    let (id, mut wakes) = (rig.channels[1].id(), rig.ctx.wakes());
    flat(|| {
        wakes.add(id).unwrap();
        assert!(wakes.remove(id));
    });
}

fn add_and_cancel(rig: &Rig) {
    let mut wakes = rig.ctx.wakes();
    flat(|| {
        for channel in &rig.channels[1..] {
            wakes.add(channel.id()).unwrap();
            channel.cancel().unwrap();
        }
    });
}

fn add_and_cancel_latched(rig: &Rig) {
    let mut wakes = rig.ctx.wakes();
    rig.event(1);
    flat(|| {
        wakes.add(rig.channels[1].id()).unwrap();
        rig.channels[1].cancel().unwrap();
    });
    drop(wakes);
    rig.channels[1].wait().unwrap();
    let round = rig.ctx.dispatch().unwrap();
    let wakes: Vec<_> = round.map(|wake| (wake.channel, wake.cause)).collect();
    let both = [0, 1].map(|index: usize| (rig.channels[index].id(), Cause::Event));
    assert_eq!(wakes, both);
}
