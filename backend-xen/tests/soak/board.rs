//! The memory that all processes of a soak share: what was sent on each link and what was seen of
//! it, the phase of the run and which processes have finished it, and the counters. What a killed
//! process had counted is still there.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use evtchn_core::Port;
use rustix::thread::futex::{self, Timespec};

pub(crate) const PROCESSES: usize = 3;
/// Threads of a process that talk to the server of a process. The first talks to its own.
pub(crate) const CLIENTS: usize = 3;
/// Links of a client.
pub(crate) const LINKS: usize = 8;
/// Threads of a process that have to make progress: its server, its clients, its player.
pub(crate) const THREADS: usize = CLIENTS + 2;

/// How long a thread may make no progress while others do. Only a failure ever waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How many steps the others make in that time at least. Where they make fewer, the machine is slow
/// and not one of its threads.
const STEPS: u64 = 10_000;
/// How many times as long may pass without that.
const SLOWNESS: u32 = 12;
/// How long a thread sleeps before it checks whether the run goes on.
pub(crate) const SLICE: Duration = Duration::from_millis(200);

/// What the processes do; each lap goes through all but the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Clients talk, servers answer, players play.
    Run,
    /// Clients and players unbind all they have.
    Drain,
    /// Servers too, and contexts are torn down.
    Close,
    /// Nothing is bound: every process stores what it takes.
    Measure,
    /// The run is over.
    End,
}

/// A phase of a lap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u32);

impl Moment {
    const END: u32 = u32::MAX;

    pub(crate) fn phase(self) -> Phase {
        match self.0 {
            Moment::END => Phase::End,
            word if word % 4 == 0 => Phase::Run,
            word if word % 4 == 1 => Phase::Drain,
            word if word % 4 == 2 => Phase::Close,
            _ => Phase::Measure,
        }
    }
}

/// All of it, zero at the start.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Board {
    moment: AtomicU32,
    /// A process found an error.
    failed: AtomicU32,
    /// Rung now and then, for the supervisor.
    beat: AtomicU32,
    /// Of all threads.
    pub(crate) steps: AtomicU64,
    pub(crate) processes: [Process; PROCESSES],
    /// By the process of the client, and the client.
    links: [[[Link; LINKS]; CLIENTS]; PROCESSES],
}

/// What a process reports to the others.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Process {
    /// How often it was started.
    pub(crate) epoch: AtomicU32,
    /// The epoch in which it has offered all its links.
    pub(crate) up: AtomicU32,
    /// It has to stop as if it was killed. Only for processes that are threads.
    pub(crate) crashes: AtomicU32,
    /// One more than the last moment that it has come to the end of.
    done: AtomicU32,
    pub(crate) progress: [AtomicU64; THREADS],
    /// What its server is doing.
    pub(crate) doing: AtomicU32,
    pub(crate) tally: Tally,
    pub(crate) vitals: Vitals,
}

/// What was done.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) operations: AtomicU64,
    pub(crate) wakes: AtomicU64,
    pub(crate) binds: AtomicU64,
    pub(crate) unbinds: AtomicU64,
    pub(crate) notifies: AtomicU64,
    pub(crate) overflows: AtomicU64,
    pub(crate) forks: AtomicU64,
    /// Links that a client gave up because their server was started anew.
    pub(crate) abandoned: AtomicU64,
    /// Binds that were refused because a killed process was not all gone.
    pub(crate) refused: AtomicU64,
}

/// What a process takes while nothing is bound.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    pub(crate) heap: AtomicU64,
    pub(crate) resident: AtomicU64,
    pub(crate) descriptors: AtomicU64,
}

/// One link from a client to a server. The port of the server may be bound anew to the next client,
/// and each time the link has another life.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Link {
    offer: AtomicU64,
    lives: AtomicU32,
    /// Rung at each offer.
    bell: AtomicU32,
    /// The last life that a client has ended.
    pub(crate) bye: AtomicU32,
    /// What the client has said, counted before it notifies.
    pub(crate) said: AtomicU64,
    /// What the server has seen of that, before it answers.
    pub(crate) seen: AtomicU64,
    /// Answers, counted before the server notifies.
    pub(crate) answers: AtomicU64,
}

/// A port that a client may bind to, and the life that the bind begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) life: u32,
    pub(crate) port: Port,
}

impl Offer {
    fn word(self) -> u64 {
        u64::from(self.life) << 32 | u64::from(self.port.as_raw())
    }
}

impl Link {
    /// Stands in place of an offer while its process is killed. Nothing can be offered then.
    const SHUT: u64 = u64::MAX;

    /// What is offered now, and a number for [`await_offer`](Self::await_offer).
    pub(crate) fn offer(&self) -> (Option<Offer>, u32) {
        let bell = self.bell.load(Ordering::SeqCst);
        (Link::decode(self.offer.load(Ordering::SeqCst)), bell)
    }

    fn decode(word: u64) -> Option<Offer> {
        if word == Link::SHUT {
            return None;
        }
        let life = u32::try_from(word >> 32).ok()?;
        let port = Port::new(u32::try_from(word & u64::from(u32::MAX)).ok()?)?;
        Some(Offer { life, port })
    }

    /// Offers a port for the next life, which it returns; `before` is the word of the last offer.
    /// Offers nothing where the process is being killed.
    pub(crate) fn publish(&self, port: Port, before: &mut u64) -> u32 {
        let life = self.lives.fetch_add(1, Ordering::SeqCst) + 1;
        let word = Offer { life, port }.word();
        let order = Ordering::SeqCst;
        if self
            .offer
            .compare_exchange(*before, word, order, order)
            .is_ok()
        {
            *before = word;
            ring(&self.bell);
        }
        life
    }

    /// Offers nothing any more; `before` is the word of the last offer.
    pub(crate) fn withdraw(&self, before: u64) {
        let order = Ordering::SeqCst;
        // While the process is being killed nothing is offered anyway.
        let _shut = self.offer.compare_exchange(before, 0, order, order);
    }

    /// The word of the last offer, for the first [`publish`](Self::publish) of a new process.
    pub(crate) fn last_offer(&self) -> u64 {
        self.offer.load(Ordering::SeqCst)
    }

    /// Sleeps until there is another offer.
    pub(crate) fn await_offer(&self, bell: u32) {
        sleep_while(&self.bell, bell, SLICE);
    }
}

/// A thread that waits for something, and what all had done by then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    since: Instant,
    steps: u64,
}

impl Waiting {
    /// Whether that is too long.
    pub(crate) fn is_over(self, board: &Board, patience: Duration) -> bool {
        let elapsed = self.since.elapsed();
        let steps = board.steps.load(Ordering::SeqCst) - self.steps;
        elapsed >= SLOWNESS * patience || elapsed >= patience && steps >= STEPS
    }
}

impl Board {
    /// Waiting from now on.
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting {
            since: Instant::now(),
            steps: self.steps.load(Ordering::SeqCst),
        }
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment(self.moment.load(Ordering::SeqCst))
    }

    /// Goes to the next phase, or to the end.
    pub(crate) fn go_on(&self, to: Phase) -> Moment {
        let now = self.moment.load(Ordering::SeqCst);
        let next = if to == Phase::End {
            Moment::END
        } else {
            now + 1
        };
        self.moment.store(next, Ordering::SeqCst);
        wake_all(&self.moment);
        Moment(next)
    }

    /// Sleeps until the moment is another one.
    pub(crate) fn await_change(&self, since: Moment) {
        sleep_while(&self.moment, since.0, SLICE);
    }

    pub(crate) fn fail(&self) {
        self.failed.store(1, Ordering::SeqCst);
        ring(&self.beat);
        wake_all(&self.moment);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst) != 0
    }

    /// Sleeps until something was done, or for a while.
    pub(crate) fn watch(&self) {
        let beat = self.beat.load(Ordering::SeqCst);
        sleep_while(&self.beat, beat, SLICE);
    }

    pub(crate) fn beat(&self) {
        ring(&self.beat);
    }

    pub(crate) fn links(&self, process: usize, client: usize) -> &[Link; LINKS] {
        &self.links[process][client]
    }

    /// Every link that a process serves.
    pub(crate) fn served(&self, server: usize) -> impl Iterator<Item = &Link> {
        (0..CLIENTS).flat_map(move |client| {
            let process = (server + PROCESSES - client % PROCESSES) % PROCESSES;
            self.links(process, client)
        })
    }

    /// Before a process is killed: what it offers is void, and it offers nothing more.
    pub(crate) fn shut(&self, process: usize) {
        for link in self.served(process) {
            link.offer.store(Link::SHUT, Ordering::SeqCst);
        }
        self.processes[process].epoch.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn sum(&self, count: impl Fn(&Tally) -> &AtomicU64) -> u64 {
        let counts = self.processes.iter().map(|it| count(&it.tally));
        counts.map(|it| it.load(Ordering::SeqCst)).sum()
    }
}

/// The process that serves a client.
pub(crate) fn server_of(process: usize, client: usize) -> usize {
    (process + client) % PROCESSES
}

impl Process {
    /// It has come to the end of this moment.
    pub(crate) fn done(&self, moment: Moment) {
        self.done.store(moment.0.wrapping_add(1), Ordering::SeqCst);
    }

    pub(crate) fn is_done(&self, moment: Moment) -> bool {
        self.done.load(Ordering::SeqCst) == moment.0.wrapping_add(1)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::SeqCst) == self.epoch.load(Ordering::SeqCst)
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::SeqCst);
}

fn ring(bell: &AtomicU32) {
    bell.fetch_add(1, Ordering::SeqCst);
    wake_all(bell);
}

fn wake_all(word: &AtomicU32) {
    const ALL: u32 = i32::MAX.cast_unsigned();
    let _sleepers = futex::wake(word, futex::Flags::empty(), ALL);
}

fn sleep_while(word: &AtomicU32, value: u32, most: Duration) {
    let most = Timespec::try_from(most).ok();
    // Another value, a signal, and the end of the time are all reasons to look again.
    let _why = futex::wait(word, futex::Flags::empty(), value, most.as_ref());
}
