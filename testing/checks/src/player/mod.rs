//! Plays a script on a fresh machine and compares every answer with the model.

mod blocks;
mod calls;
mod handover;
mod holds;
mod idle;
mod rounds;
mod shrink;
mod stepped;
mod steps;
mod table;
mod tasks;
#[cfg(test)]
mod tests;
mod traced;
mod view;

use std::collections::BTreeSet;
use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evtchn_core::{
    Channel, ChannelId, Context, DeviceError, DomId, Error, LoopError, Round, Stats, Trigger, Virq,
    Wake,
};
use evtchn_sim::{Call, DomainConfig, Guest, Sim, SimLoop, SimOpen};
use evtchn_trace::{Record, Tape};

use crate::failed::{device_call, loop_call};
use crate::op::{Each, Op};
use handover::{Detached, hand_over};
pub use shrink::{check, check_on, shortest};
pub use stepped::{Seen, Stepped};
use table::Table;
pub use traced::Faults;
use traced::{Calls, Traced};

/// How many channels a script can hold unless it says otherwise.
pub const SLOTS: u16 = 3;
/// How many turns a loop may take to come to rest.
const TURNS: usize = 64;

/// One for each of the first slots. Xen's header reserves them for nothing, so they are free.
const VIRQS: [Virq; 7] = [
    Virq::new(17),
    Virq::new(18),
    Virq::new(19),
    Virq::new(20),
    Virq::new(21),
    Virq::new(22),
    Virq::new(23),
];

type Loop = Traced<SimLoop>;
type Ctx = Context<Loop>;
type SimChannel = Channel<Loop>;

/// The calls whose failure is a failure of the whole device.
const READS: [Call; 2] = [Call::Pending, Call::Reset];

/// Where a script broke, and how.
#[derive(Debug, Clone)]
pub struct Broken {
    /// The step: an index into the script, or its length for the end.
    pub step: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: {}", self.step, self.what)
    }
}

/// What a script did that broke nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Played {
    /// Wakes handed out.
    pub wakes: u64,
    /// Calls that were set to fail and did.
    pub failures: u64,
    /// The most channels that were bound at once.
    pub most_bound: usize,
    /// What the context counted.
    pub stats: Stats,
    /// The machine's digest at the end.
    pub digest: u64,
}

/// Plays a script to its end, to rest, and to teardown.
///
/// # Errors
/// [`Broken`] at the first answer that the model does not allow, and at the first panic.
pub fn play(trigger: Trigger, script: &[Op]) -> Result<Played, Broken> {
    play_on(SLOTS, trigger, script)
}

/// [`play`] with this many slots.
///
/// # Errors
/// Those of [`play`].
pub fn play_on(slots: u16, trigger: Trigger, script: &[Op]) -> Result<Played, Broken> {
    play_seen(slots, trigger, script.iter().copied(), |_, _| ())
}

/// [`play_on`] that shows the player to `see` before the first step, after each step and at rest.
///
/// # Errors
/// Those of [`play`].
pub fn play_seen(
    slots: u16,
    trigger: Trigger,
    script: impl IntoIterator<Item = Op>,
    see: impl FnMut(Moment, &Player<'_>),
) -> Result<Played, Broken> {
    play_taped(slots, trigger, script, &Tape::off(), see)
}

/// [`play_seen`], with each step and the backend calls on a tape.
pub(crate) fn play_taped(
    slots: u16,
    trigger: Trigger,
    script: impl IntoIterator<Item = Op>,
    tape: &Tape,
    mut see: impl FnMut(Moment, &Player<'_>),
) -> Result<Played, Broken> {
    let sim = Sim::new(0);
    let opener = sim.open(DomId::DOM0);
    let looper = SimLoop::new(trigger);
    let calls = Calls::default();
    let traced = || {
        let opener = Traced::new(opener.clone(), calls.clone());
        let looper = Traced::new(looper.clone(), calls.clone());
        (tape.record_backend_calls(opener), looper)
    };
    let (opens, loops) = traced();
    // After a failure nothing is dropped: a drop may panic again, which would abort the process.
    let mut ctx = ManuallyDrop::new(Context::with_registrar(opens, loops));
    let guest = guest(&sim).map_err(|what| Broken { step: 0, what })?;
    let machine = (sim, opener.clone(), looper.clone(), calls.clone());
    let mut attach: Detached = Box::new(move |ctx| Player::new(ctx, slots, machine, guest));
    let mut handed = None;
    let mut script = script.into_iter();
    let mut steps = 0;
    loop {
        let mut player = ManuallyDrop::new(attach(&ctx));
        match handed.take() {
            None => see(Moment::Steps(steps), &player),
            Some(handed) => {
                player.steps += 1;
                let taken = caught(|| player.take_over(handed).and_then(|()| player.check()));
                taken.map_err(|what| Broken { step: steps, what })?;
                steps += 1;
                see(Moment::Steps(steps), &player);
            }
        }
        let mut is_over = true;
        for op in script.by_ref() {
            tape.put(|| Record::Op(evtchn_trace::Op { op: op.to_string() }));
            if op == Op::HandOver && !player.is_idle(op) {
                is_over = false;
                break;
            }
            let stepped = caught(|| player.step(op));
            stepped.map_err(|what| Broken { step: steps, what })?;
            steps += 1;
            see(Moment::Steps(steps), &player);
        }
        player.calls.get().clear();
        let at = |what| Broken { step: steps, what };
        if is_over {
            caught(|| player.rest()).map_err(at)?;
            see(Moment::Rest, &player);
            let mut played = ManuallyDrop::into_inner(player).played;
            played.stats = ctx.stats();
            let dropped = caught(|| {
                drop(ManuallyDrop::into_inner(ctx));
                Ok(())
            });
            return dropped.map(|()| played).map_err(at);
        }
        let (detached, channels) = ManuallyDrop::into_inner(player).detach();
        let (opens, loops) = traced();
        let before = ManuallyDrop::into_inner(ctx);
        let handed_over = caught(|| hand_over(before, channels, opens, loops));
        let (next, came) = handed_over.map_err(at)?;
        (ctx, attach, handed) = (ManuallyDrop::new(next), detached, Some(came));
    }
}

/// Runs `act` and turns a panic into an error.
pub(crate) fn caught<T>(act: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(format!("panics: {}", text.unwrap_or_default()))
    })
}

/// A domain for the peer, with as many ports as possible.
fn guest(sim: &Sim) -> Result<Guest, String> {
    let mut config = DomainConfig::guest();
    config.max_port = u32::MAX;
    let domid = sim.create_domain_with(None, &config).map_err(text)?;
    Ok(sim.guest(domid))
}

/// When a player is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After this many steps.
    Steps(usize),
    /// Once everything is torn down.
    Rest,
}

/// `Ok` if the model allows what happened; otherwise what was wrong.
type Step = Result<(), String>;

/// A script that is being played: the context under test, the machine under it, and the model.
pub struct Player<'a> {
    ctx: &'a Ctx,
    sim: Sim,
    opener: SimOpen,
    looper: SimLoop,
    /// The backend calls of the last step.
    calls: Calls,
    /// The wakes that callbacks were called with.
    called: Called,
    /// The slots whose channels are being handed over.
    handed: Vec<usize>,
    guest: Guest,
    table: Table,
    round: Option<Round<'a, Loop>>,
    /// How many wakes the round may still hand out.
    budget: usize,
    /// The call that failed when the round read.
    unread: Option<Call>,
    /// The call whose error was kept when a round was dropped. The next call that can return this error
    /// must do so.
    owed: Option<Call>,
    steps: usize,
    /// Calls that were set to fail at some time.
    set_to_fail: Vec<Call>,
    /// The ring overflowed at some time.
    overflowed: bool,
    /// A deregistration failed, so the device may be registered without a wait.
    loose: bool,
    /// Channels that had a wait when their device failed, and still must get a wake `Gone`.
    gone_due: BTreeSet<ChannelId>,
    /// Channels that may get a wake `Gone`.
    gone_possible: BTreeSet<ChannelId>,
    stats: Stats,
    played: Played,
}

/// Where callbacks put their wakes.
#[derive(Debug, Clone, Default)]
struct Called(Arc<Mutex<Vec<Wake>>>);

impl Called {
    fn get(&self) -> MutexGuard<'_, Vec<Wake>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Player<'a> {
    fn new(
        ctx: &'a Ctx,
        slots: u16,
        (sim, opener, looper, calls): (Sim, SimOpen, SimLoop, Calls),
        guest: Guest,
    ) -> Player<'a> {
        Player {
            ctx,
            sim,
            opener,
            looper,
            calls,
            called: Called::default(),
            handed: Vec::new(),
            guest,
            table: Table::new(slots),
            round: None,
            budget: 0,
            unread: None,
            owed: None,
            steps: 0,
            set_to_fail: Vec::new(),
            overflowed: false,
            loose: false,
            gone_due: BTreeSet::new(),
            gone_possible: BTreeSet::new(),
            stats: Stats::default(),
            played: Played::default(),
        }
    }
}

impl Player<'_> {
    fn step(&mut self, op: Op) -> Step {
        self.calls.get().clear();
        if self.is_idle(op) {
            return Ok(());
        }
        match op {
            Op::Bind(slot, source) => self.bind(self.place(slot), source)?,
            Op::Unbind(slot) => self.unbind(self.place(slot))?,
            Op::Drop(slot) => self.drop_channel(self.place(slot))?,
            Op::Wait(slot) => self.wait(self.place(slot))?,
            Op::WaitEach(slot) => self.wait_each(self.place(slot))?,
            Op::Cancel(slot) => self.cancel(self.place(slot))?,
            Op::Block(slot) => self.block(self.place(slot))?,
            Op::Await(slot) => self.task(self.place(slot))?,
            Op::Signal(slot) => self.signal(self.place(slot))?,
            Op::Notify(slot) => self.notify(self.place(slot))?,
            Op::Many(each, first, count) => self.many(each, first, count)?,
            Op::Storm(slot, times) => {
                let place = self.place(slot);
                (0..times).try_for_each(|_| self.signal(place))?;
            }
            Op::Begin(budget) => self.begin(budget.into())?,
            Op::Next => self.next_many(1)?,
            Op::NextMany(wakes) => self.next_many(wakes)?,
            Op::Finish => self.finish()?,
            Op::Leave => self.leave(),
            Op::Turn => self.turn(false).map(|_| ())?,
            Op::Serve => self.turn(true).map(|_| ())?,
            Op::Callback(slot) => self.callback(self.place(slot))?,
            Op::Calls => self.call_back()?,
            // This happens between two players.
            Op::HandOver => {}
            Op::Spurious => self.looper.spurious(),
            Op::Overflow => self.overflow(),
            Op::Fail(failing) => self.fail(failing, 1),
            Op::FailNth(failing, nth) => self.fail(failing, nth.into()),
            Op::Short(ports) => self.shorten(ports.into()),
            Op::Teardown => self.teardown()?,
        }
        self.check()?;
        // This looks at every slot, so it is not done after every step.
        self.steps += 1;
        if matches!(op, Op::Many(..)) || self.steps.is_multiple_of(16) {
            self.check_leftover()?;
        }
        Ok(())
    }

    /// If the device failed, every channel is dead, and those with a wait must get a wake `Gone`.
    fn note_fault(&mut self) -> Step {
        let faults = self.ctx.stats().faults;
        if faults == self.stats.faults {
            return Ok(());
        }
        self.stats.faults = faults;
        ensure(self.may_fail(READS), || {
            "the device failed although no call of it was set to fail".into()
        })?;
        let gone_due = &mut self.gone_due;
        self.table.edit_all(|slot| {
            if slot.is_waiting() {
                gone_due.extend(slot.id);
            }
            slot.dead = true;
        });
        Ok(())
    }

    /// Whether one of these calls was set to fail.
    fn may_fail<const N: usize>(&self, calls: [Call; N]) -> bool {
        calls.iter().any(|call| self.set_to_fail.contains(call))
    }

    /// The device failed one of these calls. It may do so only if the call was set to fail.
    fn device_failed<const N: usize>(&mut self, calls: [Call; N], error: &DeviceError) -> Step {
        match device_call(error).filter(|call| calls.contains(call)) {
            Some(call) => self.failed(call, || text(error)),
            None => Err(format!("{error:?} is none of {calls:?}")),
        }
    }

    /// The loop failed this call. It may do so only if the call was set to fail.
    fn loop_failed(&mut self, call: Call, error: &LoopError) -> Step {
        match loop_call(error) {
            Some(failed) if failed == call => self.failed(call, || text(error)),
            _ => Err(format!("{error:?} is not of {call}")),
        }
    }

    fn failed(&mut self, call: Call, what: impl FnOnce() -> String) -> Step {
        self.played.failures += 1;
        ensure(self.may_fail([call]), || {
            format!("{}, although the call was not set to fail", what())
        })
    }

    /// The device could not be registered or deregistered.
    fn link_failed(&mut self, error: &Error) -> Step {
        if let Error::Deregister(error) = error {
            self.loose = true;
            self.loop_failed(Call::Deregister, error)
        } else if let Error::Register(error) = error {
            self.loop_failed(Call::Register, error)
        } else {
            Err(format!("{error:?}"))
        }
    }

    /// A port could not be unmasked, or the device could not be registered or deregistered.
    fn wait_failed(&mut self, error: &Error) -> Step {
        if let Error::Device(error) = error {
            self.device_failed([Call::Unmask], error)
        } else if matches!(error, Error::NotUnmasked { .. }) {
            self.failed(Call::Unmask, || text(error))
        } else {
            self.link_failed(error)
        }
    }

    fn place(&self, slot: u16) -> usize {
        usize::from(slot) % self.table.len()
    }

    fn many(&mut self, each: Each, first: u16, count: u16) -> Step {
        let slots = self.table.len();
        let first = self.place(first);
        if let Each::Notifies = each {
            let places = first..first + slots.min(count.into());
            return self.notify_many(places.map(|place| place % slots));
        }
        for place in first..first + slots.min(count.into()) {
            let place = place % slots;
            match each {
                Each::Binds(source) => self.bind(place, source)?,
                Each::Unbinds => self.unbind(place)?,
                Each::Drops => self.drop_channel(place)?,
                Each::Waits => self.wait(place)?,
                Each::Cancels => self.cancel(place)?,
                Each::Signals => self.signal(place)?,
                Each::Notifies => self.notify(place)?,
            }
        }
        Ok(())
    }
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Step {
    if holds { Ok(()) } else { Err(what()) }
}
