//! The job on the simulator: a toolstack in domain 0 suspends guests, checkpoint by checkpoint,
//! and waits for their acknowledgements. Time is virtual, so the seed decides everything.
//!
//! Every guest shares a channel with the toolstack. The toolstack asks for a suspend through it;
//! the guest takes its time, acknowledges, and acknowledges again until the toolstack has looked,
//! so notifies come faster than wakes and coalesce. A migration asks its guests for many
//! checkpoints in a row, waiting again in the same round; between migrations nobody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use evtchn::sim::{Choice, Errno, Sim, SimLoop, SimPrivcmd, World};
use evtchn::{Cause, DeviceError, DomId, Port, PortStatuses};

use super::end::End;
use super::job::{Onlooker, Orders, Wish, watch};
use super::record::Recording;
use super::scene::{Channel, Context, Notifier, Scene, Then, Watched};
use crate::output::{Announce, Format, Output};
use crate::stop::Stop;

/// The size and the seed of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cast {
    /// Decides everything that is left open.
    pub(crate) seed: u64,
    /// How many guests there are.
    pub(crate) guests: u16,
    /// After how many notifies each of them dies.
    pub(crate) dies_after: Option<u64>,
}

/// Runs the job on a new simulated machine.
///
/// # Errors
/// The first failure.
pub(crate) fn run(cast: Cast, wish: Wish, format: Format, recording: &Recording) -> Result<()> {
    play(&Sim::new(cast.seed), cast, wish, format, recording, None)
}

/// Runs it in silence, until `look` has seen enough: it looks before the first wake and after each,
/// and says whether it goes on.
///
/// # Errors
/// The first failure.
pub(crate) fn look_on(
    cast: Cast,
    wish: Wish,
    mut look: impl FnMut(&SimPrivcmd) -> Result<bool>,
) -> Result<()> {
    let sim = Sim::new(cast.seed);
    let privcmd = sim.privcmd(DomId::DOM0);
    let onlooker = Box::new(move || look(&privcmd));
    let unrecorded = Recording::sim(None, cast.seed)?;
    play(
        &sim,
        cast,
        wish,
        Format::Silent,
        &unrecorded,
        Some(onlooker),
    )
}

fn play(
    sim: &Sim,
    cast: Cast,
    wish: Wish,
    format: Format,
    recording: &Recording,
    onlooker: Option<Onlooker<'_>>,
) -> Result<()> {
    let tape = recording.tape();
    evtchn_trace::observe(sim, tape);
    let clock = sim.clone();
    let output = Arc::new(Output::new(format, move || clock.now()));
    let event_loop = SimLoop::level();
    let announce = Announce::new(event_loop.clone(), Arc::clone(&output));
    let context = Context::with_registrar(tape.record(sim.open(DomId::DOM0)), announce);
    let mut scene = Toolstack {
        sim: sim.clone(),
        event_loop,
        choice: recording.choice(cast.seed),
        guests: Vec::new(),
        dies_after: cast.dies_after,
        is_stuck: false,
        output: Arc::clone(&output),
    };
    let mut channels = Vec::new();
    for _ in 0..cast.guests {
        channels.push(scene.boot(&context)?);
    }
    let orders = Orders {
        output: &output,
        stop: &Stop::on_signal(|| ()).context("cannot watch for signals")?,
        wish,
        recording,
        onlooker,
    };
    watch(&context, channels, &mut scene, orders)
}

/// A guest, with the page that it shares with the toolstack.
#[derive(Debug)]
struct Guest {
    domid: DomId,
    port: Port,
    /// The guest has acknowledged, and the toolstack has not looked yet.
    acknowledged: AtomicBool,
    /// How many notifies it sent.
    sent: AtomicU64,
    /// After how many it dies.
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

    /// Acknowledges, as long as it lives; and again `every` so often, up to `again` times, until
    /// somebody looks.
    fn acknowledge(self: Arc<Guest>, world: &mut World, every: Duration, again: usize) {
        if self.sent.load(Ordering::Relaxed) >= self.dies_after {
            // It may have died before.
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

/// A guest, with how many checkpoints the toolstack still wants of it.
#[derive(Debug)]
struct Migrating {
    guest: Arc<Guest>,
    checkpoints: usize,
    /// The toolstack knows that it died.
    is_gone: bool,
}

/// The toolstack in domain 0.
struct Toolstack {
    sim: Sim,
    event_loop: SimLoop,
    choice: Choice,
    guests: Vec<Migrating>,
    dies_after: Option<u64>,
    /// Nothing more happens, unless a check finds out why.
    is_stuck: bool,
    output: Arc<Output>,
}

impl Toolstack {
    /// Creates a guest that binds to a new port of ours.
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
        Ok(Watched::new(channel, End::Remote(kernel.remote(port)), 0))
    }

    /// Lets time pass, but not beyond `until`. Where somebody looks at a table, it takes as long
    /// for them.
    fn pass(&self, by: Duration, until: Option<Duration>) {
        let most = until.map(|until| until.saturating_sub(self.sim.now()));
        let by = most.map_or(by, |most| by.min(most));
        self.sim.advance(by);
        self.output.flush_live();
        if self.output.nap().is_some() {
            thread::sleep(by);
        }
    }

    /// Lets time pass until the next thing happens. Where the guest that is waited for has died,
    /// nothing does, and only a check can say it.
    fn await_next(&mut self, until: Option<Duration>) -> Result<()> {
        let next = self.sim.with(|world| world.next_deadline());
        let may_be_dead = self.dies_after.is_some() && !self.is_stuck;
        match next.or(until.filter(|_| may_be_dead)) {
            Some(at) => self.pass(at.saturating_sub(self.sim.now()), until),
            None if self.is_stuck => {
                bail!("a guest died before a check saw it alive: check more often")
            }
            None => bail!("a guest was waited for and nothing more happens: a wake was lost"),
        }
        self.is_stuck = next.is_none();
        Ok(())
    }

    /// A time between two, in microseconds.
    fn between(&mut self, least: u16, most: u16) -> Duration {
        let ways = usize::from(most - least) + 1;
        let more = u64::try_from(self.choice.of(ways)).unwrap_or(0);
        Duration::from_micros(u64::from(least) + more)
    }

    /// Pauses, then asks some guests for the first of their checkpoints. Returns which.
    fn migrate(&mut self, channels: &[Watched], until: Option<Duration>) -> Result<Vec<usize>> {
        let pause = self.between(1_000, 60_000);
        self.pass(pause, until);
        // One guest is always among them, so a migration is never empty.
        let chosen = self.choice.of(self.guests.len());
        let mut asked = Vec::new();
        for (which, Watched { channel, .. }) in channels.iter().enumerate() {
            if (which == chosen || self.choice.of(4) > 0) && !self.guests[which].is_gone {
                self.guests[which].checkpoints = 10 + self.choice.of(50);
                self.ask(which, channel)?;
                asked.push(which);
            }
        }
        Ok(asked)
    }

    /// Asks a guest to suspend. It takes its time, and an impatient one then acknowledges up to
    /// three times more.
    fn ask(&mut self, which: usize, channel: &Channel) -> Result<()> {
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

impl Scene for Toolstack {
    fn statuses(&self) -> Result<Box<dyn PortStatuses>, DeviceError> {
        Ok(Box::new(self.sim.privcmd(DomId::DOM0)))
    }

    fn next(
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
        // The toolstack is scheduled some time after it is ready, and more comes in meanwhile.
        let latency = self.between(50, 1_000);
        self.pass(latency, until);
        Ok(Vec::new())
    }

    fn look(&mut self, which: usize, channel: &Channel, cause: Cause) -> Result<Then> {
        self.is_stuck = false;
        let Migrating {
            guest,
            checkpoints,
            is_gone,
        } = &mut self.guests[which];
        if cause == Cause::PeerGone {
            (*checkpoints, *is_gone) = (0, true);
            return Ok(Then::Rest);
        }
        if guest.acknowledged.swap(false, Ordering::Relaxed) {
            *checkpoints -= 1;
            if *checkpoints == 0 {
                return Ok(Then::Rest);
            }
            self.ask(which, channel)?;
        }
        Ok(Then::WaitAgain)
    }

    fn notifiers(&self) -> Vec<Notifier> {
        let sent = |it: &Migrating| it.guest.sent.load(Ordering::Relaxed);
        vec![Notifier {
            name: match self.guests.len() {
                1 => "1 guest".into(),
                guests => format!("{guests} guests"),
            },
            sent: Some(self.guests.iter().map(sent).sum()),
        }]
    }

    fn end(&mut self) -> Result<()> {
        for Migrating { guest, .. } in &self.guests {
            match self.sim.guest(guest.domid).close(guest.port) {
                Err(Errno::ESRCH) | Ok(()) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}
