//! The job on the real device: virtual interrupts, channels to other domains, and channels of the
//! domain to itself that a second handle drives. Time is real.
//!
//! The second handle notifies in bursts, some ports several times, so that notifies coalesce. After
//! some bursts no channel has a wait for a moment, and the device is deregistered.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use evtchn::poll::PollLoop;
use evtchn::xen::{Privcmd, XenOpen};
use evtchn::{Cause, Device, DeviceError, DomId, Port, PortStatuses, RemotePort};
use evtchn_trace::Tape;

use super::environment::{AfterWake, Channel, Context, Environment, Notifier, Watched};
use super::job::{Job, Options, watch};
use super::record::Recording;
use crate::exit::{bind_failed, call_failed, device_failed};
use crate::options::Place;
use crate::output::{Format, Output, ReportingRegistrar};
use crate::source::Source;
use crate::stop::Stop;

/// The sources, and the device.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The number of channels of the domain to itself.
    pub(crate) loopback: u16,
    /// The other sources.
    pub(crate) sources: Vec<Source>,
    /// The device.
    pub(crate) device: PathBuf,
}

impl Setup {
    fn opener(&self) -> XenOpen {
        XenOpen::at(self.device.clone())
    }
}

/// Runs the job on the device of this machine.
///
/// # Errors
/// The first failure, with advice.
pub(crate) fn run(
    setup: &Setup,
    options: Options,
    format: Format,
    recording: &Recording,
) -> Result<()> {
    let tape = recording.tape();
    let start = Instant::now();
    let place = Place::Xen(setup.device.clone());
    let output = Arc::new(Output::new(format, place, move || start.elapsed()));
    let poll_loop = PollLoop::new().context("cannot make an event loop")?;
    let registrar = ReportingRegistrar::new(poll_loop.clone(), Arc::clone(&output));
    let context = Context::with_registrar(tape.record(setup.opener()), registrar);

    let bound = bind(&context, &setup.sources)?;
    let (mut channels, peer) = bind_loopback(&context, setup, tape)?;
    channels.extend(bound);
    let stop_loop = poll_loop.clone();
    let job = Job {
        output: &output,
        stop: &Stop::on_signal(move || stop_loop.wake()).context("cannot watch for signals")?,
        options,
        recording,
        observer: None,
    };
    let mut environment = Host {
        poll_loop,
        output: Arc::clone(&output),
        sources: setup.sources.clone(),
        peer,
        has_begun: false,
    };
    watch(&context, channels, &mut environment, job)
}

type Channels = Vec<Watched>;

fn bind(context: &Context, sources: &[Source]) -> Result<Channels> {
    let numbered = sources.iter().enumerate();
    let bound = numbered
        .map(|(notifier, &source)| Ok(Watched::new(bind_one(context, source)?, source, notifier)));
    bound.collect()
}

fn bind_one(context: &Context, source: Source) -> Result<Channel> {
    match source {
        Source::Remote(remote) => context.bind_interdomain(remote).map_err(bind_failed),
        Source::Unbound(domid) => context.bind_unbound_port(domid).map_err(call_failed),
        Source::Virq(virq) => context.bind_virq(virq).map_err(call_failed),
    }
}

fn bind_loopback(
    context: &Context,
    setup: &Setup,
    tape: &Tape,
) -> Result<(Channels, Option<LoopbackPeer>)> {
    if setup.loopback == 0 {
        return Ok((Vec::new(), None));
    }
    let mut channels = Vec::new();
    for _ in 0..setup.loopback {
        channels.push(
            context
                .bind_unbound_port(DomId::SELF)
                .map_err(call_failed)?,
        );
    }
    let device = tape.open_peer(setup.opener()).map_err(device_failed)?;
    let peers = channels.iter().map(|channel| {
        device.bind_interdomain(RemotePort {
            domid: DomId::SELF,
            port: channel.port(),
        })
    });
    let peer = LoopbackPeer {
        ports: peers.collect::<Result<_, _>>()?,
        unanswered: vec![false; channels.len()],
        idle: channels.len(),
        bursts: 0,
        sent: vec![0; channels.len()],
        device,
    };
    let watched = channels.into_iter().zip(&peer.ports);
    let watched = watched.map(|(channel, &port)| {
        let domid = DomId::SELF;
        let source = Source::Remote(RemotePort { domid, port });
        Watched::new(channel, source, setup.sources.len())
    });
    Ok((watched.collect(), Some(peer)))
}

/// The second handle, with the other ends of the domain's channels to itself. These are the first
/// channels of the job.
#[derive(Debug)]
struct LoopbackPeer {
    device: Device,
    /// Its ports, in the order of the channels.
    ports: Vec<Port>,
    /// Which of them it notified since their channel woke.
    unanswered: Vec<bool>,
    /// The number of channels without a wait.
    idle: usize,
    /// Bursts since the last pause.
    bursts: usize,
    /// How often it notified through each port.
    sent: Vec<u64>,
}

impl LoopbackPeer {
    /// Bursts between two pauses.
    const BURSTS: usize = 16;

    /// Ends the pause. Returns the channels whose wait begins now.
    fn begin(&mut self) -> Range<usize> {
        self.bursts = 0;
        self.idle = 0;
        0..self.ports.len()
    }

    /// Notifies zero to three times through each port, and at least once in the last burst.
    fn burst(&mut self) -> Result<()> {
        self.bursts += 1;
        for (index, &port) in self.ports.iter().enumerate() {
            let times = match self.bursts {
                LoopbackPeer::BURSTS => 1 + index % 3,
                burst => (5 * index + 3 * burst) % 4,
            };
            for _ in 0..times {
                self.device.notify(port)?;
                self.sent[index] += 1;
                self.unanswered[index] = true;
            }
        }
        Ok(())
    }

    /// Notes a wake. After the last burst its channel gets no new wait.
    fn woke(&mut self, which: usize) -> AfterWake {
        self.unanswered[which] = false;
        if self.bursts < LoopbackPeer::BURSTS {
            return AfterWake::WaitAgain;
        }
        self.idle += 1;
        AfterWake::Stop
    }

    fn is_pausing(&self) -> bool {
        self.idle == self.ports.len()
    }

    fn is_answered(&self) -> bool {
        !self.unanswered.contains(&true)
    }
}

/// This machine.
struct Host {
    poll_loop: PollLoop,
    output: Arc<Output>,
    /// The sources of the other channels, which follow those of `loopback`.
    sources: Vec<Source>,
    peer: Option<LoopbackPeer>,
    has_begun: bool,
}

impl Host {
    /// The length of a pause.
    const PAUSE: Duration = Duration::from_millis(10);

    /// Whether there is something to dispatch, now or within `timeout`.
    fn poll(&self, timeout: Option<Duration>) -> Result<bool> {
        let readiness = self.poll_loop.wait(timeout).context("cannot poll")?;
        Ok(!readiness.timed_out())
    }

    /// Writes the output, then sleeps until there is something to dispatch, or until one of the times.
    /// A table on a terminal is drawn meanwhile.
    fn sleep(&self, timeout: Option<Duration>, until: Option<Duration>) -> Result<()> {
        let ends = timeout.map(|timeout| self.output.now() + timeout);
        let ends = ends.into_iter().chain(until).min();
        loop {
            self.output.flush();
            let rest = ends.map(|ends| ends.saturating_sub(self.output.now()));
            let nap = rest.into_iter().chain(self.output.max_sleep()).min();
            if self.poll(nap)? || nap == rest {
                return Ok(());
            }
        }
    }
}

impl Environment for Host {
    fn statuses(&self) -> Result<Box<dyn PortStatuses>, DeviceError> {
        Ok(Box::new(Privcmd::open()?))
    }

    fn advance(
        &mut self,
        channels: &[Watched],
        timeout: Option<Duration>,
        until: Option<Duration>,
    ) -> Result<Vec<usize>> {
        let is_pausing = self.peer.as_ref().is_some_and(LoopbackPeer::is_pausing);
        let driven = match &mut self.peer {
            Some(peer) if is_pausing => peer.begin(),
            Some(_) | None => 0..0,
        };
        if !self.has_begun {
            self.has_begun = true;
            return Ok((0..channels.len()).collect());
        }
        if is_pausing {
            self.sleep(Some(Host::PAUSE), until)?;
            return Ok(driven.collect());
        }
        while timeout.is_none() && !self.poll(Some(Duration::ZERO))? {
            match &mut self.peer {
                Some(peer) if peer.is_answered() => peer.burst()?,
                Some(_) | None => {
                    self.sleep(None, until)?;
                    break;
                }
            }
        }
        Ok(Vec::new())
    }

    fn bind(&self, context: &Context, source: Source) -> Result<Channel> {
        bind_one(context, source)
    }

    fn handle_wake(&mut self, which: usize, _channel: &Channel, cause: Cause) -> Result<AfterWake> {
        Ok(match &mut self.peer {
            // The event of the burst has not come yet.
            Some(_) if cause == Cause::PeerConnected => AfterWake::WaitAgain,
            Some(peer) if which < peer.ports.len() => peer.woke(which),
            Some(_) | None => AfterWake::WaitAgain,
        })
    }

    fn notifiers(&self, selected: &[bool]) -> Vec<Notifier> {
        // The channels of the loopback come first.
        let loopback = self.peer.as_ref().map_or(0, |peer| peer.ports.len());
        let (of_loopback, of_sources) = selected.split_at(loopback.min(selected.len()));
        let is_selected = |place: usize| of_sources.get(place) == Some(&true);
        let others = self.sources.iter().enumerate().map(|(place, source)| {
            let name = is_selected(place).then(|| source.to_string());
            Notifier { name, sent: None }
        });
        let loopback = self.peer.iter().map(|peer| {
            let sent = peer.sent.iter().zip(of_loopback);
            let sent = sent.filter(|(_, is_selected)| **is_selected);
            let sent: Vec<u64> = sent.map(|(sent, _)| *sent).collect();
            Notifier {
                name: (!sent.is_empty()).then(|| format!("loopback {}", sent.len())),
                sent: Some(sent.iter().sum()),
            }
        });
        others.chain(loopback).collect()
    }

    fn close(&mut self) -> Result<()> {
        if let Some(peer) = &self.peer {
            for &port in &peer.ports {
                peer.device.unbind(port)?;
            }
        }
        Ok(())
    }
}
