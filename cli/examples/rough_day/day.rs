//! The daemon serves three guests, and gets a virtual interrupt when a guest dies. Meanwhile one guest
//! sends without a request, the driver's ring overflows, an unmask fails, and one guest dies.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, Result};
use evtchn::sim::{Call, Choice, Errno, Guest, Sim, SimLoop, SimOpen};
use evtchn::{DomId, Port, Stats, Trigger, Virq};
use evtchn_trace::{Header, Source, Tape, observe};

/// The seed of the random decisions: which guests send, and how often.
pub(crate) const SEED: u64 = 4;

const GUESTS: usize = 3;

type Context = evtchn::Context<SimLoop>;
type Channel = evtchn::Channel<SimLoop>;

/// Records the day, and returns the counts of the context.
///
/// # Errors
/// If a call fails unexpectedly, or a write fails.
pub(crate) fn record(seed: u64, out: impl Write + Send + 'static) -> Result<Stats> {
    let mut header = Header::new(Source::Sim, Trigger::Level);
    header.seed = Some(seed);
    let tape = Tape::new(&header, out);
    let sim = Sim::new(seed);
    observe(&sim, &tape);
    let opener = sim.open(DomId::DOM0);
    let context = Context::with_registrar(tape.record(opener.clone()), SimLoop::level());
    let mut day = Day::begin(&sim, &context, Choice::seeded(seed))?;
    day.quiet_morning()?;
    day.noon()?;
    day.unexpected_events()?;
    day.overflow(&opener)?;
    day.failed_unmask(&opener)?;
    day.a_guest_dies()?;
    day.evening()?;
    let stats = context.stats();
    drop(context);
    tape.finish().context("cannot write the trace")?;
    Ok(stats)
}

struct Day<'a> {
    sim: &'a Sim,
    context: &'a Context,
    choice: Choice,
    /// The channel to each live guest.
    guests: Vec<Option<Channel>>,
    others: Vec<(Guest, Port)>,
    died: Option<Channel>,
}

impl Day<'_> {
    fn begin<'a>(sim: &'a Sim, context: &'a Context, choice: Choice) -> Result<Day<'a>> {
        let mut day = Day {
            sim,
            context,
            choice,
            guests: Vec::new(),
            others: Vec::new(),
            died: None,
        };
        for _ in 0..GUESTS {
            let domid = sim.create_domain()?;
            let channel = context.bind_unbound_port(domid)?;
            let guest = sim.guest(domid);
            let port = guest.bind_interdomain(DomId::DOM0, channel.port())?;
            day.others.push((guest, port));
            day.guests.push(Some(channel));
        }
        day.died = Some(context.bind_virq(Virq::DOM_EXC)?);
        Ok(day)
    }

    /// The daemon waits for every guest; some send and are answered.
    fn quiet_morning(&mut self) -> Result<()> {
        self.wait_for_all()?;
        self.some_send()?;
        self.round(true)
    }

    /// The daemon waits for no guest, so the device is not registered and nothing is read.
    fn noon(&mut self) -> Result<()> {
        self.cancel_all()?;
        self.send(0)?;
        self.send(0)?;
        self.wait_for_all()?;
        self.round(true)
    }

    /// A guest sends while the daemon does not wait for it: that costs one wake, however often it sends.
    fn unexpected_events(&mut self) -> Result<()> {
        if let Some(channel) = &self.guests[1] {
            channel.cancel()?;
        }
        for _ in 0..4 {
            self.send(1)?;
        }
        self.send(0)?;
        self.round(true)?;
        self.send(2)?;
        self.round(true)?;
        // Its wake is latched, and the next round hands it out.
        self.wait(1)?;
        self.round(true)
    }

    /// The ring overflows: every waiter wakes.
    fn overflow(&mut self, opener: &SimOpen) -> Result<()> {
        self.some_send()?;
        opener.overflow()?;
        self.round(true)
    }

    /// An unmask fails, and the next round repeats it.
    fn failed_unmask(&mut self, opener: &SimOpen) -> Result<()> {
        self.send(0)?;
        opener.fail_next(Call::Unmask, Errno::ENOMEM);
        let round = self.round(true);
        anyhow::ensure!(round.is_err(), "the unmask was to fail");
        self.round(true)
    }

    /// A guest dies: Xen raises a virtual interrupt, and the daemon unbinds the channel.
    fn a_guest_dies(&mut self) -> Result<()> {
        let (dead, _) = &self.others[2];
        self.sim.destroy_domain(dead.domid())?;
        self.round(true)?;
        if let Some(mut channel) = self.guests[2].take() {
            channel.unbind()?;
        }
        self.send(1)?;
        self.round(true)
    }

    /// The daemon cancels all waits, and tears everything down.
    fn evening(&mut self) -> Result<()> {
        self.send(0)?;
        self.round(false)?;
        self.cancel_all()?;
        self.send(1)?;
        for mut channel in self.guests.drain(..).chain([self.died.take()]).flatten() {
            channel.unbind()?;
        }
        self.context.teardown()?;
        Ok(())
    }

    fn some_send(&mut self) -> Result<()> {
        let first = self.choice.of(GUESTS);
        for guest in first..=first + self.choice.of(GUESTS) {
            if self.guests[guest % GUESTS].is_some() {
                self.send(guest % GUESTS)?;
            }
        }
        Ok(())
    }

    fn send(&self, guest: usize) -> Result<()> {
        let (guest, port) = &self.others[guest];
        guest.send(*port)?;
        self.sim.advance(Duration::from_micros(10));
        Ok(())
    }

    fn wait_for_all(&self) -> Result<()> {
        if let Some(died) = &self.died {
            died.wait()?;
        }
        (0..GUESTS).try_for_each(|guest| self.wait(guest))
    }

    fn cancel_all(&self) -> Result<()> {
        for channel in self.guests.iter().chain([&self.died]).flatten() {
            channel.cancel()?;
        }
        Ok(())
    }

    /// Waits for a guest. If it has sent already, the next round answers it.
    fn wait(&self, guest: usize) -> Result<()> {
        if let Some(channel) = &self.guests[guest] {
            channel.wait()?;
        }
        Ok(())
    }

    /// Answers every guest whose channel woke, and waits for it again.
    fn round(&self, again: bool) -> Result<()> {
        let mut round = self.context.dispatch()?;
        for wake in round.by_ref() {
            let is_woken = |it: &&Channel| it.id() == wake.channel;
            let Some(channel) = self.guests.iter().flatten().find(is_woken) else {
                self.context.wait(wake.channel)?;
                continue;
            };
            channel.notify()?;
            if again {
                channel.wait()?;
            }
        }
        round.finish()?;
        Ok(())
    }
}
