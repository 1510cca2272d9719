//! What is known of both sides from the answers so far: which files are open, which ports a script
//! has names for, what was read and not written again. It has no expectations: those are the sides'
//! own.

use crate::op::{Bind, FILES, Op, Request, Slot, Word, argument_size};

/// `EVTCHN` restrictions are to 16 bits.
const LOW: u32 = 0xffff;

/// An open file.
#[derive(Debug, Default)]
pub(crate) struct Open {
    pub(crate) descriptors: usize,
    pub(crate) restricted_to: Option<u32>,
    /// Read and not written since.
    pub(crate) held: Vec<Slot>,
    /// What poll said last.
    pub(crate) polled: u16,
}

/// What a bind returned.
#[derive(Debug)]
pub(crate) struct Port {
    /// On the device, and on the simulator.
    pub(crate) numbers: [u32; 2],
    pub(crate) file: usize,
    pub(crate) bound: bool,
    /// The domain that may bind to it; none for a virtual interrupt or a static port.
    pub(crate) remote: Option<u32>,
    pub(crate) peer: Option<Slot>,
}

impl Port {
    fn bound(numbers: [u32; 2], file: usize, remote: Option<u32>, peer: Option<Slot>) -> Port {
        Port {
            numbers,
            file,
            bound: true,
            remote,
            peer,
        }
    }
}

/// An end of a static channel.
#[derive(Debug)]
struct End {
    /// On the device, and on the simulator.
    numbers: [u32; 2],
    /// Where a file has it.
    slot: Option<Slot>,
}

#[derive(Debug, Default)]
pub(crate) struct Scene {
    ends: Vec<End>,
    pub(crate) files: [Option<Open>; FILES],
    /// By slot.
    ports: Vec<Option<Port>>,
    /// Every slot whose port is bound.
    pub(crate) bound: Vec<Slot>,
    /// By number, on each side, the slot that had it last.
    owners: [Vec<Option<Slot>>; 2],
}

impl Scene {
    /// All files closed, with these ends of static channels on the device and on the simulator.
    pub(crate) fn new(device: &[u32], simulator: &[u32]) -> Scene {
        let numbers = device.iter().zip(simulator);
        let ends = numbers.map(|(device, simulator)| End {
            numbers: [*device, *simulator],
            slot: None,
        });
        Scene {
            ends: ends.collect(),
            ..Scene::default()
        }
    }

    /// How many ends of static channels there are. None means that the kernels know no static binds.
    pub(crate) fn ends(&self) -> usize {
        self.ends.len()
    }

    /// Whether a file may bind the end of a static channel. The kernel does not refuse every other
    /// number, and not every port that another file has, and what it does instead is not defined.
    fn may_bind(&self, file: usize, word: Word) -> bool {
        let Word::End(end) = word else { return false };
        end < self.ends() && self.file_with(end).is_none_or(|owner| owner == file)
    }

    /// The file that has the end of a static channel.
    pub(crate) fn file_with(&self, end: usize) -> Option<usize> {
        let slot = self.ends.get(end)?.slot?;
        self.port(slot).map(|port| port.file)
    }

    pub(crate) fn port(&self, slot: Slot) -> Option<&Port> {
        self.ports.get(slot.0).and_then(Option::as_ref)
    }

    fn port_mut(&mut self, slot: Slot) -> Option<&mut Port> {
        self.ports.get_mut(slot.0).and_then(Option::as_mut)
    }

    /// How many slots were used, successful or not.
    pub(crate) fn slots(&self) -> usize {
        self.ports.len()
    }

    /// The slot that had a number last on a side.
    pub(crate) fn owner(&self, side: usize, number: u32) -> Option<Slot> {
        *self.owners[side].get(number as usize)?
    }

    /// Whether a port could be bound to from this domain, as far as is known.
    pub(crate) fn waits(&self, slot: Slot) -> bool {
        self.port(slot).is_some_and(|port| {
            let remote = port.remote.map(|remote| remote & LOW);
            port.bound && port.peer.is_none() && matches!(remote, Some(0 | 0x7ff0))
        })
    }

    /// A step that names a file or a port that is not there is left out.
    pub(crate) fn can(&self, op: &Op) -> bool {
        let known = |word: &Word| match *word {
            Word::Raw(_) => true,
            Word::Port(slot) => self.port(slot).is_some(),
            Word::End(end) => end < self.ends.len(),
        };
        let open = self.files[op.file()].as_ref();
        let has = |descriptor| open.is_some_and(|open| descriptor < open.descriptors);
        match op {
            Op::Open(_) => open.is_none(),
            Op::Dup(_) => open.is_some(),
            Op::Close(fd) | Op::Read(fd, ..) => has(fd.1),
            Op::Bind(_, fd, Bind::Static, words, _) => has(fd.1) && self.may_bind(fd.0, words[0]),
            Op::Ioctl(fd, request @ Request::BindStatic, _, memory) if self.ends() > 0 => {
                has(fd.1) && !memory.has(argument_size(request.code()))
            }
            Op::Bind(_, fd, _, words, _) | Op::Ioctl(fd, _, words, _) => {
                has(fd.1) && words.iter().all(known)
            }
            Op::Write(fd, words, ..) => has(fd.1) && words.0.iter().all(known),
        }
    }

    /// The number of a word on a side.
    pub(crate) fn number(&self, side: usize, word: Word) -> u32 {
        match word {
            Word::Raw(number) => number,
            Word::Port(slot) => self.port(slot).map_or(0, |port| port.numbers[side]),
            Word::End(end) => self.ends.get(end).map_or(0, |end| end.numbers[side]),
        }
    }

    /// Enters that a call succeeded.
    pub(crate) fn succeeded(&mut self, op: &Op, returned: [u32; 2]) {
        match *op {
            Op::Open(file) => {
                self.files[file] = Some(Open {
                    descriptors: 1,
                    ..Open::default()
                });
            }
            Op::Dup(file) => self.edit(file, |open| open.descriptors += 1),
            Op::Close(fd) => {
                self.edit(fd.0, |open| open.descriptors -= 1);
                let left = self.files[fd.0].as_ref().map(|open| open.descriptors);
                if left == Some(0) {
                    self.files[fd.0] = None;
                    for slot in self.bound.clone() {
                        if self.port(slot).is_some_and(|port| port.file == fd.0) {
                            self.unbound(slot);
                        }
                    }
                }
            }
            Op::Bind(slot, fd, Bind::Static, [Word::End(end), _], _) => {
                self.bind_static(slot, fd.0, end);
            }
            Op::Bind(slot, fd, how, words, _) => self.bind(slot, fd.0, how, words, returned),
            Op::Ioctl(_, Request::Unbind, [word, _], _) => {
                let slot = self.owner(0, self.number(0, word));
                if let Some(slot) = slot {
                    self.unbound(slot);
                }
            }
            Op::Ioctl(fd, Request::Restrict, [word, _], _) => {
                let domid = self.number(0, word) & LOW;
                self.edit(fd.0, |open| open.restricted_to = Some(domid));
            }
            Op::Write(fd, ref words, ..) => self.edit(fd.0, |open| {
                open.held
                    .retain(|slot| !words.0.contains(&Word::Port(*slot)));
            }),
            Op::Ioctl(..) | Op::Read(..) => {}
        }
    }

    /// Enters ports that were read on the device.
    pub(crate) fn was_read(&mut self, file: usize, ports: &[u32]) {
        for &number in ports {
            if let Some(slot) = self.owner(0, number) {
                self.edit(file, |open| open.held.push(slot));
            }
        }
    }

    /// A failed bind uses its slot up.
    pub(crate) fn failed(&mut self, op: &Op) {
        if let Op::Bind(slot, ..) = *op {
            self.reach(slot);
        }
    }

    fn edit(&mut self, file: usize, change: impl FnOnce(&mut Open)) {
        if let Some(open) = &mut self.files[file] {
            change(open);
        }
    }

    fn reach(&mut self, slot: Slot) {
        while self.ports.len() <= slot.0 {
            self.ports.push(None);
        }
    }

    fn bind(&mut self, slot: Slot, file: usize, how: Bind, words: [Word; 2], numbers: [u32; 2]) {
        let remote = (how != Bind::Virq).then(|| self.number(0, words[0]));
        let there = self.owner(0, self.number(0, words[1]));
        let peer = there.filter(|_| how == Bind::Interdomain);
        self.enter(slot, Port::bound(numbers, file, remote, peer));
    }

    fn bind_static(&mut self, slot: Slot, file: usize, end: usize) {
        let peer = self.ends.get(end ^ 1).and_then(|other| other.slot);
        let Some(end) = self.ends.get_mut(end) else {
            return;
        };
        end.slot = Some(slot);
        let numbers = end.numbers;
        self.enter(slot, Port::bound(numbers, file, None, peer));
    }

    /// Enters a port that was bound.
    fn enter(&mut self, slot: Slot, port: Port) {
        let (numbers, peer) = (port.numbers, port.peer);
        self.reach(slot);
        self.ports[slot.0] = Some(port);
        if let Some(peer) = peer.and_then(|peer| self.port_mut(peer)) {
            peer.peer = Some(slot);
        }
        self.bound.push(slot);
        for (owners, number) in self.owners.iter_mut().zip(numbers) {
            let index = number as usize;
            if index >= owners.len() {
                owners.resize(index + 1, None);
            }
            owners[index] = Some(slot);
        }
    }

    fn unbound(&mut self, slot: Slot) {
        self.bound.retain(|bound| *bound != slot);
        for end in &mut self.ends {
            end.slot.take_if(|bound| *bound == slot);
        }
        let Some(port) = self.port_mut(slot) else {
            return;
        };
        port.bound = false;
        let (file, peer) = (port.file, port.peer.take());
        if let Some(peer) = peer.and_then(|peer| self.port_mut(peer)) {
            peer.peer = None;
        }
        self.edit(file, |open| open.held.retain(|held| *held != slot));
    }
}
