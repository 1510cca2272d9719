//! Handlers that leave the unmasking of their port to another thread (I15, I19).

use std::sync::Arc;
use std::time::Duration;

use evtchn_core::{Eoi, OnEoi};
use shuttle::sync::Mutex;
use shuttle::thread;

use crate::explore::scenarios;
use crate::rig::{Bell, Rig, Wire};

scenarios! {
    eoi_completed_on_another_thread_wakes_a_loop_that_blocks,
    eois_completed_on_two_threads_at_once_both_take_effect;
    small
}

const NOW: Duration = Duration::ZERO;

/// Where a handler puts its `Eoi`, which unmasks the port.
#[derive(Default)]
struct Table {
    eoi: Mutex<Option<Eoi>>,
    bell: Bell,
}

impl Table {
    fn put(&self, eoi: Option<Eoi>) {
        let before = std::mem::replace(&mut *self.eoi.lock().unwrap(), eoi);
        assert!(before.is_none(), "the port was masked");
        self.bell.ring();
    }

    /// Blocks until there is one.
    fn take(&self) -> Eoi {
        self.bell.wait_until(|| self.eoi.lock().unwrap().is_some());
        self.eoi.lock().unwrap().take().unwrap()
    }
}

/// Does `act` beside a thread that runs rounds with a handler for each of these channels.
fn beside_handlers<const N: usize>(rig: &Rig, act: impl FnOnce([(&Wire, &Table); N])) {
    let wires = [0; N].map(|_| (rig.wire(), Arc::new(Table::default())));
    let mut handlers = rig.context.handlers();
    for (wire, table) in &wires {
        let table = Arc::clone(table);
        let handler = move |call: &mut evtchn_core::Call| table.put(call.take_eoi());
        let added = handlers.add(wire.channel.id(), OnEoi, handler);
        added.unwrap();
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            while !rig.event_loop.is_stopped() {
                if handlers.next_timeout(NOW).is_none() {
                    rig.event_loop.poll();
                }
                handlers.round(NOW).unwrap();
            }
        });
        act(wires.each_ref().map(|(wire, table)| (wire, &**table)));
        rig.event_loop.stop();
    });
    drop(handlers);
    assert!(!rig.is_registered());
}

fn eoi_completed_on_another_thread_wakes_a_loop_that_blocks() {
    let rig = Rig::new();
    beside_handlers(&rig, |[(wire, table)]| {
        rig.peer.send(wire);
        for _ in 0..2 {
            let eoi = table.take();
            rig.peer.send(wire);
            eoi.complete();
        }
        drop(table.take());
    });
}

fn eois_completed_on_two_threads_at_once_both_take_effect() {
    let rig = Rig::new();
    beside_handlers(&rig, |wires: [_; 2]| {
        thread::scope(|scope| {
            for (wire, table) in wires {
                let rig = &rig;
                scope.spawn(move || {
                    rig.peer.send(wire);
                    let eoi = table.take();
                    rig.peer.send(wire);
                    drop(eoi);
                    let _left_to_the_end = table.take();
                });
            }
        });
    });
}
