//! Plays steps on both sides and compares all that can be seen.
//!
//! With one vCPU ([`Order::Exact`]) an event is delivered before the call that caused it returns, so
//! after each step the answer, what was read, word by word, what poll says of every file, and the
//! files that an edge-triggered loop is told of must be equal. So must the numbers of ports: the
//! kernel of the simulated side holds exactly the numbers that the real one holds.
//!
//! With several ([`Order::Drained`]) an event arrives some time later and in any order. After each
//! step the simulated side is read empty, then as many events are awaited on the real one, and the
//! two must be the same up to their order and to the names of ports. Then poll must say the same
//! of every file. Overflow, stale entries and the wakes of edges are not seen so: rings are never
//! left filled.

use std::fmt;

use crate::op::{Bind, FILES, Fd, Kind, Memory, Op, Word};
use crate::raw::{Answer, Raw};
use crate::scene::Scene;

/// How events arrive, and so what is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Exact,
    Drained,
}

/// Where the sides differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    what: &'static str,
    device: String,
    simulator: String,
}

impl Difference {
    /// It did not come again.
    pub(crate) const GONE: Difference = Difference {
        what: "it does not come again",
        device: String::new(),
        simulator: String::new(),
    };
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference {
            what,
            device,
            simulator,
        } = self;
        write!(f, "{what}: {device} on the device, {simulator} simulated")
    }
}

/// What both sides showed of a step.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) answer: Answer,
    /// What poll said of the file before.
    pub(crate) before: u16,
    pub(crate) restricted_to: Option<u32>,
    /// What poll says of every file now.
    pub(crate) polled: [u16; FILES],
}

/// Both sides, all files closed at first and at the end.
pub(crate) struct Player<'a> {
    device: &'a mut dyn Raw,
    simulator: &'a mut dyn Raw,
    order: Order,
    pub(crate) scene: Scene,
    ports: [Vec<u32>; 2],
}

impl<'a> Player<'a> {
    pub(crate) fn new(
        device: &'a mut dyn Raw,
        simulator: &'a mut dyn Raw,
        order: Order,
    ) -> Player<'a> {
        settle(device);
        settle(simulator);
        let scene = Scene::new(device.ends(), simulator.ends());
        Player {
            device,
            simulator,
            order,
            scene,
            ports: [Vec::new(), Vec::new()],
        }
    }

    /// Plays a whole script and closes all. Answers the place of the first step that shows a
    /// difference.
    pub(crate) fn script(mut self, script: &[Op]) -> Result<(), (usize, Difference)> {
        let mut played = Ok(());
        for (index, op) in script.iter().enumerate() {
            if let Err(difference) = self.step(op) {
                played = Err((index, difference));
                break;
            }
        }
        let closed = self.close_all();
        played.and(closed.map_err(|difference| (script.len(), difference)))
    }

    /// Plays a step. Nothing where it names what is not there.
    pub(crate) fn step(&mut self, op: &Op) -> Result<Option<Seen>, Difference> {
        if !self.scene.can(op) {
            return Ok(None);
        }
        let before = self.scene.files[op.file()].as_ref();
        let restricted_to = before.and_then(|open| open.restricted_to);
        let before = before.map_or(0, |open| open.polled);
        let answers = [self.call(0, op), self.call(1, op)];
        let answer = self.agree(op, answers)?;
        let polled = self.look(op)?;
        Ok(Some(Seen {
            answer,
            before,
            restricted_to,
            polled,
        }))
    }

    /// Closes every descriptor of every file.
    pub(crate) fn close_all(mut self) -> Result<(), Difference> {
        let mut first = Ok(());
        for file in 0..FILES {
            // Both go on where they differ, since nothing may stay open.
            while let Some(open) = &mut self.scene.files[file] {
                open.descriptors -= 1;
                if open.descriptors == 0 {
                    self.scene.files[file] = None;
                }
                let answers = [
                    self.device.close(Fd(file, 0)),
                    self.simulator.close(Fd(file, 0)),
                ];
                first = first.and(same("close", &answers[0], &answers[1]));
            }
        }
        self.device.edges();
        self.simulator.edges();
        first
    }

    /// Makes a call on a side; what it reads is in `ports`.
    fn call(&mut self, side: usize, op: &Op) -> Answer {
        let number = |word: Word| self.scene.number(side, word);
        let ports = &mut self.ports[side];
        ports.clear();
        let raw: &mut dyn Raw = match side {
            0 => self.device,
            _ => self.simulator,
        };
        match *op {
            Op::Open(file) => raw.open(file),
            Op::Dup(file) => raw.dup(file),
            Op::Close(fd) => raw.close(fd),
            Op::Bind(_, fd, how, words, memory) => {
                raw.ioctl(fd, how.code(), words.map(number), memory)
            }
            Op::Ioctl(fd, request, words, memory) => {
                raw.ioctl(fd, request.code(), words.map(number), memory)
            }
            Op::Read(fd, count, memory) => raw.read(fd, count, memory, ports),
            Op::Write(fd, ref words, odd, memory) => {
                let words = words.0.iter().map(|word| number(*word));
                let mut bytes: Vec<u8> = words.flat_map(u32::to_ne_bytes).collect();
                bytes.resize(bytes.len() + odd, 0xff);
                raw.write(fd, &bytes, memory)
            }
        }
    }

    /// Compares the answers to a call and stores what they show.
    fn agree(&mut self, op: &Op, answers: [Answer; 2]) -> Result<Answer, Difference> {
        let is_bind = matches!(op, Op::Bind(..));
        match answers {
            [Ok(device), Ok(simulated)] if is_bind && self.order == Order::Drained => {
                self.scene.succeeded(op, [device, simulated]);
            }
            [Ok(device), Ok(simulated)] if device == simulated => {
                same("read", &self.ports[0], &self.ports[1])?;
                self.scene.succeeded(op, [device, simulated]);
                self.scene.was_read(op.file(), &self.ports[0]);
            }
            [Err(device), Err(simulated)] if device == simulated => self.scene.failed(op),
            [device, simulated] => return Err(different("answer", device, simulated)),
        }
        Ok(answers[0])
    }

    /// Compares what can be seen of every file.
    fn look(&mut self, op: &Op) -> Result<[u16; FILES], Difference> {
        if self.order == Order::Drained {
            for file in 0..FILES {
                self.drain(file)?;
            }
        }
        let polled = self.device.poll();
        same("poll", &polled, &self.simulator.poll())?;
        // The next look shows a wake that came with any other step.
        let may_wake = matches!(
            op.kind(),
            Kind::Notify | Kind::Write | Kind::BindInterdomain
        );
        if self.order == Order::Exact && may_wake {
            same("edges", &self.device.edges(), &self.simulator.edges())?;
        }
        for (open, polled) in self.scene.files.iter_mut().zip(polled) {
            if let Some(open) = open {
                open.polled = polled;
            }
        }
        Ok(polled)
    }

    /// Reads a file empty on both sides and compares what comes.
    fn drain(&mut self, file: usize) -> Result<(), Difference> {
        if self.scene.files[file].is_none() {
            return Ok(());
        }
        let [real, simulated] = &mut self.ports;
        real.clear();
        simulated.clear();
        let fd = Fd(file, 0);
        // Until EAGAIN; the next poll would distinguish that from any other errno.
        while self
            .simulator
            .read(fd, 4096, Memory::There, simulated)
            .is_ok()
        {}
        while self.device.read(fd, 4096, Memory::There, real).is_ok()
            || (real.len() < simulated.len() && self.device.wait(file))
        {}
        let named = [0, 1].map(|side| {
            let owners = self.ports[side].iter();
            let mut named: Vec<_> = owners
                .map(|number| self.scene.owner(side, *number).ok_or(*number))
                .map(|owner| owner.map(|slot| slot.0))
                .collect();
            named.sort_unstable();
            named
        });
        same("events", &named[0], &named[1])?;
        self.scene.was_read(file, &self.ports[0]);
        Ok(())
    }
}

/// Takes what is left on static channels: it would come in the next script.
fn settle(side: &mut dyn Raw) {
    let ends = side.ends().to_vec();
    if ends.is_empty() || side.open(0).is_err() {
        return;
    }
    let fd = Fd(0, 0);
    // What a side refuses here it refuses later too, where it is compared.
    for end in ends {
        let _ = side.ioctl(fd, Bind::Static.code(), [end, 0], Memory::There);
    }
    while side.read(fd, 4096, Memory::There, &mut Vec::new()).is_ok() {}
    let _ = side.close(fd);
    side.edges();
}

fn same<T: PartialEq + fmt::Debug>(
    what: &'static str,
    device: &T,
    simulator: &T,
) -> Result<(), Difference> {
    match device == simulator {
        true => Ok(()),
        false => Err(different(what, device, simulator)),
    }
}

fn different(
    what: &'static str,
    device: impl fmt::Debug,
    simulator: impl fmt::Debug,
) -> Difference {
    Difference {
        what,
        device: format!("{device:x?}"),
        simulator: format!("{simulator:x?}"),
    }
}
