//! The simulated side.

use evtchn_core::{DomId, Virq};
use evtchn_sim::abi::Arg;
use evtchn_sim::{Config, Delivery, Errno, FileId, World};

use crate::op::{FILES, Fd, Memory, argument_size};
use crate::raw::{Answer, Raw};

/// Domain 0 of a simulated machine.
#[derive(Debug)]
pub(crate) struct Simulated {
    world: World,
    files: [Option<Open>; FILES],
}

#[derive(Debug)]
struct Open {
    file: FileId,
    descriptors: usize,
    /// The wakes that were told of.
    wakes: u64,
}

impl Simulated {
    /// A machine whose domain 0 has taken no port yet.
    pub(crate) fn empty(mut config: Config) -> Simulated {
        config.dom0.kernel_virqs.clear();
        config.dom0.kernel_ipis = 0;
        Simulated {
            world: World::new(config),
            files: [const { None }; FILES],
        }
    }

    /// A machine whose kernel has exactly those ports below the last of `free` that are not in it,
    /// and as many of them as it needs for the virtual interrupts of an ordinary dom0. So the
    /// numbers of binds are those of the device that `free` was asked of.
    pub(crate) fn furnished(config: Config, free: &[u32]) -> Result<Simulated, Errno> {
        let mut virqs = config.dom0.kernel_virqs.clone().into_iter();
        let mut side = Simulated::empty(config);
        let world = &mut side.world;
        for number in 1..=free.last().copied().unwrap_or(0) {
            match virqs.next_if_taken(!free.contains(&number)) {
                Some(virq) => world.kernel_bind_virq(DomId::DOM0, virq)?,
                None => world.kernel_alloc_unbound(DomId::DOM0, DomId::SELF)?,
            };
        }
        for &number in free {
            world.kernel_close(DomId::DOM0, number)?;
        }
        match virqs.next() {
            None => Ok(side),
            Some(_) => Err(Errno::ENOSPC),
        }
    }

    /// Events arrive only when somebody waits for them, in any order.
    pub(crate) fn held(mut self) -> Simulated {
        self.world.set_delivery(Delivery::Held);
        self
    }

    /// Calls a function of the machine on an open file.
    fn on<T>(
        &mut self,
        file: usize,
        call: impl FnOnce(&mut World, FileId) -> Result<T, Errno>,
    ) -> Result<T, i32> {
        let open = self.files[file].as_ref().ok_or(Errno::EBADF.raw())?;
        call(&mut self.world, open.file).map_err(Errno::raw)
    }
}

/// The next virtual interrupt, where its port is one that is taken.
trait NextIfTaken {
    fn next_if_taken(&mut self, taken: bool) -> Option<Virq>;
}

impl<I: Iterator<Item = Virq>> NextIfTaken for I {
    fn next_if_taken(&mut self, taken: bool) -> Option<Virq> {
        if taken { self.next() } else { None }
    }
}

fn bytes(answer: Result<usize, i32>) -> Answer {
    // At most a page.
    answer.map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX))
}

impl Raw for Simulated {
    fn open(&mut self, file: usize) -> Answer {
        let opened = self.world.open(DomId::DOM0).map_err(Errno::raw)?;
        self.files[file] = Some(Open {
            file: opened,
            descriptors: 1,
            wakes: 0,
        });
        Ok(0)
    }

    fn dup(&mut self, file: usize) -> Answer {
        self.on(file, World::dup)?;
        if let Some(open) = &mut self.files[file] {
            open.descriptors += 1;
        }
        Ok(0)
    }

    fn close(&mut self, Fd(file, _): Fd) -> Answer {
        self.on(file, World::close)?;
        self.files[file] = self.files[file].take().and_then(|mut open| {
            open.descriptors -= 1;
            (open.descriptors > 0).then_some(open)
        });
        Ok(0)
    }

    fn ioctl(&mut self, fd: Fd, code: u32, words: [u32; 2], memory: Memory) -> Answer {
        let arg = match memory {
            Memory::There => Arg::Words(words),
            Memory::Cut(there) if there >= argument_size(code) => Arg::Words(words),
            Memory::Cut(_) | Memory::Null => Arg::Bad,
        };
        self.on(fd.0, |world, file| world.ioctl(file, code, arg))
    }

    fn read(&mut self, fd: Fd, count: usize, memory: Memory, ports: &mut Vec<u32>) -> Answer {
        let there = match memory {
            Memory::There => count,
            Memory::Null => 0,
            Memory::Cut(there) => there.min(count),
        };
        let mut buf = vec![0; there];
        let read = self.on(fd.0, |world, file| world.read_cut(file, count, &mut buf))?;
        let words = buf[..read].as_chunks().0;
        ports.extend(words.iter().copied().map(u32::from_ne_bytes));
        bytes(Ok(read))
    }

    fn write(&mut self, fd: Fd, buf: &[u8], memory: Memory) -> Answer {
        let there = match memory {
            Memory::There => buf,
            Memory::Null => &[],
            Memory::Cut(there) => &buf[..there.min(buf.len())],
        };
        bytes(self.on(fd.0, |world, file| world.write_cut(file, buf.len(), there)))
    }

    fn poll(&mut self) -> [u16; FILES] {
        std::array::from_fn(|file| {
            let bits = self.on(file, |world, file| world.poll(file));
            bits.map_or(0, evtchn_sim::abi::PollBits::raw)
        })
    }

    fn edges(&mut self) -> [bool; FILES] {
        std::array::from_fn(|file| {
            let Some(open) = &mut self.files[file] else {
                return false;
            };
            let wakes = self.world.wakes(open.file).unwrap_or(0);
            let woke = std::mem::replace(&mut open.wakes, wakes) != wakes;
            let ready = self.world.poll(open.file);
            woke && ready.is_ok_and(evtchn_sim::abi::PollBits::wakes_reader)
        })
    }

    fn wait(&mut self, file: usize) -> bool {
        loop {
            let bits = self.on(file, |world, file| world.poll(file));
            if bits.is_ok_and(evtchn_sim::abi::PollBits::wakes_reader) {
                return true;
            }
            if !self.world.step() {
                return false;
            }
        }
    }
}
