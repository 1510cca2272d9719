//! The job on the simulator: a toolstack in domain 0 suspends guests, checkpoint by checkpoint,
//! and waits for their acknowledgements. Time is virtual, so the seed decides everything.
//!
//! Every guest shares a channel with the toolstack. The toolstack requests a suspend through it.
//! After a while the guest acknowledges, and may acknowledge again until the toolstack has handled
//! that, so notifies come faster than wakes and coalesce. A migration requests many checkpoints in a
//! row, and waits again in the same round. Between migrations no channel has a wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use evtchn::sim::{Choice, Errno, Sim, SimLoop, SimPrivcmd, World};
use evtchn::{Cause, DeviceError, DomId, Port, PortStatuses};

use super::environment::{AfterWake, Channel, Context, Environment, Notifier, Watched};
use super::job::{Job, Observer, Options, watch};
use super::record::{Recording, Wanted};
use crate::options::Place;
use crate::output::{Format, Output, ReportingRegistrar};
use crate::source::Source;
use crate::stop::Stop;

/// The simulated machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    /// The seed of all random decisions.
    pub(crate) seed: u64,
    /// The number of guests.
    pub(crate) guests: u16,
    /// The number of notifies after which each guest dies.
    pub(crate) dies_after: Option<u64>,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            seed: 0,
            guests: 8,
            dies_after: None,
        }
    }
}

/// Runs the job on a new simulated machine.
///
/// # Errors
/// The first failure.
pub(crate) fn run(
    setup: Setup,
    options: Options,
    format: Format,
    recording: &Recording,
) -> Result<()> {
    run_on(
        &Sim::new(setup.seed),
        setup,
        options,
        format,
        recording,
        None,
    )
}

/// Runs the job without output. `observer` is called before the first wake and after each; if it
/// returns false, the job ends.
///
/// # Errors
/// The first failure.
pub(crate) fn observe(
    setup: Setup,
    options: Options,
    mut observer: impl FnMut(&SimPrivcmd) -> Result<bool>,
) -> Result<()> {
    let sim = Sim::new(setup.seed);
    let privcmd = sim.privcmd(DomId::DOM0);
    let observer = Box::new(move || observer(&privcmd));
    let unrecorded = Recording::sim(Wanted::default(), setup.seed)?;
    run_on(
        &sim,
        setup,
        options,
        Format::Silent,
        &unrecorded,
        Some(observer),
    )
}

fn run_on(
    sim: &Sim,
    setup: Setup,
    options: Options,
    format: Format,
    recording: &Recording,
    observer: Option<Observer<'_>>,
) -> Result<()> {
    let tape = recording.tape();
    evtchn_trace::observe(sim, tape);
    let clock = sim.clone();
    let place = Place::Sim(setup.seed);
    let output = Arc::new(Output::new(format, place, move || clock.now()));
    let event_loop = SimLoop::level();
    let registrar = ReportingRegistrar::new(event_loop.clone(), Arc::clone(&output));
    let context = Context::with_registrar(tape.record(sim.open(DomId::DOM0)), registrar);
    let mut environment = Toolstack {
        sim: sim.clone(),
        event_loop,
        choice: recording.choice(setup.seed),
        guests: Vec::new(),
        dies_after: setup.dies_after,
        is_stuck: false,
        output: Arc::clone(&output),
    };
    let mut channels = Vec::new();
    for _ in 0..setup.guests {
        channels.push(environment.boot(&context)?);
    }
    let job = Job {
        output: &output,
        stop: &Stop::on_signal(|| ()).context("cannot watch for signals")?,
        options,
        recording,
        observer,
    };
    watch(&context, channels, &mut environment, job)
}

/// A guest, with the page that it shares with the toolstack.
#[derive(Debug)]
struct Guest {
    domid: DomId,
    port: Port,
    /// The guest has acknowledged, and the toolstack has not handled that yet.
    acknowledged: AtomicBool,
    /// The number of notifies that it sent.
    sent: AtomicU64,
    /// The number of notifies after which it dies.
    dies_after: u64,
}

impl Guest {
    const fn new(domid: DomId, port: Port, dies_after: u64) -> Guest {
        Guest {
            domid,
            port,
            dies_after,
            acknowledged: AtomicBool::new(false),
            sent: AtomicU64::new(0),
        }
    }

    /// Acknowledges if it lives; then again every `every`, up to `again` times, until the toolstack
    /// has handled it.
    fn acknowledge(self: Arc<Guest>, world: &mut World, every: Duration, again: usize) {
        if self.sent.load(Ordering::Relaxed) >= self.dies_after {
            // An error says that it has died already.
            let _dead = world.destroy_domain(self.domid);
            return;
        }
        self.acknowledged.store(true, Ordering::Relaxed);
        if world.kernel_send(self.domid, self.port.as_raw()).is_ok() {
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
        if again > 0 {
            world.after(every, move |world| {
                if self.acknowledged.load(Ordering::Relaxed) {
                    self.acknowledge(world, every, again - 1);
                }
            });
        }
    }
}

/// A guest, with the number of checkpoints that the toolstack still needs.
#[derive(Debug)]
struct Migrating {
    guest: Arc<Guest>,
    checkpoints: usize,
    /// Whether a check found that it died.
    is_gone: bool,
}

/// The toolstack in domain 0.
struct Toolstack {
    sim: Sim,
    event_loop: SimLoop,
    choice: Choice,
    guests: Vec<Migrating>,
    dies_after: Option<u64>,
    /// Whether nothing is scheduled, so that only a check of the peers can wake the toolstack.
    is_stuck: bool,
    output: Arc<Output>,
}

impl Toolstack {
    /// Creates a guest, which binds to a new port of domain 0.
    fn boot(&mut self, context: &Context) -> Result<Watched> {
        let domid = self.sim.create_domain()?;
        let channel = context.bind_unbound_port(domid)?;
        let kernel = self.sim.guest(domid);
        let port = kernel.bind_interdomain(DomId::DOM0, channel.port())?;
        self.guests.push(Migrating {
            guest: Arc::new(Guest::new(domid, port, self.dies_after.unwrap_or(u64::MAX))),
            checkpoints: 0,
            is_gone: false,
        });
        Ok(Watched::new(
            channel,
            Source::Remote(kernel.remote(port)),
            0,
        ))
    }

    /// Lets virtual time pass, until `until` at most. If the output is a table on a terminal, it sleeps
    /// for as long.
    fn pass(&self, by: Duration, until: Option<Duration>) {
        let most = until.map(|until| until.saturating_sub(self.sim.now()));
        let by = most.map_or(by, |most| by.min(most));
        self.sim.advance(by);
        self.output.flush_live();
        if self.output.max_sleep().is_some() {
            thread::sleep(by);
        }
    }

    /// Lets time pass until something happens. If the guest that is waited for has died, nothing
    /// happens before the next check of the peers.
    fn await_next(&mut self, until: Option<Duration>) -> Result<()> {
        let next = self.sim.with(|world| world.next_deadline());
        let may_be_dead = self.dies_after.is_some() && !self.is_stuck;
        match next.or(until.filter(|_| may_be_dead)) {
            Some(at) => self.pass(at.saturating_sub(self.sim.now()), until),
            None if self.is_stuck => {
                bail!("a guest died before a check saw it alive: check more often")
            }
            None => bail!("a guest is waited for and nothing more happens: a wake was lost"),
        }
        self.is_stuck = next.is_none();
        Ok(())
    }

    /// A random time between two bounds in microseconds.
    fn between(&mut self, least: u16, most: u16) -> Duration {
        let ways = usize::from(most - least) + 1;
        let more = u64::try_from(self.choice.of(ways)).unwrap_or(0);
        Duration::from_micros(u64::from(least) + more)
    }

    /// Pauses, then requests the first checkpoint of some guests. Returns their channels.
    fn migrate(&mut self, channels: &[Watched], until: Option<Duration>) -> Result<Vec<usize>> {
        let pause = self.between(1_000, 60_000);
        self.pass(pause, until);
        // A migration has at least one guest.
        let chosen = self.choice.of(self.guests.len());
        let mut migrating = Vec::new();
        for (which, Watched { channel, .. }) in channels.iter().enumerate() {
            if (which == chosen || self.choice.of(4) > 0) && !self.guests[which].is_gone {
                self.guests[which].checkpoints = 10 + self.choice.of(50);
                self.request_suspend(which, channel)?;
                migrating.push(which);
            }
        }
        Ok(migrating)
    }

    /// Requests a suspend of a guest. It acknowledges after a while, and some guests do so up to three
    /// more times.
    fn request_suspend(&mut self, which: usize, channel: &Channel) -> Result<()> {
        channel.notify()?;
        let takes = self.between(100, 5_000);
        let every = self.between(20, 200);
        let again = self.choice.of(12).saturating_sub(8);
        let guest = Arc::clone(&self.guests[which].guest);
        self.sim
            .after(takes, move |world| guest.acknowledge(world, every, again));
        Ok(())
    }
}

impl Environment for Toolstack {
    fn statuses(&self) -> Result<Box<dyn PortStatuses>, DeviceError> {
        Ok(Box::new(self.sim.privcmd(DomId::DOM0)))
    }

    fn advance(
        &mut self,
        channels: &[Watched],
        timeout: Option<Duration>,
        until: Option<Duration>,
    ) -> Result<Vec<usize>> {
        if self.guests.iter().all(|it| it.checkpoints == 0) {
            return self.migrate(channels, until);
        }
        let is_late = |now| until.is_some_and(|until| now >= until);
        while timeout.is_none() && !is_late(self.sim.now()) && !self.event_loop.ready() {
            self.await_next(until)?;
        }
        // The toolstack is scheduled some time after it is ready, and more events arrive meanwhile.
        let latency = self.between(50, 1_000);
        self.pass(latency, until);
        Ok(Vec::new())
    }

    fn bind(&self, _context: &Context, source: Source) -> Result<Channel> {
        bail!("domain 0 is never restored, and {source} is bound")
    }

    fn handle_wake(&mut self, which: usize, channel: &Channel, cause: Cause) -> Result<AfterWake> {
        self.is_stuck = false;
        let Migrating {
            guest,
            checkpoints,
            is_gone,
        } = &mut self.guests[which];
        if cause == Cause::PeerGone {
            (*checkpoints, *is_gone) = (0, true);
            return Ok(AfterWake::Stop);
        }
        if guest.acknowledged.swap(false, Ordering::Relaxed) {
            *checkpoints -= 1;
            if *checkpoints == 0 {
                return Ok(AfterWake::Stop);
            }
            self.request_suspend(which, channel)?;
        }
        Ok(AfterWake::WaitAgain)
    }

    fn notifiers(&self, selected: &[bool]) -> Vec<Notifier> {
        let guests = self.guests.iter().zip(selected);
        let guests = guests.filter(|(_, is_selected)| **is_selected);
        let sent: Vec<u64> = guests
            .map(|(it, _)| it.guest.sent.load(Ordering::Relaxed))
            .collect();
        vec![Notifier {
            name: Some(match (sent.len(), self.guests.len()) {
                (1, 1) => "1 guest".to_owned(),
                (chosen, all) if chosen == all => format!("{all} guests"),
                (chosen, all) => format!("{chosen} of {all} guests"),
            }),
            sent: Some(sent.iter().sum()),
        }]
    }

    fn close(&mut self) -> Result<()> {
        for Migrating { guest, .. } in &self.guests {
            match self.sim.guest(guest.domid).close(guest.port) {
                Err(Errno::ESRCH) | Ok(()) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}
