//! The two sides that the cases run on: a machine with a dom0, in which this program runs, and other domains.

use std::cell::RefCell;

use evtchn_core::{DomId, Port, PortStatuses, Virq};
use evtchn_sim::{DomainConfig, Errno as SimErrno, SimOpen, SimPrivcmd};
use evtchn_xen::Errno;

use super::agent::{self, Agent};
use super::backend::Backend;

/// A machine. Nothing else uses it while a case runs.
pub(crate) trait Side {
    type Open: Backend;
    type Guest: Guest;
    type Statuses: PortStatuses;

    /// The source of the statuses of ports in dom0.
    fn statuses(&self) -> Self::Statuses;

    fn opener(&self) -> Self::Open;

    /// A guest that runs.
    fn guest(&self) -> Self::Guest;

    /// A guest that no later case gets, because this one ends it.
    fn own_guest(&self) -> Self::Guest;

    /// Makes a domain that never ran.
    fn create_empty(&self) -> DomId;

    /// Destroys a domain, and returns when its id names nothing any more.
    fn destroy(&self, domid: DomId);

    /// Lets a guest shut itself down, and returns when it is gone.
    fn power_off(&self, guest: Self::Guest);

    /// Reboots a guest.
    fn reboot(&self, guest: Self::Guest) -> Self::Guest;

    fn pause(&self, domid: DomId);
    fn unpause(&self, domid: DomId);
}

/// The other domain, and the program in it.
pub(crate) trait Guest {
    fn domid(&self) -> DomId;

    /// Sends the program a request.
    fn answer(&self, request: &str) -> String;

    fn ask(&self, call: &str, words: &[u32]) -> Result<Vec<u32>, Errno> {
        let words = words.iter().map(u32::to_string);
        let request: Vec<String> = [call.to_owned()].into_iter().chain(words).collect();
        agent::parse(&self.answer(&request.join(" ")))
    }

    /// Opens a device there. It stays open until it is closed.
    #[track_caller]
    fn open(&self) -> There<'_, Self> {
        let id = self.ask("open", &[]).unwrap()[0];
        There { guest: self, id }
    }

    /// A context there binds to these ports of dom0, and from now on answers each notify with one.
    #[track_caller]
    fn echo(&self, ports: &[Port]) -> u32 {
        let words: Vec<u32> = [0]
            .into_iter()
            .chain(ports.iter().map(|it| it.as_raw()))
            .collect();
        self.ask("echo", &words).unwrap()[0]
    }

    /// Ends a service there, and returns how often it acted.
    #[track_caller]
    fn stop(&self, service: u32) -> u32 {
        self.ask("stop", &[service]).unwrap()[0]
    }
}

/// A device in the other domain.
pub(crate) struct There<'g, G: ?Sized> {
    guest: &'g G,
    id: u32,
}

impl<G: Guest + ?Sized> There<'_, G> {
    fn ask(&self, call: &str, words: &[u32]) -> Result<Vec<u32>, Errno> {
        let words: Vec<u32> = [self.id].iter().chain(words).copied().collect();
        self.guest.ask(call, &words)
    }

    fn bind(&self, call: &str, words: &[u32]) -> Result<Port, Errno> {
        self.ask(call, words).map(|it| Port::new(it[0]).unwrap())
    }

    pub(crate) fn bind_unbound_port(&self, remote: DomId) -> Result<Port, Errno> {
        self.bind("unbound", &[remote.as_raw().into()])
    }

    pub(crate) fn bind_interdomain(&self, domid: DomId, port: Port) -> Result<Port, Errno> {
        self.bind("interdomain", &[domid.as_raw().into(), port.as_raw()])
    }

    pub(crate) fn bind_virq(&self, virq: Virq) -> Result<Port, Errno> {
        self.bind("virq", &[virq.as_raw()])
    }

    #[track_caller]
    pub(crate) fn unbind(&self, port: Port) {
        self.ask("unbind", &[port.as_raw()]).unwrap();
    }

    #[track_caller]
    pub(crate) fn notify(&self, port: Port, times: u32) {
        self.ask("notify", &[port.as_raw(), times]).unwrap();
    }

    #[track_caller]
    pub(crate) fn read(&self) -> Vec<u32> {
        self.ask("read", &[]).unwrap()
    }

    #[track_caller]
    pub(crate) fn unmask(&self, port: Port) {
        self.ask("unmask", &[port.as_raw()]).unwrap();
    }

    pub(crate) fn restrict(&self, domid: DomId) -> Result<(), Errno> {
        self.ask("restrict", &[domid.as_raw().into()]).map(drop)
    }

    /// Notifies without end, until the service is stopped.
    #[track_caller]
    pub(crate) fn storm(&self, port: Port) -> u32 {
        self.ask("storm", &[port.as_raw()]).unwrap()[0]
    }

    #[track_caller]
    pub(crate) fn close(self) {
        self.ask("close", &[]).unwrap();
    }
}

/// The simulated machine.
pub(crate) struct Sim(evtchn_sim::Sim);

pub(crate) struct SimGuest {
    domid: DomId,
    agent: RefCell<Agent<SimOpen>>,
}

impl Sim {
    pub(crate) fn new() -> Sim {
        Sim(evtchn_sim::Sim::new(1))
    }

    pub(crate) fn excuse() -> Result<Option<String>, String> {
        Ok(None)
    }

    fn act(&self, act: impl FnOnce(&mut evtchn_sim::World) -> Result<(), SimErrno>) {
        self.0.with(act).unwrap();
    }
}

impl Side for Sim {
    type Open = SimOpen;
    type Guest = SimGuest;
    type Statuses = SimPrivcmd;

    fn statuses(&self) -> SimPrivcmd {
        self.0.privcmd(DomId::DOM0)
    }

    fn opener(&self) -> SimOpen {
        self.0.open(DomId::DOM0)
    }

    fn guest(&self) -> SimGuest {
        self.own_guest()
    }

    fn own_guest(&self) -> SimGuest {
        let config = DomainConfig::linux_guest();
        let domid = self.0.create_domain_with(None, &config).unwrap();
        SimGuest {
            domid,
            agent: RefCell::new(Agent::new(self.0.open(domid))),
        }
    }

    fn create_empty(&self) -> DomId {
        let domid = self.0.create_domain().unwrap();
        self.pause(domid);
        domid
    }

    fn destroy(&self, domid: DomId) {
        self.0.destroy_domain(domid).unwrap();
    }

    fn power_off(&self, guest: SimGuest) {
        self.act(|world| world.shut_down_domain(guest.domid));
        self.destroy(guest.domid);
    }

    fn reboot(&self, guest: SimGuest) -> SimGuest {
        self.power_off(guest);
        self.own_guest()
    }

    fn pause(&self, domid: DomId) {
        self.act(|world| world.pause_domain(domid));
    }

    fn unpause(&self, domid: DomId) {
        self.act(|world| world.unpause_domain(domid));
    }
}

impl Guest for SimGuest {
    fn domid(&self) -> DomId {
        self.domid
    }

    fn answer(&self, request: &str) -> String {
        self.agent.borrow_mut().answer(request)
    }
}
