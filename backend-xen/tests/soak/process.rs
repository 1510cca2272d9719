//! A process of a soak: its server, its clients and its player, lap after lap.

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::thread;

use anyhow::{Context as _, Result, anyhow};

use crate::board::{CLIENTS, Phase, THREADS};
use crate::client::Client;
use crate::place::Place;
use crate::player::Player;
use crate::random::Random;
use crate::server::{Hub, Server};
use crate::side::Side;

/// Runs the process to the end of the run. A failure stops all processes.
pub(crate) fn run<S: Side>(side: &S, place: Place, seed: u64) -> Result<()> {
    guarded(place, "process", || live(side, place, seed))
}

fn live<S: Side>(side: &S, place: Place, seed: u64) -> Result<()> {
    let hub = Hub::new(side)?;
    for lap in 0.. {
        let moment = place.board.moment();
        match moment.phase() {
            Phase::Run | Phase::Drain => lap_of(side, &hub, place, seed.wrapping_add(lap))?,
            Phase::Close | Phase::Measure => place.board.await_change(moment),
            Phase::End => break,
        }
        if place.is_over() {
            break;
        }
    }
    Ok(())
}

/// One lap. After it nothing is bound.
fn lap_of<S: Side>(side: &S, hub: &Hub<S>, place: Place, seed: u64) -> Result<()> {
    let epoch = place.mine().epoch.load(Ordering::SeqCst);
    let random = |thread: usize| {
        let thread = place.process * THREADS + thread;
        Random::new(seed.wrapping_add(u64::from(epoch) << 32), thread)
    };
    let server = Server::open(hub, place, random(0))?;
    let clients = (0..CLIENTS).map(|it| Client::new(side, &hub.ctx, place, it, random(1 + it)));
    let clients = clients.collect::<Result<Vec<_>>>()?;
    let player = Player::new(side, place, random(1 + CLIENTS))?;
    thread::scope(|scope| {
        let serving = scope.spawn(move || guarded(place, "server", || server.run()));
        let talking = clients.into_iter();
        let mut others: Vec<_> = talking
            .map(|client| scope.spawn(move || guarded(place, "client", || client.run())))
            .collect();
        others.push(scope.spawn(move || guarded(place, "player", || player.run())));
        for thread in others {
            // The thread has reported its error already.
            let _ended = thread.join();
        }
        if !place.is_over() {
            place.mine().done(place.board.moment());
        }
        let _ended = serving.join();
    });
    let closing = place.board.moment();
    if place.is_over() {
        return Ok(());
    }
    place.mine().done(closing);
    while place.board.moment() == closing && !place.is_over() {
        place.board.await_change(closing);
    }
    let measuring = place.board.moment();
    measure(place)?;
    place.mine().done(measuring);
    while place.board.moment() == measuring && !place.is_over() {
        place.board.await_change(measuring);
    }
    Ok(())
}

/// Stores what memory and descriptors this process takes.
fn measure(place: Place) -> Result<()> {
    // Where processes are threads, one would count a descriptor that another has open to count.
    static COUNTING: Mutex<()> = Mutex::new(());
    let _counting = COUNTING.lock();
    let vitals = &place.mine().vitals;
    vitals.heap.store(crate::heap(), Ordering::SeqCst);
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next());
    let resident: u64 = kibibytes.context("no VmRSS")?.parse()?;
    vitals.resident.store(resident * 1024, Ordering::SeqCst);
    // The descriptor of the directory itself is closed again.
    let descriptors = fs::read_dir("/proc/self/fd")?.count().saturating_sub(1);
    vitals
        .descriptors
        .store(descriptors as u64, Ordering::SeqCst);
    Ok(())
}

/// Does something. Where that fails, reports it and stops the run.
fn guarded<T>(place: Place, thread: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let ended = panic::catch_unwind(AssertUnwindSafe(act));
    let ended = ended.unwrap_or_else(|_| Err(anyhow!("panicked")));
    if let Err(error) = &ended {
        (place.complain)(&format!("{thread} of process {}: {error:#}", place.process));
        place.board.fail();
    }
    ended
}
