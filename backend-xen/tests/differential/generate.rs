//! Draws steps from a seed, and prefers ports that are bound, so that most steps do something.
//!
//! Never drawn, since one side could not answer it or would not stay what it is:
//!
//! - requests that Linux answers before it asks the driver (`FIONBIO` and the like);
//! - pointers outside of user space, which Linux refuses in its own name before the driver runs;
//! - a static bind of a number that is not the end of a static channel, and of an end that another
//!   file has: the kernel does not refuse each of them ([`Scene::can`] leaves them out);
//! - binds to ports that the kernel holds: one of dom0's waits for a xenstored, and an event on it
//!   makes Linux look for one;
//! - `CON_RING`, which Xen raises whenever it prints;
//! - blocking files and other access modes than read and write;
//! - anything that needs more memory, ports or domains than there are.

mod statics;
mod transfers;

use evtchn_sim::Choice;
use evtchn_sim::abi::PollBits;

use crate::burst::Burst;
use crate::op::{Bind, FILES, Fd, Kind, Memory, Op, Request, Slot, Word};
use crate::play::Order;
use crate::profile::Profile;
use crate::scene::Scene;

/// Own domain, under its number, `DOMID_SELF`, and both with bits that are cut off.
const OWN: [u32; 4] = [0, 0x7ff0, 0x1_0000, 0x1_7ff0];
/// Domains that do not exist, reserved ids, and one with bits that are cut off.
const NO_DOMAINS: [u32; 9] = [1, 5, 7, 0x7ff1, 0x7ff2, 0x7ff4, 0x7fff, 0xffff, 0x1_0005];
/// What restrictions are asked for: domains, and what is none.
const RESTRICTIONS: [u32; 8] = [5, 1, 7, 0x7fef, 0x1_0005, 0, 0x7ff0, 0xffff];
/// Virtual interrupts: free ones, the kernel's, and numbers that do not exist.
const FREE_VIRQS: [u32; 10] = [1, 3, 4, 5, 10, 11, 13, 14, 17, 23];
const KERNEL_VIRQS: [u32; 4] = [0, 2, 9, 16];
const NO_VIRQS: [u32; 4] = [24, 31, 0x100, u32::MAX];
/// Numbers at the edges of what Linux has tables for.
const ODD_NUMBERS: [u32; 12] = [
    0,
    1,
    5,
    1023,
    1024,
    2047,
    2048,
    4095,
    4096,
    131_071,
    131_072,
    u32::MAX,
];

#[derive(Debug)]
pub(crate) struct Generator {
    choice: Choice,
    profile: Profile,
    order: Order,
    pub(crate) steps: usize,
    drawn: usize,
    burst: Option<Burst>,
}

impl Generator {
    pub(crate) fn new(seed: u64, episode: u64, order: Order) -> Generator {
        let mut choice = Choice::seeded(seed ^ episode.wrapping_mul(0xd134_2543_de82_ef95));
        let profile = Profile::of(episode, &mut choice);
        let [fewest, most] = profile.steps;
        let steps = fewest + choice.of(most - fewest);
        Generator {
            choice,
            profile,
            order,
            steps,
            drawn: 0,
            burst: None,
        }
    }

    /// The next step, which is possible.
    pub(crate) fn draw(&mut self, scene: &Scene) -> Op {
        self.drawn += 1;
        if self.drawn <= 2 {
            return Op::Open(self.drawn - 1);
        }
        if self.drawn <= self.profile.first_binds {
            return self.first_bind(scene);
        }
        if self.drawn == self.profile.first_binds + 1 {
            return Op::Read(Fd(0, 0), 9001, Memory::There);
        }
        if let Some(op) = self.burst.as_mut().and_then(|burst| burst.draw(scene)) {
            return op;
        }
        self.burst = match self.profile.bursts && self.choice.of(50) == 0 {
            true => Burst::new(&mut self.choice, scene),
            false => None,
        };
        loop {
            let kind = self.kind(scene);
            let op = self.op(kind, scene);
            if let Some(op) = op.filter(|op| scene.can(op)) {
                return op;
            }
        }
    }

    /// A kind, where there are ports enough none that binds one.
    fn kind(&mut self, scene: &Scene) -> Kind {
        let kind = self.profile.kind(&mut self.choice);
        let is_bind = matches!(
            kind,
            Kind::BindVirq | Kind::BindInterdomain | Kind::BindUnbound
        );
        if is_bind && scene.bound.len() >= self.profile.most_ports && self.choice.of(3) > 0 {
            return Kind::Unbind;
        }
        kind
    }

    fn op(&mut self, kind: Kind, scene: &Scene) -> Option<Op> {
        let zero = [Word::Raw(0); 2];
        Some(match kind {
            Kind::Open => Op::Open((0..FILES).find(|file| scene.files[*file].is_none())?),
            Kind::Dup => Op::Dup(self.fd(scene)?.0),
            Kind::Close => Op::Close(self.closed(scene)?),
            Kind::BindVirq => {
                let virq = self.virq();
                self.bind(scene, Bind::Virq, [virq, 0].map(Word::Raw))?
            }
            Kind::BindUnbound => {
                let remote = self.remote();
                self.bind(scene, Bind::Unbound, [remote, 0].map(Word::Raw))?
            }
            Kind::BindInterdomain => {
                let words = [Word::Raw(self.remote()), self.target(scene)];
                self.bind(scene, Bind::Interdomain, words)?
            }
            Kind::BindStatic if scene.ends() > 0 => self.bind_static(scene)?,
            Kind::BindStatic => {
                let word = Word::Raw(self.pick(&ODD_NUMBERS));
                self.ioctl(self.drawn % FILES, scene, Request::BindStatic, word)?
            }
            Kind::Unbind | Kind::Notify => self.on_port(kind, scene)?,
            Kind::Reset => {
                let fd = self.overflowed(1, scene)?;
                Op::Ioctl(fd, Request::Reset, zero, self.memory(4, 4))
            }
            Kind::Restrict => {
                let word = Word::Raw(self.pick(&RESTRICTIONS));
                let file = self.choice.of(FILES);
                self.ioctl(file, scene, Request::Restrict, word)?
            }
            Kind::Unknown => {
                let request = Request::Unknown(self.unknown());
                self.ioctl(self.drawn % FILES, scene, request, Word::Raw(0))?
            }
            Kind::Read => self.read(scene)?,
            Kind::Write => self.write(scene)?,
        })
    }

    // Which file.

    /// A descriptor of any open file, mostly of the one that the episode is about.
    fn fd(&mut self, scene: &Scene) -> Option<Fd> {
        let file = match self.choice.of(8) < self.profile.focus {
            true => 0,
            false => self.choice.of(FILES),
        };
        self.fd_of(file, scene)
    }

    fn fd_of(&mut self, file: usize, scene: &Scene) -> Option<Fd> {
        let open = scene.files[file].as_ref()?;
        Some(Fd(file, self.choice.of(open.descriptors)))
    }

    /// What is closed: rather what is restricted, and then all of it soon.
    fn closed(&mut self, scene: &Scene) -> Option<Fd> {
        let file = self.choice.of(FILES);
        let restricted = scene.files[file].as_ref()?.restricted_to.is_some();
        match restricted || self.choice.of(2) == 0 {
            true => self.fd_of(file, scene),
            false => None,
        }
    }

    /// What is reset or read: in `eighths` of eight steps a file that overflowed, if there is one.
    fn overflowed(&mut self, eighths: usize, scene: &Scene) -> Option<Fd> {
        let overflowed = |file: &usize| {
            let open = scene.files[*file].as_ref();
            open.is_some_and(|open| open.polled == PollBits::ERROR.raw())
        };
        match (0..FILES).find(overflowed) {
            Some(file) if self.choice.of(8) < eighths => self.fd_of(file, scene),
            _ => self.fd(scene),
        }
    }

    // Requests.

    fn first_bind(&mut self, scene: &Scene) -> Op {
        let slot = Slot(scene.slots());
        let last = scene.bound.last().copied();
        let own = Word::Raw(0x7ff0);
        match last.filter(|slot| scene.waits(*slot)) {
            Some(last) => {
                let words = [own, Word::Port(last)];
                Op::Bind(slot, Fd(0, 0), Bind::Interdomain, words, Memory::There)
            }
            None => {
                let file = self.choice.of(2);
                let words = [own, Word::Raw(0)];
                Op::Bind(slot, Fd(file, 0), Bind::Unbound, words, Memory::There)
            }
        }
    }

    /// A bind, mostly on a file that is not restricted.
    fn bind(&mut self, scene: &Scene, how: Bind, mut words: [Word; 2]) -> Option<Op> {
        let fd = self.fd(scene)?;
        let restricted_to = scene.files[fd.0].as_ref()?.restricted_to;
        let is_free = restricted_to.is_none();
        if let Some(domid) = restricted_to
            && how == Bind::Interdomain
        {
            // The domain that is allowed, and one that is the same in 16 bits.
            match self.choice.of(4) {
                0 => words[0] = Word::Raw(domid),
                1 | 2 => words[0] = Word::Raw(domid | 0x1_0000),
                _ => {}
            }
        }
        let size = if how == Bind::Interdomain { 8 } else { 4 };
        let memory = self.memory(if is_free && how != Bind::Virq { 16 } else { 3 }, size);
        (is_free || how == Bind::Interdomain || self.choice.flip())
            .then(|| Op::Bind(Slot(scene.slots()), fd, how, words, memory))
    }

    fn ioctl(&mut self, file: usize, scene: &Scene, request: Request, word: Word) -> Option<Op> {
        let fd = self.fd_of(file, scene)?;
        let memory = match self.choice.of(3) {
            0 => Memory::Null,
            _ => self.memory(5, crate::op::argument_size(request.code())),
        };
        Some(Op::Ioctl(fd, request, [word, Word::Raw(0)], memory))
    }

    /// Unbind or notify: mostly of a port that the file has.
    fn on_port(&mut self, kind: Kind, scene: &Scene) -> Option<Op> {
        let is_unbind = kind == Kind::Unbind;
        let request = if is_unbind {
            Request::Unbind
        } else {
            Request::Notify
        };
        let wild = self.choice.of(10);
        let (word, file) = match wild {
            0 => (self.odd_number(), self.choice.of(FILES)),
            1 => (self.any_slot(scene)?, self.choice.of(FILES)),
            _ => {
                let latching = if is_unbind {
                    None
                } else {
                    self.latching(scene)
                };
                let slot = latching.or_else(|| self.bound(scene))?;
                (Word::Port(slot), scene.port(slot)?.file)
            }
        };
        let fd = self.fd_of(file, scene)?;
        let memory = self.memory(if is_unbind { 16 } else { 30 }, 4);
        Some(Op::Ioctl(fd, request, [word, Word::Raw(0)], memory))
    }

    /// At times a port whose other end was read and not written since.
    fn latching(&mut self, scene: &Scene) -> Option<Slot> {
        let open = scene.files[self.choice.of(FILES)].as_ref()?;
        let held = open.held.get(self.choice.of(open.held.len()))?;
        scene.port(*held)?.peer
    }

    fn virq(&mut self) -> u32 {
        match self.choice.of(6) {
            0 | 1 => self.pick(&KERNEL_VIRQS),
            2 => self.pick(&NO_VIRQS),
            _ => self.pick(&FREE_VIRQS),
        }
    }

    fn remote(&mut self) -> u32 {
        match self.choice.of(10) {
            0 => self.pick(&NO_DOMAINS),
            1 => self.pick(&OWN),
            _ => self.pick(&OWN[..2]),
        }
    }

    /// What to bind to: mostly a port that waits, rather the youngest.
    fn target(&mut self, scene: &Scene) -> Word {
        if self.choice.of(16) == 0 {
            return Word::Raw(self.pick(&[0, 100_000, 131_072, u32::MAX]));
        }
        let youngest = scene.bound.last().copied();
        let mut slot = youngest.filter(|_| self.choice.flip());
        for _ in 0..8 {
            if slot.is_some_and(|slot| scene.waits(slot)) {
                break;
            }
            slot = self.bound(scene);
        }
        slot.map_or(Word::Raw(0), Word::Port)
    }

    /// A request of the driver's letter that is none of its requests.
    fn unknown(&mut self) -> u32 {
        if self.choice.of(4) == 0 {
            // TCGETS, FIONREAD, and the number of UNBIND with another size.
            return self.pick(&[0x5401, 0x541b, 0x0008_4503]);
        }
        let number = self.number(12);
        let size = self.number(16);
        let direction = self.number(4);
        let code = direction << 30 | size << 16 | u32::from(b'E') << 8 | number;
        match (number, direction) {
            (0..=7, 0) => code | 1 << 30,
            _ => code,
        }
    }

    // Words.

    fn bound(&mut self, scene: &Scene) -> Option<Slot> {
        let index = self.choice.of(scene.bound.len());
        scene.bound.get(index).copied()
    }

    /// Rather a port of this file.
    fn bound_by(&mut self, file: usize, scene: &Scene) -> Option<Slot> {
        let mut slot = None;
        for _ in 0..3 {
            slot = self.bound(scene);
            let port = slot.and_then(|slot| scene.port(slot));
            if port.is_some_and(|port| port.file == file) {
                break;
            }
        }
        slot
    }

    /// Any port that ever was, so perhaps a foreign or a dead one.
    fn any_slot(&mut self, scene: &Scene) -> Option<Word> {
        let slot = Slot(self.choice.of(scene.slots()));
        scene.port(slot).map(|_| Word::Port(slot))
    }

    /// A number that no port of the script need have. Where the sides have numbers of their own,
    /// one that none can have.
    fn odd_number(&mut self) -> Word {
        let number = self.pick(&ODD_NUMBERS);
        Word::Raw(match self.order {
            Order::Exact => number,
            Order::Drained if number == 0 => 0,
            Order::Drained => number.max(131_072),
        })
    }

    /// In one of `rarity` calls, memory that is not there: none of it, or an end of the `size`
    /// bytes.
    fn memory(&mut self, rarity: usize, size: usize) -> Memory {
        match self.choice.of(rarity) {
            0 if self.choice.flip() => Memory::Null,
            0 => Memory::Cut(self.choice.of(size + 1)),
            _ => Memory::There,
        }
    }

    fn pick(&mut self, from: &[u32]) -> u32 {
        from[self.choice.of(from.len())]
    }

    fn number(&mut self, below: u32) -> u32 {
        // Below a u32, so it is one.
        u32::try_from(self.choice.of(below as usize)).unwrap_or(0)
    }
}
