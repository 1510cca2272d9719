//! The simulated side.

use std::collections::BTreeSet;

use evtchn_core::DomId;
use evtchn_sim::abi::Arg;
use evtchn_sim::{Config, Delivery, Errno, FileId, World};

use crate::op::{FILES, Fd, Memory, argument_size};
use crate::raw::{Answer, Raw};

/// Domain 0 of a simulated machine.
#[derive(Debug)]
pub(crate) struct Simulated {
    world: World,
    files: [Option<Open>; FILES],
    ends: Vec<u32>,
}

#[derive(Debug)]
struct Open {
    file: FileId,
    descriptors: usize,
    /// The wakes that were reported.
    wakes: u64,
}

/// What a kernel does with the numbers of ports.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// The lowest that are left to programs. Above the last of them all are.
    pub(crate) free: Vec<u32>,
    /// How many it has room for; 1024 at boot, and more once there were more ports.
    pub(crate) room: u32,
}

impl Simulated {
    /// A machine whose domain 0 does the same with its numbers, and which has the virtual
    /// interrupts of an ordinary one. So a bind returns the same number as on the device that
    /// `numbers` was asked of.
    pub(crate) fn furnished(mut config: Config, numbers: &Numbers) -> Result<Simulated, Errno> {
        let virqs = std::mem::take(&mut config.dom0.kernel_virqs);
        config.dom0.kernel_ipis = 0;
        config.dom0.store_port = false;
        let mut world = World::new(config);
        // With all of them taken, the next bind returns whichever is given back.
        let take = |_| world.kernel_alloc_unbound(DomId::DOM0, DomId::SELF).ok();
        let taken: BTreeSet<u32> = (1..numbers.room).map_while(take).collect();
        let last = numbers.free.last().copied().unwrap_or(0);
        let is_held = |number: &u32| *number < last && !numbers.free.contains(number);
        let (held, free): (Vec<u32>, Vec<u32>) = taken.into_iter().partition(is_held);
        let mut held = held.into_iter();
        for virq in virqs {
            let number = held.next().ok_or(Errno::ENOSPC)?;
            world.kernel_close(DomId::DOM0, number)?;
            world.kernel_bind_virq(DomId::DOM0, virq)?;
        }
        for number in free {
            world.kernel_close(DomId::DOM0, number)?;
        }
        Ok(Simulated {
            world,
            files: [const { None }; FILES],
            ends: Vec::new(),
        })
    }

    /// Makes so many static channels.
    pub(crate) fn make_static(&mut self, channels: usize) -> Result<(), Errno> {
        let (dom0, own) = (DomId::DOM0, DomId::SELF);
        for _ in 0..channels {
            let one = self.world.alloc_unbound(dom0, own, own)?;
            let other = self.world.bind_interdomain(dom0, own, one)?;
            self.ends.extend([one, other]);
        }
        Ok(())
    }

    /// Events arrive only when a caller waits for them, in any order.
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
        let arg = match memory.has(argument_size(code)) {
            true => Arg::Words(words),
            false => Arg::Bad,
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

    fn ends(&self) -> &[u32] {
        &self.ends
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
