//! The simulated machine on which a trace is replayed.

use std::collections::HashMap;
use std::time::Duration;

use evtchn_core::{
    Device, DeviceError, DomId, Error, ErrorKind, Open, Port, PortBuf, PortStatuses, Registrar,
    RemotePort, Sleep, Slept, Status, Trigger,
};
use evtchn_sim::{Call, Delivery, DomainConfig, Errno, SimLoop, SimOpen};

use crate::failed::Failed;
use crate::header::{Header, Source};
use crate::line::{BackendAnswer, BackendCall, BackendRecord, Guest, Record, Sim};
use crate::names::{RecordedStatus, SleepEnd};
use crate::replay::{Machine, text};

/// The machine, and what it has to know of the trace.
pub(super) struct Simulated {
    sim: evtchn_sim::Sim,
    opener: SimOpen,
    looper: SimLoop,
    device: Option<Device>,
    peers: Vec<Option<Device>>,
    ports: Ports,
    /// Events arrive when a read reports them, because a trace of several CPUs does not say when they
    /// arrived.
    by_reads: bool,
    is_held: bool,
    /// The events that arrive during the next call.
    due: Vec<(DomId, u32)>,
}

/// Maps the ports of the trace, each with its domain, to those of the machine, and back.
#[derive(Default)]
struct Ports {
    simulated: HashMap<(DomId, u32), u32>,
    recorded: HashMap<(DomId, u32), u32>,
}

impl Ports {
    fn bound(&mut self, domid: DomId, recorded: u32, port: u32) {
        self.simulated.insert((domid, recorded), port);
        self.recorded.insert((domid, port), recorded);
    }

    fn simulated(&self, domid: DomId, recorded: u32) -> u32 {
        let port = self.simulated.get(&(domid, recorded));
        port.copied().unwrap_or(recorded)
    }

    /// A status of the machine, with the number that the trace has for the other end.
    fn recorded_status(&self, status: Status) -> Status {
        let Status::Interdomain { mut remote } = status else {
            return status;
        };
        let recorded = self.recorded.get(&(remote.domid, remote.port.as_raw()));
        remote.port = recorded
            .and_then(|it| Port::new(*it))
            .unwrap_or(remote.port);
        Status::Interdomain { remote }
    }

    fn local(&self, recorded: Port) -> Port {
        Port::new(self.simulated(DomId::DOM0, recorded.as_raw())).unwrap_or(recorded)
    }
}

/// The error says what happened instead of what the trace says.
type Acted = Result<(), String>;

impl Simulated {
    pub(super) fn new(header: &Header) -> Simulated {
        let sim = evtchn_sim::Sim::new(header.seed.unwrap_or(0));
        let by_reads = header.source == Source::Xen && header.cpus != Some(1);
        let mut machine = Simulated {
            opener: sim.open(DomId::DOM0),
            looper: match header.trigger {
                Trigger::Level => SimLoop::level(),
                Trigger::Edge => SimLoop::edge(),
            },
            device: None,
            peers: Vec::new(),
            ports: Ports::default(),
            by_reads,
            is_held: false,
            due: Vec::new(),
            sim,
        };
        if by_reads {
            machine.hold();
        }
        machine
    }

    fn hold(&mut self) {
        self.is_held = true;
        self.sim.set_delivery(Delivery::Held);
    }

    fn deliver(&mut self, domid: DomId, recorded: u32) -> bool {
        let port = self.ports.simulated(domid, recorded);
        self.sim.with(|world| world.step_to(domid, port))
    }

    fn guest(&mut self, guest: &Guest) -> Acted {
        let sim = self.sim.clone();
        match *guest {
            Guest::Create { domid, max_port } => {
                let mut config = DomainConfig::guest();
                config.max_port = max_port;
                errno_text(sim.create_domain_with(Some(domid), &config).map(drop))
            }
            Guest::Kill { domid } => errno_text(sim.with(|world| world.kill_domain(domid))),
            Guest::Remove { domid } => errno_text(sim.with(|world| world.remove_domain(domid))),
            Guest::AllocUnbound {
                domid,
                remote,
                port,
            } => {
                let bound = sim.with(|world| world.kernel_alloc_unbound(domid, remote));
                self.guest_bound(domid, port, bound)
            }
            Guest::BindInterdomain {
                domid,
                remote,
                remote_port,
                port,
            } => {
                let there = self.ports.simulated(remote, remote_port);
                let bound = sim.with(|world| world.kernel_bind_interdomain(domid, remote, there));
                self.guest_bound(domid, port, bound)
            }
            Guest::Send { domid, port } => {
                let port = self.ports.simulated(domid, port);
                errno_text(sim.with(|world| world.kernel_send(domid, port)))
            }
            Guest::Close { domid, port } => {
                let port = self.ports.simulated(domid, port);
                errno_text(sim.with(|world| world.kernel_close(domid, port)))
            }
            Guest::Raise { domid, virq } => errno_text(sim.raise_virq(domid, virq)),
            Guest::Other { ref what } => Err(format!("{what} is not replayed")),
        }
    }

    fn guest_bound(&mut self, domid: DomId, recorded: u32, bound: Result<u32, Errno>) -> Acted {
        let port = bound.map_err(|errno| errno.to_string())?;
        self.ports.bound(domid, recorded, port);
        Ok(())
    }

    fn decision(&mut self, sim: &Sim) -> Acted {
        match sim {
            Sim::Choice { .. } => {}
            Sim::Fault { call, errno, ports } => {
                let call = CALLS.into_iter().find(|it| it.name() == call);
                let call = call.ok_or("a fault of an unknown call")?;
                if let Some(errno) = errno {
                    self.opener.fail_next(call, Errno::new(*errno));
                }
                if let Some(ports) = ports {
                    self.opener.shorten_next(call, *ports);
                }
            }
            Sim::Overflow => return errno_text(self.opener.overflow()),
            Sim::Held => self.hold(),
            // Events arrive at once, by themselves.
            Sim::Deliver { .. } if !self.is_held => {}
            Sim::Deliver {
                domid,
                port,
                within: true,
            } => self.due.push((*domid, *port)),
            Sim::Deliver { domid, port, .. } => {
                if !self.deliver(*domid, *port) {
                    return Err("no such event is under way".into());
                }
            }
        }
        Ok(())
    }

    /// Makes a backend call and compares its answer.
    fn backend_call(&mut self, backend: &BackendRecord) -> Acted {
        if let BackendCall::Sleep { .. } = backend.call {
            return self.sleep(backend);
        }
        self.prepare(backend);
        let came = self.make(backend);
        for (domid, port) in std::mem::take(&mut self.due) {
            if !self.deliver(domid, port) {
                return Err(format!("no event of port {port} is under way"));
            }
        }
        let came = match (came, &backend.failed) {
            (Err(NoAnswer(None)), _) => return Err("there is no such device".into()),
            (Err(NoAnswer(Some(error))), Some(failed)) => {
                let came = failure(&error);
                let same = came.kind == failed.kind
                    && failed.errno.is_none_or(|it| Some(it) == came.errno);
                return if same { Ok(()) } else { Err(came.text) };
            }
            (Err(NoAnswer(Some(error))), None) => return Err(error.to_string()),
            (Ok(came), _) => came,
        };
        let binds = matches!(
            backend.call,
            BackendCall::BindUnboundPort { .. }
                | BackendCall::BindInterdomain { .. }
                | BackendCall::BindVirq { .. }
        );
        if let (true, Some(BackendAnswer::Number(port)), Some(BackendAnswer::Number(recorded))) =
            (binds, &came, &backend.answer)
        {
            self.ports.bound(DomId::DOM0, *recorded, *port);
            return Ok(());
        }
        if came == backend.answer && backend.failed.is_none() {
            return Ok(());
        }
        Err(text(&Record::Backend(BackendRecord {
            answer: came,
            failed: None,
            ..backend.clone()
        })))
    }

    /// Compares how a sleep ends: at once if the device ended it, not before its deadline if that passed.
    /// What caused any other end is not on the trace.
    fn sleep(&self, backend: &BackendRecord) -> Acted {
        let Some(BackendAnswer::Sleep(SleepEnd(slept @ (Slept::Ready | Slept::TimedOut)))) =
            backend.answer
        else {
            return Ok(());
        };
        let looper = &self.looper;
        let soon = self.looper.now() + Duration::from_nanos(1);
        let came = looper.sleep(looper.ticket(), Some(soon));
        let came = came.map_err(|error| error.to_string())?;
        if came == slept || self.by_reads {
            return Ok(());
        }
        Err(format!("the simulator's sleep ends as {came:?}"))
    }

    /// Causes what the simulator would not do by itself in the next call.
    fn prepare(&mut self, backend: &BackendRecord) {
        match (&backend.call, &backend.failed, &backend.answer) {
            (BackendCall::Pending { .. }, None, Some(BackendAnswer::Ports(ports)))
                if self.by_reads =>
            {
                for port in ports {
                    // If no such event is under way, the read differs.
                    self.deliver(DomId::DOM0, *port);
                }
            }
            (BackendCall::Register, Some(failed), _) => self.refuse(Call::Register, failed.errno),
            (BackendCall::Deregister, Some(failed), _) => {
                self.refuse(Call::Deregister, failed.errno);
            }
            _ => {}
        }
    }

    fn refuse(&self, call: Call, errno: Option<i32>) {
        let errno = errno.map_or(Errno::ENOMEM, Errno::new);
        self.looper.fail_next(call, errno);
    }

    /// Makes the call and returns its answer, with the numbers that the trace has for the ports.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all others are calls of the device"
    )]
    fn make(&mut self, backend: &BackendRecord) -> Result<Option<BackendAnswer>, NoAnswer> {
        let device = match backend.peer {
            None => &mut self.device,
            Some(peer) => {
                let peer = usize::try_from(peer).unwrap_or(usize::MAX);
                if peer == self.peers.len() {
                    self.peers.push(None);
                }
                self.peers.get_mut(peer).ok_or(NoAnswer(None))?
            }
        };
        match backend.call {
            BackendCall::Open => {
                // The faults of `opener` are for the program, not for another holder.
                let opened = match backend.peer {
                    None => self.opener.open(),
                    Some(_) => self.sim.open(DomId::DOM0).open(),
                };
                *device = Some(Device::new(opened?));
                return Ok(None);
            }
            BackendCall::Close => {
                *device = None;
                return Ok(None);
            }
            BackendCall::Wake => {
                self.looper.wake();
                return Ok(None);
            }
            _ => {}
        }
        let device = device.as_ref().ok_or(NoAnswer(None))?;
        let ports = &self.ports;
        let port = |port: Port| Ok(Some(BackendAnswer::Number(port.as_raw())));
        match &backend.call {
            BackendCall::BindUnboundPort { remote } => port(device.bind_unbound_port(*remote)?),
            BackendCall::BindInterdomain { domid, port: there } => {
                let owner = match *domid {
                    DomId::SELF => DomId::DOM0,
                    domid => domid,
                };
                let there = Port::new(ports.simulated(owner, there.as_raw())).unwrap_or(*there);
                let domid = *domid;
                port(device.bind_interdomain(RemotePort { domid, port: there })?)
            }
            BackendCall::BindVirq { virq } => port(device.bind_virq(*virq)?),
            BackendCall::BindStatic { port } => done(device.bind_static(*port)),
            BackendCall::Unbind { port } => done(device.unbind(ports.local(*port))),
            BackendCall::Notify { port } => done(device.notify(ports.local(*port))),
            BackendCall::Reset => done(device.reset()),
            BackendCall::Restrict { domid } => done(device.restrict(*domid)),
            BackendCall::Register => done(self.looper.register(device).map_err(Error::Register)),
            BackendCall::Deregister => {
                done(self.looper.deregister(device).map_err(Error::Deregister))
            }
            BackendCall::Unmask { ports: wanted } => {
                let local: Vec<Port> = wanted.iter().map(|port| ports.local(*port)).collect();
                let count = device.unmask(&local)?;
                Ok(u32::try_from(count).ok().map(BackendAnswer::Number))
            }
            BackendCall::Pending { room } => {
                let mut buf = PortBuf::with_capacity(*room);
                device.pending(&mut buf)?;
                let recorded = |port: &u32| {
                    let recorded = ports.recorded.get(&(DomId::DOM0, *port));
                    recorded.copied().unwrap_or(*port)
                };
                Ok(Some(BackendAnswer::Ports(
                    buf.words().iter().map(recorded).collect(),
                )))
            }
            BackendCall::Status { port } => {
                let privcmd = self.sim.privcmd(DomId::DOM0);
                let status = privcmd.status(DomId::SELF, ports.local(*port))?;
                let state = RecordedStatus::of(ports.recorded_status(status.state));
                Ok(state.map(BackendAnswer::Status))
            }
            BackendCall::Open
            | BackendCall::Close
            | BackendCall::Wake
            | BackendCall::Sleep { .. } => Ok(None),
        }
    }
}

impl Machine for Simulated {
    fn act(&mut self, record: &Record) -> Acted {
        match record {
            Record::Guest(guest) => self.guest(guest),
            Record::Sim(sim) => self.decision(sim),
            Record::Backend(backend) => self.backend_call(backend),
            Record::Call(_)
            | Record::Answer(_)
            | Record::Op(_)
            | Record::Input(_)
            | Record::Schedule(_)
            | Record::Verdict(_) => Ok(()),
        }
    }
}

/// The error of a call; none if there was no device to make it on.
struct NoAnswer(Option<Error>);

impl From<DeviceError> for NoAnswer {
    fn from(error: DeviceError) -> NoAnswer {
        NoAnswer(Some(error.into()))
    }
}

fn done<E: Into<Error>>(done: Result<(), E>) -> Result<Option<BackendAnswer>, NoAnswer> {
    match done {
        Ok(()) => Ok(None),
        Err(error) => Err(NoAnswer(Some(error.into()))),
    }
}

/// A failed backend call, as it is written.
fn failure(error: &Error) -> Failed {
    if let Error::Device(error) = error {
        Failed::of_device(error)
    } else if let Error::Register(error) | Error::Deregister(error) = error {
        Failed::of_loop(error)
    } else {
        Failed::new(ErrorKind::Other, error.to_string())
    }
}

fn errno_text(result: Result<(), Errno>) -> Acted {
    result.map_err(|errno| errno.to_string())
}

/// The calls that a fault can fail.
const CALLS: [Call; 11] = [
    Call::Open,
    Call::BindUnboundPort,
    Call::BindInterdomain,
    Call::BindVirq,
    Call::BindStatic,
    Call::Unbind,
    Call::Notify,
    Call::Pending,
    Call::Unmask,
    Call::Reset,
    Call::Restrict,
];
