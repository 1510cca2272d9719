//! A simulated machine on which a trace is replayed.

use std::collections::HashMap;
use std::time::Duration;

use evtchn_core::{
    Device, DeviceError, DomId, Error, ErrorKind, Open, Port, PortBuf, PortStatuses, Registrar,
    RemotePort, Sleep, Slept, Status, Trigger,
};
use evtchn_sim::{Call, Delivery, DomainConfig, Errno, SimLoop, SimOpen};

use crate::failed::Failed;
use crate::header::{Header, Source};
use crate::line::{AtSeam, Got, Guest, Seam, Sim, What};
use crate::names::{Ended, State};
use crate::replay::{Machine, text};

/// The machine, and what it needs to know of the trace.
pub(super) struct Simulated {
    sim: evtchn_sim::Sim,
    opener: SimOpen,
    looper: SimLoop,
    device: Option<Device>,
    peers: Vec<Option<Device>>,
    ports: Ports,
    /// Events arrive when a read reports them: of several CPUs nobody knows when they did.
    by_reads: bool,
    is_held: bool,
    /// What arrived inside of the call that comes next.
    due: Vec<(DomId, u32)>,
}

/// Which ports of the machine those of the trace are, in which domain.
#[derive(Default)]
struct Ports {
    here: HashMap<(DomId, u32), u32>,
    there: HashMap<(DomId, u32), u32>,
}

impl Ports {
    fn bound(&mut self, domid: DomId, recorded: u32, port: u32) {
        self.here.insert((domid, recorded), port);
        self.there.insert((domid, port), recorded);
    }

    fn here(&self, domid: DomId, recorded: u32) -> u32 {
        let port = self.here.get(&(domid, recorded));
        port.copied().unwrap_or(recorded)
    }

    /// A status, with the number that the trace has for the other end.
    fn recorded(&self, status: Status) -> Status {
        let Status::Interdomain { mut remote } = status else {
            return status;
        };
        let recorded = self.there.get(&(remote.domid, remote.port.as_raw()));
        remote.port = recorded
            .and_then(|it| Port::new(*it))
            .unwrap_or(remote.port);
        Status::Interdomain { remote }
    }

    fn local(&self, recorded: Port) -> Port {
        Port::new(self.here(DomId::DOM0, recorded.as_raw())).unwrap_or(recorded)
    }
}

type Did = Result<(), String>;

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
        let port = self.ports.here(domid, recorded);
        self.sim.with(|world| world.step_to(domid, port))
    }

    fn guest(&mut self, guest: &Guest) -> Did {
        let sim = self.sim.clone();
        match *guest {
            Guest::Create { domid, max_port } => {
                let mut config = DomainConfig::guest();
                config.max_port = max_port;
                said(sim.create_domain_with(Some(domid), &config).map(drop))
            }
            Guest::Kill { domid } => said(sim.with(|world| world.kill_domain(domid))),
            Guest::Remove { domid } => said(sim.with(|world| world.remove_domain(domid))),
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
                let there = self.ports.here(remote, remote_port);
                let bound = sim.with(|world| world.kernel_bind_interdomain(domid, remote, there));
                self.guest_bound(domid, port, bound)
            }
            Guest::Send { domid, port } => {
                let port = self.ports.here(domid, port);
                said(sim.with(|world| world.kernel_send(domid, port)))
            }
            Guest::Close { domid, port } => {
                let port = self.ports.here(domid, port);
                said(sim.with(|world| world.kernel_close(domid, port)))
            }
            Guest::Raise { domid, virq } => said(sim.raise_virq(domid, virq)),
            Guest::Other { ref what } => Err(format!("{what} is not replayed")),
        }
    }

    fn guest_bound(&mut self, domid: DomId, recorded: u32, bound: Result<u32, Errno>) -> Did {
        let port = bound.map_err(|errno| errno.to_string())?;
        self.ports.bound(domid, recorded, port);
        Ok(())
    }

    fn decided(&mut self, sim: &Sim) -> Did {
        match sim {
            Sim::Choice { .. } => {}
            Sim::Fault { call, errno, ports } => {
                let call = CALLS.into_iter().find(|it| it.name() == call);
                let call = call.ok_or("a fault of a call that there is not")?;
                if let Some(errno) = errno {
                    self.opener.fail_next(call, Errno::new(*errno));
                }
                if let Some(ports) = ports {
                    self.opener.shorten_next(call, *ports);
                }
            }
            Sim::Overflow => return said(self.opener.overflow()),
            Sim::Held => self.hold(),
            // At once, events arrive by themselves.
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

    /// Makes a call of the seam and compares what comes of it.
    fn seam(&mut self, at: &AtSeam) -> Did {
        if let Seam::Sleep { .. } = at.call {
            return self.sleep(at);
        }
        self.prepare(at);
        let came = self.make(at);
        for (domid, port) in std::mem::take(&mut self.due) {
            if !self.deliver(domid, port) {
                return Err(format!("no event of port {port} is under way"));
            }
        }
        let came = match (came, &at.failed) {
            (Err(Missed(None)), _) => return Err("there is no such device".into()),
            (Err(Missed(Some(error))), Some(failed)) => {
                let came = failure(&error);
                let same = came.kind == failed.kind
                    && failed.errno.is_none_or(|it| Some(it) == came.errno);
                return if same { Ok(()) } else { Err(came.text) };
            }
            (Err(Missed(Some(error))), None) => return Err(error.to_string()),
            (Ok(came), _) => came,
        };
        let binds = matches!(
            at.call,
            Seam::BindUnboundPort { .. } | Seam::BindInterdomain { .. } | Seam::BindVirq { .. }
        );
        if let (true, Some(Got::Number(port)), Some(Got::Number(recorded))) =
            (binds, &came, &at.got)
        {
            self.ports.bound(DomId::DOM0, *recorded, *port);
            return Ok(());
        }
        if came == at.got && at.failed.is_none() {
            return Ok(());
        }
        Err(text(&What::Seam(AtSeam {
            got: came,
            failed: None,
            ..at.clone()
        })))
    }

    /// A sleep that the device ended ends at once, and none at its deadline does. What ended others
    /// is not on the trace.
    fn sleep(&self, at: &AtSeam) -> Did {
        let Some(Got::Slept(Ended(slept @ (Slept::Ready | Slept::TimedOut)))) = at.got else {
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

    /// Brings about what the simulator would not do by itself.
    fn prepare(&mut self, at: &AtSeam) {
        match (&at.call, &at.failed, &at.got) {
            (Seam::Pending { .. }, None, Some(Got::Ports(ports))) if self.by_reads => {
                for port in ports {
                    // One that is not under way is missed by the read.
                    self.deliver(DomId::DOM0, *port);
                }
            }
            (Seam::Register, Some(failed), _) => self.refuse(Call::Register, failed.errno),
            (Seam::Deregister, Some(failed), _) => self.refuse(Call::Deregister, failed.errno),
            _ => {}
        }
    }

    fn refuse(&self, call: Call, errno: Option<i32>) {
        let errno = errno.map_or(Errno::ENOMEM, Errno::new);
        self.looper.fail_next(call, errno);
    }

    /// What the call gives, with the ports that the trace has.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all others are calls of the device"
    )]
    fn make(&mut self, at: &AtSeam) -> Result<Option<Got>, Missed> {
        let device = match at.peer {
            None => &mut self.device,
            Some(peer) => {
                let peer = usize::try_from(peer).unwrap_or(usize::MAX);
                if peer == self.peers.len() {
                    self.peers.push(None);
                }
                self.peers.get_mut(peer).ok_or(Missed(None))?
            }
        };
        match at.call {
            Seam::Open => {
                // A peer is none of the program's, whose faults are the opener's.
                let opened = match at.peer {
                    None => self.opener.open(),
                    Some(_) => self.sim.open(DomId::DOM0).open(),
                };
                *device = Some(Device::new(opened?));
                return Ok(None);
            }
            Seam::Close => {
                *device = None;
                return Ok(None);
            }
            Seam::Wake => {
                self.looper.wake();
                return Ok(None);
            }
            _ => {}
        }
        let device = device.as_ref().ok_or(Missed(None))?;
        let ports = &self.ports;
        let port = |port: Port| Ok(Some(Got::Number(port.as_raw())));
        match &at.call {
            Seam::BindUnboundPort { remote } => port(device.bind_unbound_port(*remote)?),
            Seam::BindInterdomain { domid, port: there } => {
                let owner = match *domid {
                    DomId::SELF => DomId::DOM0,
                    domid => domid,
                };
                let there = Port::new(ports.here(owner, there.as_raw())).unwrap_or(*there);
                let domid = *domid;
                port(device.bind_interdomain(RemotePort { domid, port: there })?)
            }
            Seam::BindVirq { virq } => port(device.bind_virq(*virq)?),
            Seam::BindStatic { port } => done(device.bind_static(*port)),
            Seam::Unbind { port } => done(device.unbind(ports.local(*port))),
            Seam::Notify { port } => done(device.notify(ports.local(*port))),
            Seam::Reset => done(device.reset()),
            Seam::Restrict { domid } => done(device.restrict(*domid)),
            Seam::Register => done(self.looper.register(device).map_err(Error::Register)),
            Seam::Deregister => done(self.looper.deregister(device).map_err(Error::Deregister)),
            Seam::Unmask { ports: wanted } => {
                let local: Vec<Port> = wanted.iter().map(|port| ports.local(*port)).collect();
                let count = device.unmask(&local)?;
                Ok(u32::try_from(count).ok().map(Got::Number))
            }
            Seam::Pending { room } => {
                let mut buf = PortBuf::with_capacity(*room);
                device.pending(&mut buf)?;
                let recorded = |port: &u32| {
                    let recorded = ports.there.get(&(DomId::DOM0, *port));
                    recorded.copied().unwrap_or(*port)
                };
                Ok(Some(Got::Ports(buf.words().iter().map(recorded).collect())))
            }
            Seam::Status { port } => {
                let privcmd = self.sim.privcmd(DomId::DOM0);
                let status = privcmd.status(DomId::SELF, ports.local(*port))?;
                let state = State::of(ports.recorded(status.state));
                Ok(state.map(Got::Is))
            }
            Seam::Open | Seam::Close | Seam::Wake | Seam::Sleep { .. } => Ok(None),
        }
    }
}

impl Machine for Simulated {
    fn act(&mut self, what: &What) -> Did {
        match what {
            What::Guest(guest) => self.guest(guest),
            What::Sim(sim) => self.decided(sim),
            What::Seam(at) => self.seam(at),
            What::Call(_)
            | What::Answer(_)
            | What::Op(_)
            | What::Input(_)
            | What::Schedule(_)
            | What::Verdict(_) => Ok(()),
        }
    }
}

/// What a call failed with, or that there was no device to make it on.
struct Missed(Option<Error>);

impl From<DeviceError> for Missed {
    fn from(error: DeviceError) -> Missed {
        Missed(Some(error.into()))
    }
}

fn done<E: Into<Error>>(done: Result<(), E>) -> Result<Option<Got>, Missed> {
    match done {
        Ok(()) => Ok(None),
        Err(error) => Err(Missed(Some(error.into()))),
    }
}

/// A failed call of the device or of the loop, as it is written.
fn failure(error: &Error) -> Failed {
    if let Error::Device(error) = error {
        Failed::of_device(error)
    } else if let Error::Register(error) | Error::Deregister(error) = error {
        Failed::of_loop(error)
    } else {
        Failed::new(ErrorKind::Other, error.to_string())
    }
}

fn said(did: Result<(), Errno>) -> Did {
    did.map_err(|errno| errno.to_string())
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
