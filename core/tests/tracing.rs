//! What a `tracing` subscriber receives from a context.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use crate::support::{FakeLoop, Tester};
use evtchn_core::{Channel, Context, DomId, ErrorKind};
use tracing::Level;

const GUEST: DomId = DomId::new(7);

/// The lines that the subscriber wrote.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for &Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    /// The lines since the last call.
    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

/// Runs a test of one context and collects its messages up to a level.
fn listen(level: Level, test: impl FnOnce(&Paper, &Tester, Context<FakeLoop>)) {
    let paper = Paper::default();
    let writer = Arc::new(paper.clone());
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_max_level(level)
        .with_writer(writer)
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let tester = Tester::new();
        let ctx = tester.context();
        test(&paper, &tester, ctx);
    });
}

fn event(tester: &Tester, channel: &Channel<FakeLoop>) {
    tester.batch(&[channel.port()]);
}

#[test]
fn each_step_of_a_context_is_logged() {
    listen(Level::TRACE, |paper, tester, ctx| {
        let channel = ctx.bind_unbound_port(GUEST).unwrap();
        assert_eq!(paper.take(), ["DEBUG evtchn: opened the device"]);

        channel.wait().unwrap();
        assert_eq!(paper.take(), ["DEBUG evtchn: registered the device"]);

        event(tester, &channel);
        assert_eq!(ctx.dispatch().unwrap().count(), 1);
        assert_eq!(
            paper.take(),
            [
                "TRACE round: evtchn: wake port=1 cause=Event",
                "DEBUG round: evtchn: deregistered the device"
            ]
        );

        assert_eq!(tester.log().first().unwrap(), "open");
        drop(channel);
        assert!(paper.take().is_empty());
        ctx.teardown().unwrap();
        assert_eq!(paper.take(), ["DEBUG evtchn: closed the device"]);
    });
}

#[test]
fn messages_of_the_loop_are_in_the_span_of_its_hook() {
    listen(Level::DEBUG, |paper, tester, ctx| {
        let channel = ctx.bind_unbound_port(GUEST).unwrap();
        let hook = || Box::new(|| tracing::info!(target: "loop", "here"));
        tester.script().on_register = Some(hook());
        tester.script().on_deregister = Some(hook());
        channel.wait().unwrap();
        channel.cancel().unwrap();
        assert_eq!(
            paper.take(),
            [
                "DEBUG evtchn: opened the device",
                "INFO hook{effect=Register}: loop: here",
                "DEBUG evtchn: registered the device",
                "INFO hook{effect=Deregister}: loop: here",
                "DEBUG evtchn: deregistered the device",
            ]
        );
    });
}

#[test]
fn an_overflow_and_a_fault_are_logged_once_before_their_wakes() {
    listen(Level::TRACE, |paper, tester, ctx| {
        let channel = ctx.bind_unbound_port(GUEST).unwrap();
        channel.wait().unwrap();
        paper.take();

        tester.fail("read", ErrorKind::Overflow);
        let mut round = ctx.dispatch().unwrap();
        let woken = round.next().unwrap();
        channel.wait().unwrap();
        round.finish().unwrap();
        assert_eq!(woken.channel, channel.id());
        assert_eq!(
            paper.take(),
            [
                "WARN round: evtchn: the driver's ring overflowed: every waiter is woken",
                "TRACE round: evtchn: wake port=1 cause=Overflow",
            ]
        );

        tester.fail("read", ErrorKind::Other);
        let mut round = ctx.dispatch().unwrap();
        assert!(round.next().is_some());
        round.finish().unwrap_err();
        assert_eq!(
            paper.take(),
            [
                "ERROR round: evtchn: the device failed: every channel is dead \
                 error=\"cannot read the ports that fired: it failed\"",
                "TRACE round: evtchn: wake port=1 cause=Gone",
                "DEBUG round: evtchn: deregistered the device",
                "DEBUG round: evtchn: closed the device",
            ]
        );
    });
}

/// Without a round.
#[test]
fn an_overflow_that_a_bind_finds_is_logged() {
    listen(Level::WARN, |paper, tester, ctx| {
        let [channel, mut gone] = [0; 2].map(|_| ctx.bind_unbound_port(GUEST).unwrap());
        channel.wait().unwrap();
        gone.unbind().unwrap();
        paper.take();
        tester.fail("read", ErrorKind::Overflow);
        let _next = ctx.bind_unbound_port(GUEST).unwrap();
        assert_eq!(
            paper.take(),
            ["WARN evtchn: the driver's ring overflowed: every waiter is woken"]
        );
    });
}

#[test]
fn a_failed_call_is_logged_with_its_cause() {
    listen(Level::WARN, |paper, tester, ctx| {
        tester.fail("open", ErrorKind::NoDevice);
        ctx.bind_unbound_port(GUEST).unwrap_err();
        let channel = ctx.bind_unbound_port(GUEST).unwrap();
        tester.fail("register", ErrorKind::Other);
        channel.wait().unwrap_err();
        assert_eq!(
            paper.take(),
            [
                "WARN evtchn: failed call=\"open\" \
                 error=cannot open the event-channel device: there is no device \
                 error.sources=[open failed as scripted: NoDevice]",
                "WARN evtchn: failed call=\"hook\" \
                 error=the event loop refused the device: register failed as scripted: Other",
            ]
        );
    });
}

#[test]
fn a_subscriber_that_calls_back_finds_no_lock_held() {
    // A deadlock here would be the failure; the state is locked by each of these calls.
    type Asked = Arc<Mutex<Option<Arc<Context<FakeLoop>>>>>;
    struct Asks(Asked);
    impl Write for Asks {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(ctx) = &*self.0.lock().unwrap() {
                let _stats = ctx.stats();
                let _timeout = ctx.next_timeout();
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let asked = Asked::default();
    let writer = Arc::clone(&asked);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_writer(move || Asks(Arc::clone(&writer)))
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let tester = Tester::new();
        let ctx = Arc::new(tester.context());
        *asked.lock().unwrap() = Some(Arc::clone(&ctx));
        let channel = ctx.bind_unbound_port(GUEST).unwrap();
        for kind in [None, Some(ErrorKind::Overflow), Some(ErrorKind::Other)] {
            channel.wait().unwrap();
            match kind {
                None => event(&tester, &channel),
                Some(kind) => tester.fail("read", kind),
            }
            assert_eq!(ctx.dispatch().unwrap().count(), 1);
        }
        *asked.lock().unwrap() = None;
        assert_eq!((ctx.stats().overflows, ctx.stats().faults), (1, 1));
    });
}
