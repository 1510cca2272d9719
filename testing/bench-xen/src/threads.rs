//! Threads that notify while another one handles what they send.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::{
    library::Looped,
    play::{BEGIN, END},
    tally::Tally,
};

/// How wakes are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Style {
    /// As values
    Evtchn,
    /// By callbacks
    EvtchnCallback,
}

/// So many threads, each with a channel of its own.
#[derive(Debug, clap::Args)]
pub(crate) struct Threads {
    #[arg(value_enum)]
    style: Style,
    threads: usize,
    /// Number of notifies of each
    notifies: usize,
}

/// How far each side is.
#[derive(Debug, Default)]
struct Gate {
    arrived: AtomicUsize,
    begun: AtomicBool,
    done: AtomicUsize,
    ended: AtomicBool,
}

impl Threads {
    /// Runs them, with a mark before the first notify and one after the last wake.
    pub(crate) fn run(&self) -> Result<()> {
        match self.style {
            Style::Evtchn => self.on(Looped::batches(self.threads)?),
            Style::EvtchnCallback => self.on(Looped::callbacks(self.threads)?),
        }
    }

    fn on(&self, (mut scene, tally): (Looped, Arc<Tally>)) -> Result<()> {
        let gate = Gate::default();
        let notifies = self.notifies;
        let event_loop = &scene.event_loop.clone();
        thread::scope(|scope| {
            let threads: Vec<_> = scene
                .channels
                .notifiers()
                .map(|notifier| {
                    let gate = &gate;
                    scope.spawn(move || {
                        gate.arrived.fetch_add(1, Ordering::SeqCst);
                        wait_until(|| gate.begun.load(Ordering::SeqCst));
                        let notified = (0..notifies).try_for_each(|_| notifier.notify());
                        gate.done.fetch_add(1, Ordering::SeqCst);
                        event_loop.wake();
                        // What a thread does to end is not to be traced, and neither is its start.
                        wait_until(|| gate.ended.load(Ordering::SeqCst));
                        notified
                    })
                })
                .collect();
            wait_until(|| gate.arrived.load(Ordering::SeqCst) == threads.len());
            println!("{BEGIN}");
            gate.begun.store(true, Ordering::SeqCst);
            let handled = handle(&mut scene, &tally, &gate, threads.len());
            println!("{END}");
            gate.ended.store(true, Ordering::SeqCst);
            for thread in threads {
                let notified = thread.join();
                notified.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            }
            handled
        })?;
        println!("{} wakes", tally.total());
        ensure!(tally.total() >= self.threads, "a notify was lost");
        Ok(())
    }
}

/// Handles until all threads are done and nothing is left.
fn handle(scene: &mut Looped, tally: &Tally, gate: &Gate, threads: usize) -> Result<()> {
    loop {
        let are_done = gate.done.load(Ordering::SeqCst) == threads;
        let before = tally.total();
        if are_done {
            // So that it does not sleep.
            scene.event_loop.wake();
        }
        scene.turn()?;
        if are_done && tally.total() == before {
            return Ok(());
        }
    }
}

/// Without a futex, which would be traced.
fn wait_until(is_so: impl Fn() -> bool) {
    while !is_so() {
        thread::yield_now();
    }
}
