//! Plays a script on a fresh machine and compares every answer with the model.

mod steps;

use std::fmt;

use evtchn_core::{
    Channel, ChannelId, Context, DomId, Link, LinkError, Port, Round, Stats, Trigger, Virq,
};
use evtchn_sim::{Call, Error, Guest, Sim, SimLoop, SimOpen};

use crate::model;
use crate::op::Op;

/// How many channels a script can hold.
const SLOTS: usize = 3;
/// How many turns a loop may take to come to rest.
const TURNS: usize = 64;

/// One for each slot; Xen's header leaves them free, so nobody else binds them.
const VIRQS: [Virq; SLOTS] = [Virq::new(17), Virq::new(18), Virq::new(19)];

type SimContext = Context<SimOpen, SimLoop>;
type SimChannel = Channel<SimOpen, SimLoop>;

/// Where a script broke, and how.
#[derive(Debug)]
pub struct Broken {
    /// Which step: an index into the script, or its length for the end.
    pub step: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: {}", self.step, self.what)
    }
}

/// What a script that held did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Played {
    /// Wakes handed out.
    pub wakes: u64,
    /// Calls that failed because they were told to.
    pub failures: u64,
    /// The machine's digest at the end.
    pub digest: u64,
}

/// Plays a script to its end, to rest, and to teardown.
///
/// # Errors
/// [`Broken`] at the first answer that the model does not allow.
pub fn play(trigger: Trigger, script: &[Op]) -> Result<Played, Broken> {
    let sim = Sim::new(0);
    let opener = sim.open(DomId::DOM0);
    let looper = SimLoop::new(trigger);
    let ctx = Context::new(opener.clone(), looper.clone());
    let mut player = Player::new(&ctx, &sim, opener, looper).map_err(|what| at(0, what))?;
    for (step, op) in script.iter().enumerate() {
        player.step(*op).map_err(|what| at(step, what))?;
    }
    player.rest().map_err(|what| at(script.len(), what))?;
    Ok(player.played)
}

/// The shortest script that still breaks, found by leaving steps out one by one.
#[must_use]
pub fn shrink(trigger: Trigger, script: &[Op]) -> Vec<Op> {
    shorten(script, |script| play(trigger, script).is_err())
}

/// The shortest script of which `breaks` still holds, found by leaving steps out one by one.
pub(crate) fn shorten<T: Clone>(script: &[T], breaks: impl Fn(&[T]) -> bool) -> Vec<T> {
    let mut script = script.to_vec();
    let mut index = 0;
    while index < script.len() {
        let mut shorter = script.clone();
        shorter.remove(index);
        if breaks(&shorter) {
            script = shorter;
            index = 0;
        } else {
            index += 1;
        }
    }
    script
}

/// Plays a script as a test does.
///
/// # Panics
/// Where it breaks, with the shortest script that does, as it can be pasted into a test.
#[expect(clippy::panic, reason = "a test ends by panicking")]
pub fn check(trigger: Trigger, script: &[Op]) {
    if let Err(broken) = play(trigger, script) {
        let short = shrink(trigger, script);
        let broken = play(trigger, &short).err().unwrap_or(broken);
        panic!("{broken}\n    check(Trigger::{trigger:?}, &{short:?});");
    }
}

fn at(step: usize, what: String) -> Broken {
    Broken { step, what }
}

/// A step that went as the model allows, or what was wrong.
type Step = Result<(), String>;

/// One place for a channel.
#[derive(Default)]
struct Slot {
    channel: Option<SimChannel>,
    /// Its device failed.
    dead: bool,
    model: model::Channel,
    /// The id of the last channel here.
    id: Option<ChannelId>,
    signal: Option<Signal>,
}

/// How the other end is made to notify.
#[derive(Clone, Copy)]
enum Signal {
    Send(Port),
    Raise(Virq),
}

impl Slot {
    const fn is_bound(&self) -> bool {
        self.channel.is_some() && !self.dead
    }

    const fn is_waiting(&self) -> bool {
        self.is_bound() && self.model.waiting
    }
}

struct Player<'a> {
    ctx: &'a SimContext,
    sim: Sim,
    opener: SimOpen,
    looper: SimLoop,
    guest: Guest,
    slots: [Slot; SLOTS],
    round: Option<Round<'a, SimOpen, SimLoop>>,
    /// Calls that were told to fail at some time.
    told: Vec<Call>,
    /// The ring overflowed at some time.
    overflowed: bool,
    /// A deregistration failed, so the device may be registered for nobody.
    loose: bool,
    /// Waiters of a device that failed, who were not told yet.
    to_tell: Vec<ChannelId>,
    stats: Stats,
    played: Played,
}

impl<'a> Player<'a> {
    fn new(
        ctx: &'a SimContext,
        sim: &Sim,
        opener: SimOpen,
        looper: SimLoop,
    ) -> Result<Player<'a>, String> {
        let domid = sim.create_domain().map_err(text)?;
        Ok(Player {
            ctx,
            sim: sim.clone(),
            opener,
            looper,
            guest: sim.guest(domid),
            slots: Default::default(),
            round: None,
            told: Vec::new(),
            overflowed: false,
            loose: false,
            to_tell: Vec::new(),
            stats: Stats::default(),
            played: Played::default(),
        })
    }

    fn step(&mut self, op: Op) -> Step {
        match op {
            Op::Bind(slot, source) => self.bind(place(slot), source)?,
            Op::Unbind(slot) => self.unbind(place(slot))?,
            Op::Drop(slot) => self.slots[place(slot)].channel = None,
            Op::Wait(slot) => self.wait(place(slot))?,
            Op::Cancel(slot) => self.cancel(place(slot))?,
            Op::Signal(slot) => self.signal(place(slot))?,
            Op::Notify(slot) => self.notify(place(slot))?,
            Op::Begin(budget) => self.begin(budget.into())?,
            Op::Next => self.next().map(|_| ())?,
            Op::Finish => self.finish()?,
            Op::Leave => self.round = None,
            Op::Turn => self.turn().map(|_| ())?,
            Op::Spurious => self.looper.spurious(),
            Op::Overflow => self.overflow(),
            Op::Fail(failing) => self.fail(failing),
            Op::Teardown => self.teardown()?,
        }
        self.check()
    }

    /// What is so after every step.
    fn check(&mut self) -> Step {
        self.note_fault()?;
        if let Some(violation) = self.looper.violations().first() {
            return Err(violation.to_string());
        }
        if self.round.is_some() {
            return Ok(());
        }
        let stats = self.ctx.stats();
        self.loose |= stats.unreported > self.stats.unreported;
        self.stats = stats;
        let (registered, link) = (self.looper.is_registered(), self.ctx.link());
        let waiting = self.slots.iter().any(Slot::is_waiting);
        self.loose &= registered && !waiting;
        ensure(registered == (link == Link::Watching), || {
            format!("registered: {registered}, but the link is {link:?}")
        })?;
        ensure(registered == waiting || self.loose, || {
            format!("somebody waits: {waiting}, registered: {registered}")
        })?;
        let open = self.sim.open_files();
        let dead = self
            .slots
            .iter()
            .any(|slot| slot.channel.is_some() && slot.dead);
        ensure(open == usize::from(link.is_open()) || dead, || {
            format!("{open} files are open in {link:?}")
        })
    }

    /// Lets everything fall silent, then takes it down.
    fn rest(&mut self) -> Step {
        self.round = None;
        let mut turns = 0;
        while self.turn()? {
            self.check()?;
            turns += 1;
            ensure(turns < TURNS, || "the loop does not come to rest".into())?;
        }
        ensure(self.to_tell.is_empty(), || {
            format!("never told that it is gone: {:?}", self.to_tell)
        })?;
        for slot in &mut self.slots {
            slot.channel = None;
        }
        // What was told to fail and did not yet may do so here, each once.
        for _ in 0..=self.told.len() {
            if self.ctx.teardown().is_ok() {
                self.played.digest = self.sim.digest();
                return ensure(self.sim.open_files() == 0, || "a file is left open".into());
            }
        }
        Err("cannot be torn down".into())
    }

    /// Where the device failed: every channel is dead, and who waited is told.
    fn note_fault(&mut self) -> Step {
        let faults = self.ctx.stats().faults;
        if faults == self.stats.faults {
            return Ok(());
        }
        self.stats.faults = faults;
        ensure(self.told.contains(&Call::Pending), || {
            "the device failed though it was not told to".into()
        })?;
        for slot in &mut self.slots {
            if slot.is_waiting() {
                self.to_tell.extend(slot.id);
            }
            slot.dead = true;
        }
        Ok(())
    }

    fn told(&mut self, error: Error) -> Step {
        self.played.failures += 1;
        ensure(self.told.contains(&error.call), || {
            format!("{error}, though it was not told to")
        })
    }

    fn link_failed(&mut self, error: LinkError<Error>) -> Step {
        match error {
            LinkError::Register(error) => self.told(error),
            LinkError::Deregister(error) => {
                self.loose = true;
                self.told(error)
            }
            error @ (LinkError::Reentrant | _) => Err(format!("{error:?}")),
        }
    }
}

fn place(slot: u8) -> usize {
    usize::from(slot) % SLOTS
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Step {
    if holds { Ok(()) } else { Err(what()) }
}
