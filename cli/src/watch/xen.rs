//! The job on the real device: virtual interrupts, channels to other domains, and channels of the
//! domain to itself that a second handle drives. Time is real.
//!
//! The second handle notifies in bursts, some ports several times, so notifies coalesce as Xen
//! decides. After some bursts nobody waits for a moment, and the device is left alone.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use evtchn::poll::PollLoop;
use evtchn::xen::{Privcmd, XenOpen};
use evtchn::{Cause, Device, DeviceError, DomId, Port, PortStatuses, RemotePort};
use evtchn_trace::Tape;

use super::end::End;
use super::job::{Orders, Wish, watch};
use super::record::Recording;
use super::scene::{Channel, Context, Notifier, Scene, Then, Watched};
use crate::exit::{device, no_peer, refused};
use crate::output::{Announce, Format, Output};
use crate::stop::Stop;

/// What is watched.
#[derive(Debug)]
pub(crate) struct Cast {
    /// How many channels of the domain to itself.
    pub(crate) loopback: u16,
    /// The other ends that are bound to.
    pub(crate) ends: Vec<End>,
    /// What opens the device.
    pub(crate) opener: XenOpen,
}

/// Runs the job on the device of this machine.
///
/// # Errors
/// The first failure, with what to do about it.
pub(crate) fn run(cast: &Cast, wish: Wish, format: Format, recording: &Recording) -> Result<()> {
    let tape = recording.tape();
    let start = Instant::now();
    let output = Arc::new(Output::new(format, move || start.elapsed()));
    let poll_loop = PollLoop::new().context("cannot make an event loop")?;
    let announce = Announce::new(poll_loop.clone(), Arc::clone(&output));
    let context = Context::with_registrar(tape.record(cast.opener.clone()), announce);

    let bound = bind(&context, &cast.ends)?;
    let (mut channels, driver) = bind_loopback(&context, cast, tape)?;
    channels.extend(bound);
    let stop_loop = poll_loop.clone();
    let orders = Orders {
        output: &output,
        stop: &Stop::on_signal(move || stop_loop.wake()).context("cannot watch for signals")?,
        wish,
        recording,
        onlooker: None,
    };
    let mut scene = Host {
        poll_loop,
        output: Arc::clone(&output),
        ends: cast.ends.clone(),
        driver,
        has_begun: false,
    };
    watch(&context, channels, &mut scene, orders)
}

type Channels = Vec<Watched>;

fn bind(context: &Context, ends: &[End]) -> Result<Channels> {
    let numbered = ends.iter().enumerate();
    let bound = numbered.map(|(notifier, &end)| {
        let channel = match end {
            End::Remote(remote) => context.bind_interdomain(remote).map_err(no_peer),
            End::Awaited(domid) => context.bind_unbound_port(domid).map_err(refused),
            End::Virq(virq) => context.bind_virq(virq).map_err(refused),
        };
        Ok(Watched::new(channel?, end, notifier))
    });
    bound.collect()
}

fn bind_loopback(
    context: &Context,
    cast: &Cast,
    tape: &Tape,
) -> Result<(Channels, Option<Driver>)> {
    if cast.loopback == 0 {
        return Ok((Vec::new(), None));
    }
    let mut channels = Vec::new();
    for _ in 0..cast.loopback {
        channels.push(context.bind_unbound_port(DomId::SELF).map_err(refused)?);
    }
    let device = tape.open_peer(cast.opener.clone()).map_err(device)?;
    let peers = channels.iter().map(|channel| {
        device.bind_interdomain(RemotePort {
            domid: DomId::SELF,
            port: channel.port(),
        })
    });
    let driver = Driver {
        ports: peers.collect::<Result<_, _>>()?,
        unanswered: vec![false; channels.len()],
        resting: channels.len(),
        bursts: 0,
        sent: 0,
        device,
    };
    let watched = channels.into_iter().zip(&driver.ports);
    let watched = watched.map(|(channel, &port)| {
        let domid = DomId::SELF;
        let end = End::Remote(RemotePort { domid, port });
        Watched::new(channel, end, cast.ends.len())
    });
    Ok((watched.collect(), Some(driver)))
}

/// The second handle: the other ends of the domain's channels to itself, which are the first
/// channels of the job.
#[derive(Debug)]
struct Driver {
    device: Device,
    /// Its ends, in the order of the channels.
    ports: Vec<Port>,
    /// Which of them were notified since their channel woke.
    unanswered: Vec<bool>,
    /// How many channels nobody waits for.
    resting: usize,
    /// Bursts since the last rest.
    bursts: usize,
    sent: u64,
}

impl Driver {
    /// Bursts between two rests.
    const BURSTS: usize = 16;

    /// Ends the rest. Returns which channels are waited for from now on.
    fn begin(&mut self) -> Range<usize> {
        self.bursts = 0;
        self.resting = 0;
        0..self.ports.len()
    }

    /// Notifies none to three times through each end, at least once in the last burst.
    fn burst(&mut self) -> Result<()> {
        self.bursts += 1;
        for (index, &port) in self.ports.iter().enumerate() {
            let times = match self.bursts {
                Driver::BURSTS => 1 + index % 3,
                burst => (5 * index + 3 * burst) % 4,
            };
            for _ in 0..times {
                self.device.notify(port)?;
                self.sent += 1;
                self.unanswered[index] = true;
            }
        }
        Ok(())
    }

    /// Takes note of a wake: after the last burst its channel rests.
    fn woke(&mut self, which: usize) -> Then {
        self.unanswered[which] = false;
        if self.bursts < Driver::BURSTS {
            return Then::WaitAgain;
        }
        self.resting += 1;
        Then::Rest
    }

    fn is_resting(&self) -> bool {
        self.resting == self.ports.len()
    }

    fn is_answered(&self) -> bool {
        !self.unanswered.contains(&true)
    }
}

/// This machine.
struct Host {
    poll_loop: PollLoop,
    output: Arc<Output>,
    /// The other ends that are not our own, of the last channels of the job.
    ends: Vec<End>,
    driver: Option<Driver>,
    has_begun: bool,
}

impl Host {
    /// How long a rest takes.
    const REST: Duration = Duration::from_millis(10);

    /// Whether there is something to dispatch, now or within `timeout`.
    fn poll(&self, timeout: Option<Duration>) -> Result<bool> {
        let readiness = self.poll_loop.wait(timeout).context("cannot poll")?;
        Ok(!readiness.timed_out())
    }

    /// Sleeps, with everything said before, until there is something to dispatch, or one of the
    /// times. Where somebody looks at a table, it is drawn meanwhile.
    fn sleep(&self, timeout: Option<Duration>, until: Option<Duration>) -> Result<()> {
        let ends = timeout.map(|timeout| self.output.now() + timeout);
        let ends = ends.into_iter().chain(until).min();
        loop {
            self.output.flush();
            let rest = ends.map(|ends| ends.saturating_sub(self.output.now()));
            let nap = rest.into_iter().chain(self.output.nap()).min();
            if self.poll(nap)? || nap == rest {
                return Ok(());
            }
        }
    }
}

impl Scene for Host {
    fn statuses(&self) -> Result<Box<dyn PortStatuses>, DeviceError> {
        Ok(Box::new(Privcmd::open()?))
    }

    fn next(
        &mut self,
        channels: &[Watched],
        timeout: Option<Duration>,
        until: Option<Duration>,
    ) -> Result<Vec<usize>> {
        let is_resting = self.driver.as_ref().is_some_and(Driver::is_resting);
        let driven = match &mut self.driver {
            Some(driver) if is_resting => driver.begin(),
            Some(_) | None => 0..0,
        };
        if !self.has_begun {
            self.has_begun = true;
            return Ok((0..channels.len()).collect());
        }
        if is_resting {
            self.sleep(Some(Host::REST), until)?;
            return Ok(driven.collect());
        }
        while timeout.is_none() && !self.poll(Some(Duration::ZERO))? {
            match &mut self.driver {
                Some(driver) if driver.is_answered() => driver.burst()?,
                Some(_) | None => {
                    self.sleep(None, until)?;
                    break;
                }
            }
        }
        Ok(Vec::new())
    }

    fn look(&mut self, which: usize, _channel: &Channel, cause: Cause) -> Result<Then> {
        Ok(match &mut self.driver {
            // The event of the burst is still to come.
            Some(_) if cause == Cause::PeerConnected => Then::WaitAgain,
            Some(driver) if which < driver.ports.len() => driver.woke(which),
            Some(_) | None => Then::WaitAgain,
        })
    }

    fn notifiers(&self) -> Vec<Notifier> {
        let others = self.ends.iter().map(|end| Notifier {
            name: end.to_string(),
            sent: None,
        });
        let loopback = self.driver.iter().map(|driver| Notifier {
            name: format!("loopback {}", driver.ports.len()),
            sent: Some(driver.sent),
        });
        others.chain(loopback).collect()
    }

    fn end(&mut self) -> Result<()> {
        if let Some(driver) = &self.driver {
            for &port in &driver.ports {
                driver.device.unbind(port)?;
            }
        }
        Ok(())
    }
}
