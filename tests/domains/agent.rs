//! The program in the other domain. It serves requests, one a line: calls of devices, and services that run a context
//! on a thread. On the simulator the same code runs in this process.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use evtchn_core::{
    Cause, Context, DeviceError, DomId, EventChannel, Port, PortBuf, RemotePort, Virq,
};
use evtchn_xen::{Errno, PollLoop, XenOpen};

use super::backend::{Backend, PATIENCE};

/// What a line begins with that answers another.
pub(crate) const ANSWER: &str = "= ";

pub(crate) struct Agent<B: Backend> {
    opener: B,
    devices: BTreeMap<u32, Arc<B::Device>>,
    services: BTreeMap<u32, Service>,
    next: u32,
}

/// A thread that runs until it is stopped, and then returns how often it acted.
struct Service {
    over: Arc<AtomicBool>,
    poll_loop: PollLoop,
    thread: JoinHandle<u32>,
}

type Answer = Result<Vec<u32>, Errno>;

/// Serves the requests on standard input, in the domain of this process.
pub(crate) fn serve() -> io::Result<()> {
    let mut agent = Agent::new(XenOpen::default());
    for line in io::stdin().lock().lines() {
        let line = line?;
        if line == "exit" {
            break;
        }
        let answer = agent.answer(&line);
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{ANSWER}{answer}")?;
        stdout.flush()?;
    }
    Ok(())
}

/// The ports, or the errno, that an answer carries.
pub(crate) fn parse(answer: &str) -> Answer {
    let (kind, words) = answer.split_once(' ').unwrap_or((answer, ""));
    let words = words.split_whitespace().map(|word| word.parse().unwrap());
    let words: Vec<u32> = words.collect();
    match kind {
        "ok" => Ok(words),
        _ => Err(Errno::from_raw_os_error(words[0].try_into().unwrap())),
    }
}

impl<B: Backend> Agent<B> {
    pub(crate) fn new(opener: B) -> Agent<B> {
        Agent {
            opener,
            devices: BTreeMap::new(),
            services: BTreeMap::new(),
            next: 0,
        }
    }

    pub(crate) fn answer(&mut self, line: &str) -> String {
        let (kind, words) = match self.act(line) {
            Ok(words) => ("ok", words),
            Err(errno) => ("err", vec![errno.raw_os_error().unsigned_abs()]),
        };
        words.iter().fold(kind.to_owned(), |mut line, word| {
            write!(line, " {word}").unwrap();
            line
        })
    }

    fn act(&mut self, line: &str) -> Answer {
        let mut words = line.split_whitespace();
        let call = words.next().unwrap_or_default();
        let words: Vec<u32> = words.map(|word| word.parse().unwrap()).collect();
        match (call, &words[..]) {
            ("open", []) => {
                let device = self.opener.open().map_err(|error| B::errno(&error))?;
                let id = self.take_id();
                self.devices.insert(id, Arc::new(device));
                Ok(vec![id])
            }
            ("close", [id]) => Ok(self.devices.remove(id).map(|_| vec![]).unwrap_or_default()),
            ("storm", &[id, port]) => Ok(vec![self.storm(id, checked(port))]),
            ("echo", [domid, ports @ ..]) => Ok(vec![self.echo(checked(*domid), ports)]),
            ("stop", [id]) => {
                let service = self.services.remove(id).unwrap();
                service.over.store(true, Ordering::Release);
                service.poll_loop.wake();
                Ok(vec![service.thread.join().unwrap()])
            }
            (call, [id, words @ ..]) => {
                let device = &self.devices[id];
                on_device(&**device, call, words).map_err(|error| B::errno(&error))
            }
            _ => panic!("no such request: {line}"),
        }
    }

    fn take_id(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn start(
        &mut self,
        poll_loop: PollLoop,
        run: impl FnOnce(&AtomicBool) -> u32 + Send + 'static,
    ) -> u32 {
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let id = self.take_id();
        let service = Service {
            over,
            poll_loop,
            thread: thread::spawn(move || run(&stop)),
        };
        self.services.insert(id, service);
        id
    }

    /// Notifies many times, and then without end on a thread of its own, which may be late to begin.
    fn storm(&mut self, id: u32, port: Port) -> u32 {
        const AT_ONCE: u32 = 1_000;
        let device = Arc::clone(&self.devices[&id]);
        for _ in 0..AT_ONCE {
            device.notify(port).unwrap();
        }
        self.start(PollLoop::new().unwrap(), move |over| {
            let mut sent = AT_ONCE;
            while !over.load(Ordering::Acquire) {
                device.notify(port).unwrap();
                sent += 1;
            }
            sent
        })
    }

    /// Binds to these ports with a context, takes the wake that each has at once, and from then on answers each
    /// wake with one notify.
    fn echo(&mut self, domid: DomId, ports: &[u32]) -> u32 {
        let poll_loop = PollLoop::new().unwrap();
        let context = Context::with_registrar(self.opener.clone(), poll_loop.clone());
        let mut channels = BTreeMap::new();
        for &port in ports {
            let port = checked(port);
            let channel = context
                .bind_interdomain(RemotePort { domid, port })
                .unwrap();
            channel.wait().unwrap();
            channels.insert(channel.id(), channel);
        }
        let turn = {
            let poll_loop = poll_loop.clone();
            move |answers: bool| {
                if context.next_timeout().is_none() {
                    let readiness = poll_loop.wait(Some(PATIENCE)).unwrap();
                    assert!(answers || !readiness.timed_out(), "a bind without an event");
                }
                let mut wakes = 0;
                let mut round = context.dispatch().unwrap();
                for wake in &mut round {
                    assert_eq!(wake.cause, Cause::Event);
                    wakes += 1;
                    if answers {
                        channels[&wake.channel].notify().unwrap();
                    }
                    context.wait(wake.channel).unwrap();
                }
                round.finish().unwrap();
                wakes
            }
        };
        let mut first = 0;
        while first < ports.len() {
            first += turn(false);
        }
        self.start(poll_loop, move |over| {
            let mut wakes = 0;
            while !over.load(Ordering::Acquire) {
                wakes += turn(true);
            }
            u32::try_from(wakes).unwrap()
        })
    }
}

fn on_device(
    device: &dyn EventChannel,
    call: &str,
    words: &[u32],
) -> Result<Vec<u32>, DeviceError> {
    let done = |()| vec![];
    let bound = |port: Port| vec![port.as_raw()];
    match (call, words) {
        ("unbound", &[domid]) => device.bind_unbound_port(checked(domid)).map(bound),
        ("interdomain", &[domid, port]) => {
            let remote = RemotePort {
                domid: checked(domid),
                port: checked(port),
            };
            device.bind_interdomain(remote).map(bound)
        }
        ("virq", &[virq]) => device.bind_virq(Virq::new(virq)).map(bound),
        ("unbind", &[port]) => device.unbind(checked(port)).map(done),
        ("notify", &[port, times]) => (0..times)
            .try_for_each(|_| device.notify(checked(port)))
            .map(done),
        ("read", []) => {
            let mut buf = PortBuf::with_capacity(PortBuf::MAX);
            device.pending(&mut buf)?;
            Ok(buf.words().to_vec())
        }
        ("unmask", &[port]) => device.unmask(&[checked(port)]).map(|_| vec![]),
        ("restrict", &[domid]) => device.restrict(checked(domid)).map(done),
        _ => panic!("no such call: {call} {words:?}"),
    }
}

fn checked<T: TryFrom<u32>>(word: u32) -> T {
    T::try_from(word).ok().unwrap()
}
