//! A client: one thread that sends on its links, blocks until each message is answered, ends links
//! and takes others, and forks.
//!
//! It goes on only after a wake, so where a wake is lost it stops and reports the failure.

use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use evtchn_core::{Cause, Context, DeviceCall, Error, ErrorKind, Link as State, RemotePort};
use evtchn_xen::PollLoop;

use crate::board::{LINKS, Link, Offer, Phase, SLICE, server_of};
use crate::fork::Inherited;
use crate::place::Place;
use crate::random::Random;
use crate::side::{ChannelOf, ContextOf, SharedOpen, Side};

/// The context that a client's channels are bound in.
enum Home<'h> {
    /// The server's, which others use at the same time.
    Hub(&'h ContextOf),
    /// The client's own. `None` while the client forks.
    Own(Option<ContextOf>),
}

/// The client's end of a link.
struct Wire {
    channel: ChannelOf,
    talk: Talk,
}

/// What is known of it.
struct Talk {
    offer: Offer,
    /// How often its server had answered when it was bound.
    answers_before: u64,
    events: u64,
}

pub(crate) struct Client<'h, S: Side> {
    side: &'h S,
    place: Place,
    number: usize,
    random: Random,
    home: Home<'h>,
    wires: [Option<Wire>; LINKS],
    /// The last life of each link that it has ended.
    ended: [u32; LINKS],
}

impl<'h, S: Side> Client<'h, S> {
    /// The first client of a process uses its server's context, the others have their own.
    pub(crate) fn new(
        side: &'h S,
        hub: &'h ContextOf,
        place: Place,
        number: usize,
        random: Random,
    ) -> Result<Client<'h, S>> {
        let home = if number == 0 {
            Home::Hub(hub)
        } else {
            let ctx = Context::with_registrar(SharedOpen::new(side), PollLoop::new()?);
            Home::Own(Some(ctx))
        };
        Ok(Client {
            side,
            place,
            number,
            random,
            home,
            wires: Default::default(),
            ended: [0; LINKS],
        })
    }

    /// Sends and gets answers until the lap is over, and then ends every link.
    pub(crate) fn run(mut self) -> Result<()> {
        let mut has_forked = false;
        while self.place.phase() == Phase::Run {
            if self.place.is_over() {
                return Ok(());
            }
            self.talk()?;
            if self.random.one_in(8) {
                let index = self.random.below(LINKS);
                self.end_link(index)?;
            }
            if self.random.one_in(100) {
                self.fork()?;
                has_forked = true;
            }
        }
        // Every lap has a fork, even one in which no number led to one.
        if !has_forked {
            self.fork()?;
        }
        for index in 0..LINKS {
            self.end_link(index)?;
        }
        if let Home::Own(Some(ctx)) = &self.home {
            ctx.teardown()?;
            let stats = ctx.stats();
            let strange = (stats.overflows, stats.faults, stats.unreported);
            ensure!(strange == (0, 0, 0), "{stats:?}");
        }
        Ok(())
    }

    fn link(&self, index: usize) -> &'static Link {
        &self.place.board.links(self.place.process, self.number)[index]
    }

    fn name(&self, index: usize) -> String {
        let server = server_of(self.place.process, self.number);
        let Place { process, .. } = self.place;
        let number = self.number;
        format!("link {index} of client {number} of process {process} to process {server}")
    }

    /// Sends on some links and waits for the answers.
    fn talk(&mut self) -> Result<()> {
        let first = self.random.below(LINKS);
        let many = 1 + self.random.below(3);
        let chosen = (0..many).map(|it| (first + it) % LINKS);
        let mut said = Vec::with_capacity(many);
        for index in chosen {
            if self.wires[index].is_none() && !self.connect(index)? {
                continue;
            }
            let times = 1 + self.random.below(3);
            for _ in 0..times {
                self.say(index)?;
            }
            said.push(index);
        }
        for index in said {
            if self.await_answer(index)? {
                self.place.operation(1 + self.number);
            }
        }
        Ok(())
    }

    fn say(&self, index: usize) -> Result<()> {
        if let Some(wire) = &self.wires[index] {
            self.link(index).said.fetch_add(1, Ordering::SeqCst);
            wire.channel.notify()?;
            self.place.tally(|it| &it.notifies);
        }
        Ok(())
    }

    /// Binds to what is offered on a link. Returns false where the lap is over before that.
    fn connect(&mut self, index: usize) -> Result<bool> {
        let link = self.link(index);
        let waiting = self.place.board.waiting();
        while self.place.phase() == Phase::Run && !self.place.is_over() {
            ensure!(
                !self.place.is_too_long(waiting),
                "nothing to bind to for {}",
                self.name(index)
            );
            let (offer, bell) = link.offer();
            let usable = offer.filter(|offer| offer.life != self.ended[index]);
            let Some(offer) = usable else {
                link.await_offer(bell);
                continue;
            };
            if self.bind(index, offer)? {
                // The wake that a bind brings. The server may not have seen what the last client
                // said.
                return self.wake(index);
            }
            link.await_offer(bell);
        }
        Ok(false)
    }

    fn bind(&mut self, index: usize, offer: Offer) -> Result<bool> {
        let link = self.link(index);
        let answers_before = link.answers.load(Ordering::SeqCst);
        let remote = RemotePort {
            domid: self.random.domid(),
            port: offer.port,
        };
        let ctx = match &self.home {
            Home::Hub(ctx) => *ctx,
            Home::Own(Some(ctx)) => ctx,
            Home::Own(None) => bail!("the context is away"),
        };
        let mut channel = match ctx.bind_interdomain(remote) {
            Ok(channel) => channel,
            // What is left of a killed process may still hold the port, or the server is killed.
            Err(Error::Device(error))
                if error.kind() == ErrorKind::Invalid
                    && error.call() == DeviceCall::BindInterdomain(remote) =>
            {
                self.place.tally(|it| &it.refused);
                return Ok(false);
            }
            Err(error) => bail!("{}: {error}", self.name(index)),
        };
        self.place.tally(|it| &it.binds);
        // Otherwise another process may have the port by now: an offer is withdrawn before its
        // process dies.
        if link.offer().0 != Some(offer) {
            channel.unbind()?;
            self.place.tally(|it| &it.unbinds);
            return Ok(false);
        }
        let talk = Talk {
            offer,
            answers_before,
            events: 0,
        };
        self.wires[index] = Some(Wire { channel, talk });
        Ok(true)
    }

    /// Blocks until the server has seen all that was said on a link. False where it was killed.
    fn await_answer(&mut self, index: usize) -> Result<bool> {
        let link = self.link(index);
        while self.wake(index)? {
            if link.seen.load(Ordering::SeqCst) >= link.said.load(Ordering::SeqCst) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Blocks until a link wakes. False where its server was killed.
    fn wake(&mut self, index: usize) -> Result<bool> {
        let link = self.link(index);
        let waiting = self.place.board.waiting();
        while let Some(wire) = &self.wires[index] {
            if let Some(cause) = wire.channel.block_until(Instant::now() + SLICE)? {
                self.note(index, cause)?;
                return Ok(true);
            }
            if self.place.is_over() {
                break;
            }
            if link.offer().0 != Some(wire.talk.offer) {
                self.abandon(index)?;
                break;
            }
            let [said, seen] = [&link.said, &link.seen].map(|it| it.load(Ordering::SeqCst));
            ensure!(
                !self.place.is_too_long(waiting),
                "no wake on {} ({said} said, {seen} seen)",
                self.name(index)
            );
        }
        Ok(false)
    }

    /// A wake came. There are no more of them than answers, but for that of the bind and one that
    /// was under way to the last client.
    fn note(&mut self, index: usize, cause: Cause) -> Result<()> {
        self.place.tally(|it| &it.wakes);
        let link = self.link(index);
        let Some(wire) = &mut self.wires[index] else {
            bail!("a wake of nothing");
        };
        match (cause, &self.home) {
            (Cause::Event, _) => wire.talk.events += 1,
            (Cause::Overflow, Home::Hub(_)) => {}
            (cause, _) => bail!("{cause:?} on {}", self.name(index)),
        }
        let events = wire.talk.events;
        let answers = link.answers.load(Ordering::SeqCst) - wire.talk.answers_before;
        ensure!(
            events <= answers + 2,
            "{events} events for {answers} answers on {}",
            self.name(index)
        );
        if let Home::Own(Some(ctx)) = &self.home {
            let state = ctx.link();
            ensure!(state == State::Idle, "{state:?} though nothing waits");
        }
        Ok(())
    }

    /// Drops a link without a message to its server.
    fn abandon(&mut self, index: usize) -> Result<()> {
        if let Some(mut wire) = self.wires[index].take() {
            wire.channel.unbind()?;
            self.place.tally(|it| &it.unbinds);
            self.place.tally(|it| &it.abandoned);
        }
        Ok(())
    }

    /// Ends a link, and notifies its server.
    fn end_link(&mut self, index: usize) -> Result<()> {
        let Some(wire) = &self.wires[index] else {
            return Ok(());
        };
        let life = wire.talk.offer.life;
        self.link(index).bye.store(life, Ordering::SeqCst);
        self.say(index)?;
        self.ended[index] = life;
        if let Some(mut wire) = self.wires[index].take() {
            wire.channel.unbind()?;
            self.place.tally(|it| &it.unbinds);
            self.place.operation(1 + self.number);
        }
        Ok(())
    }

    /// Forks with all channels open, and the context.
    fn fork(&mut self) -> Result<()> {
        let mut talks = Vec::new();
        let mut channels = Vec::new();
        for (index, wire) in self.wires.iter_mut().enumerate() {
            if let Some(Wire { channel, talk }) = wire.take() {
                channels.push(channel);
                talks.push((index, talk));
            }
        }
        let ctx = match &mut self.home {
            Home::Hub(_) => None,
            Home::Own(ctx) => ctx.take(),
        };
        let kept = self.side.fork(Inherited { ctx, channels })?;
        if let Home::Own(ctx) = &mut self.home {
            *ctx = kept.ctx;
        }
        for ((index, talk), channel) in talks.into_iter().zip(kept.channels) {
            self.wires[index] = Some(Wire { channel, talk });
        }
        self.place.tally(|it| &it.forks);
        self.place.operation(1 + self.number);
        Ok(())
    }
}
