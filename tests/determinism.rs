//! The same seed gives the same run, to the last answer: repeated, on other threads, and in another
//! process.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write;
use std::process::Command;
use std::thread;
use std::time::Duration;

use evtchn::sim::{Call, Delivery, Errno, Fault, Guest, Sim, SimLoop, SimOpen};
use evtchn::{Context, DomId, Port, RemotePort, Virq};

type Channel = evtchn::Channel<SimLoop>;

const SEEDS: u64 = 1_000;
const STEPS: usize = 100;
const MS: Duration = Duration::from_millis(1);
/// Set for a process that only prints the digests of its runs.
const CHILD: &str = "EVTCHN_DETERMINISM_CHILD";

/// A run of a program and its machine, in which the seed takes every decision.
struct Run {
    sim: Sim,
    opener: SimOpen,
    event_loop: SimLoop,
    ctx: Context<SimLoop>,
    guests: Vec<Guest>,
    channels: Vec<(Channel, Guest, Port)>,
    /// What the program saw.
    seen: String,
}

impl Run {
    fn new(seed: u64) -> Run {
        let sim = Sim::new(seed);
        let opener = sim.open(DomId::DOM0);
        let event_loop = SimLoop::level().on(&sim);
        let guest = || sim.guest(sim.create_domain().unwrap());
        Run {
            ctx: Context::with_registrar(opener.clone(), event_loop.clone()),
            guests: vec![guest(), guest()],
            channels: Vec::new(),
            seen: String::new(),
            opener,
            event_loop,
            sim,
        }
    }

    /// Runs to the end, and returns the digest of the machine and what the program saw.
    fn play(mut self) -> (u64, String) {
        self.set_rules();
        for step in 0..STEPS {
            self.step(step);
        }
        self.sim.run();
        self.round();
        write!(self.seen, "{:?}", self.ctx.stats()).unwrap();
        // The end is seen too: ports and rings as they are left.
        self.seen.push_str(&self.sim.dump());
        self.channels.clear();
        drop(self.ctx);
        (self.sim.digest(), self.seen)
    }

    /// The hash over all of it.
    fn digest(self) -> u64 {
        let (digest, seen) = self.play();
        fold(digest, seen.bytes())
    }

    fn of(&self, ways: usize) -> usize {
        self.sim.with(|world| world.choice().of(ways))
    }

    fn set_rules(&self) {
        let storm = self.guests[1].alloc_unbound(DomId::DOM0).unwrap();
        let storm = Fault::storm(self.guests[1].domid(), storm, 2).once_in(9);
        let faults = [
            Fault::fail([Call::Notify, Call::Unmask], Errno::EINTR).once_in(12),
            Fault::short(Call::Unmask, 0).once_in(9),
            Fault::short([Call::Pending, Call::Unmask], 1).once_in(5),
            Fault::out_of_memory().once_in(25),
            Fault::overflow(Call::Pending).once_in(30),
            storm,
        ];
        for fault in faults {
            self.opener.install(fault);
        }
        self.event_loop.install(Fault::spurious().once_in(10));
    }

    /// Bookkeeping of the program: errors are seen, not handled.
    fn see(&mut self, what: &str, outcome: impl std::fmt::Debug) {
        writeln!(self.seen, "{what} {outcome:?}").unwrap();
    }

    fn step(&mut self, step: usize) {
        match self.of(14) {
            0 | 1 => self.bind(),
            2 => self.unbind(),
            3 | 4 => self.round(),
            5 => self.fire(),
            6 => self.set_delivery(),
            7 => self.sim.advance(MS * self.of(5).try_into().unwrap()),
            8 => self.replace_a_guest(),
            9 => self.block(),
            10 | 11 => self.wait_or_cancel(),
            12 => self.sim.raise_virq(DomId::DOM0, Virq::DOM_EXC).unwrap(),
            _ => drop(self.opener.dup()),
        }
        self.see("step", (step, self.sim.now(), self.sim.held()));
    }

    fn bind(&mut self) {
        let guest = self.guests[self.of(self.guests.len())].clone();
        let bound = if self.of(2) == 0 {
            self.ctx.bind_unbound_port(guest.domid()).map(|channel| {
                let peer_port = guest.bind_interdomain(DomId::DOM0, channel.port());
                (channel, peer_port)
            })
        } else {
            let peer_port = guest.alloc_unbound(DomId::DOM0);
            let port = peer_port.unwrap();
            let domid = guest.domid();
            let channel = self.ctx.bind_interdomain(RemotePort { domid, port });
            channel.map(|channel| (channel, peer_port))
        };
        match bound {
            Ok((channel, peer_port)) => {
                self.see("wait", (channel.port(), channel.wait()));
                self.channels.push((channel, guest, peer_port.unwrap()));
            }
            Err(error) => self.see("bind", error),
        }
    }

    fn unbind(&mut self) {
        let count = self.channels.len();
        if count > 0 {
            let (mut channel, ..) = self.channels.swap_remove(self.of(count));
            self.see("notify", channel.notify());
            self.see("unbind", channel.unbind());
        }
    }

    fn wait_or_cancel(&mut self) {
        let count = self.channels.len();
        if count > 0 {
            let channel = &self.channels[self.of(count)].0;
            if self.of(3) > 0 {
                let was_due = self.ctx.next_timeout().is_some();
                let waited = channel.wait();
                let is_queued = !was_due && self.ctx.next_timeout().is_some();
                self.see(if is_queued { "wait, queued" } else { "wait" }, waited);
            } else {
                let cancelled = channel.cancel();
                self.see("cancel", cancelled);
            }
        }
    }

    fn round(&mut self) {
        if !self.event_loop.ready() {
            return;
        }
        let mut round = self.ctx.dispatch_at_most(1 + self.of(4)).unwrap();
        let mut lines = String::new();
        for wake in &mut round {
            let again = (self.of(4) > 0).then(|| self.ctx.wait(wake.channel));
            writeln!(lines, "{} {:?} {again:?}", wake.port(), wake.cause).unwrap();
        }
        let finished = round.finish();
        self.see(&lines, finished);
    }

    /// Events of several peers at once, some of them later.
    fn fire(&self) {
        for (_, guest, peer_port) in &self.channels {
            let (domid, port) = (guest.domid(), peer_port.as_raw());
            match self.of(3) {
                // A guest that was removed fires no more.
                0 => guest.send(*peer_port).unwrap_or_default(),
                1 => self.sim.after(MS, move |world| {
                    let _gone = world.kernel_send(domid, port);
                }),
                _ => {}
            }
        }
    }

    fn set_delivery(&self) {
        self.sim.set_delivery(match self.of(4) {
            0 => Delivery::Immediate,
            1 => Delivery::Held,
            2 => Delivery::Chosen,
            _ => Delivery::Delayed(4 * MS),
        });
    }

    fn replace_a_guest(&mut self) {
        let index = self.of(self.guests.len());
        self.sim.destroy_domain(self.guests[index].domid()).unwrap();
        self.guests[index] = self.sim.guest(self.sim.create_domain().unwrap());
    }

    fn block(&mut self) {
        let count = self.channels.len();
        if count > 0 {
            let channel = &self.channels[self.of(count)].0;
            let _was_waiting = channel.cancel();
            let deadline = (self.of(6) > 0).then(|| self.sim.now() + 2 * MS);
            let blocked = match deadline {
                Some(deadline) => channel.block_until(deadline),
                None => channel.block().map(Some),
            };
            self.see("block", blocked);
        }
    }
}

/// FNV-1a, goes on from `hash`.
fn fold(hash: u64, bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(hash, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn digests(seeds: impl Iterator<Item = u64>) -> Vec<u64> {
    seeds.map(|seed| Run::new(seed).digest()).collect()
}

/// The seeds dealt out to threads that run at the same time.
fn digests_on_threads(threads: u64) -> Vec<u64> {
    let each = SEEDS / threads;
    thread::scope(|scope| {
        let spawn = |thread| scope.spawn(move || digests(thread * each..(thread + 1) * each));
        let handles: Vec<_> = (0..threads).map(spawn).collect();
        let join = |handle: thread::ScopedJoinHandle<'_, Vec<u64>>| handle.join().unwrap();
        handles.into_iter().flat_map(join).collect()
    })
}

fn line(digests: &[u64]) -> String {
    let bytes = digests.iter().flat_map(|digest| digest.to_le_bytes());
    format!("all runs: {:016x}", fold(0xcbf2_9ce4_8422_2325, bytes))
}

/// In another process hashes have other seeds, addresses are others, and so is the process id.
fn ran_in_another_process() -> String {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "determinism::same_seed_same_run", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .find_map(|line| line.find("all runs: ").map(|at| line[at..].to_owned()))
        .unwrap_or(text)
}

#[test]
fn same_seed_same_run() {
    let once = digests(0..SEEDS);
    if env::var_os(CHILD).is_some() {
        #[expect(clippy::print_stdout, reason = "the parent reads it")]
        {
            println!("{}", line(&once));
        }
        return;
    }
    let mut pairs = (0..).zip(once.iter().zip(digests_on_threads(4)));
    let differs = pairs.find(|(_, (one, other))| *one != other);
    assert_eq!(differs, None, "a seed and its digests");
    assert_eq!(line(&once), ran_in_another_process());
    let different: BTreeSet<_> = once.iter().collect();
    assert_eq!(different.len(), once.len(), "seeds that make no difference");
}

#[test]
fn the_compared_runs_meet_every_kind_of_event() {
    let seen: String = (0..50).map(|seed| Run::new(seed).play().1).collect();
    for what in [
        "block Ok(Some(Event))",
        "block Ok(None)",
        "Overflow",
        "ENOMEM",
        "EINTR",
        "NotUnmasked",
        "EDEADLK",
        "More",
        "wait, queued",
        " held",
        "unbound for",
    ] {
        assert!(seen.contains(what), "{what}");
    }
}
