//! Calls on open files as a C program can make them, with any request, argument and size, and checks of
//! the device after each.

use evtchn_core::{DomId, Virq};
use evtchn_sim::abi::{self, Arg, PollBits};
use evtchn_sim::{Errno, FileId, World};

/// How many files can be open.
const FILES: usize = 4;
/// More than a page, so that the driver has to shorten the call.
const ROOM: usize = 5000;

const REQUESTS: [u32; 8] = [
    abi::BIND_VIRQ,
    abi::BIND_INTERDOMAIN,
    abi::BIND_UNBOUND_PORT,
    abi::UNBIND,
    abi::NOTIFY,
    abi::RESET,
    abi::RESTRICT_DOMID,
    abi::BIND_STATIC,
];

/// What Linux answers for every file, without its driver: `FIONBIO`, `FIOASYNC`, `FIONCLEX`, `FIOCLEX`
/// and `FIGETBSZ`.
const OF_EVERY_FILE: [u32; 5] = [abi::FIONBIO, abi::FIOASYNC, 0x5450, 0x5451, 0x2];

/// Makes the calls that `bytes` mean, six bytes a call, on a machine with a domain 0 and a guest.
///
/// # Errors
/// What is wrong, if an answer or the device is not as Linux's driver would have it.
pub(crate) fn play_calls(bytes: &[u8]) -> Checked {
    let mut machine = Machine::new(bytes.first().is_some_and(|byte| byte % 2 == 1));
    let calls = bytes.get(1..).unwrap_or_default().as_chunks().0;
    for (step, call) in calls.iter().enumerate() {
        let made = machine.call(*call).and_then(|()| machine.look());
        let at = |what| format!("call {step}, {call:?}: {what}\n{}", machine.world.dump());
        made.map_err(at)?;
    }
    Ok(())
}

type Checked = Result<(), String>;

/// An open file, and what can be known of it from outside.
struct Open {
    file: FileId,
    descriptors: usize,
    /// An overflow was seen, and no reset since.
    overflowed: bool,
    ports: Vec<u32>,
    /// The largest number of ports that were bound at once.
    most: usize,
}

struct Machine {
    world: World,
    guest: DomId,
    files: [Option<Open>; FILES],
}

impl Machine {
    fn new(knows_static: bool) -> Machine {
        let mut config = evtchn_sim::Config::seeded(0);
        config.dom0.bind_static = knows_static;
        let mut world = World::new(config);
        let guest = world.create_domain(None, &evtchn_sim::DomainConfig::guest());
        Machine {
            world,
            guest: guest.unwrap_or(DomId::DOM0),
            files: [const { None }; FILES],
        }
    }

    fn call(&mut self, [kind, place, a, b, c, d]: [u8; 6]) -> Checked {
        let place = usize::from(place) % FILES;
        let near = [u32::from(a), u32::from(c) % 16];
        let any = u32::from_le_bytes([a, b, c, d]);
        let size = usize::from(u16::from_le_bytes([a, b])) % ROOM;
        match kind % 12 {
            0 => self.open(place, a),
            1..=4 => {
                let request = REQUESTS[usize::from(b) % REQUESTS.len()];
                let arg = match d % 8 {
                    0 => Arg::Bad,
                    1 => Arg::Words([any, any.rotate_left(7)]),
                    _ => Arg::Words(near),
                };
                self.ioctl(place, request, arg)
            }
            5 => self.ioctl(place, any, Arg::from(near)),
            6 => self.read(place, size, c.is_multiple_of(8)),
            7 => self.write(place, size, c, d.is_multiple_of(8)),
            8 => self.dup(place),
            9 => self.close(place),
            10 => {
                let domid = if b.is_multiple_of(2) {
                    DomId::DOM0
                } else {
                    self.guest
                };
                let virq = Virq::new(near[0] % 32);
                let raised = self.world.raise_virq(domid, virq);
                ensure(raised.is_ok() == (virq.as_raw() < 24), || {
                    format!("raising {virq}: {raised:?}")
                })
            }
            _ => self.overflow(place),
        }
    }

    fn open(&mut self, place: usize, domid: u8) -> Checked {
        if self.files[place].is_some() {
            return Ok(());
        }
        let domid = if domid.is_multiple_of(2) {
            DomId::DOM0
        } else {
            self.guest
        };
        let file = self.world.open(domid).map_err(text)?;
        self.files[place] = Some(Open {
            file,
            descriptors: 1,
            overflowed: false,
            ports: Vec::new(),
            most: 0,
        });
        Ok(())
    }

    fn ioctl(&mut self, place: usize, request: u32, arg: Arg) -> Checked {
        let Some(open) = &mut self.files[place] else {
            return Ok(());
        };
        let answer = self.world.ioctl(open.file, request, arg);
        let word = match arg {
            Arg::Bad => None,
            Arg::Words([word, _]) => Some(word),
        };
        let reads_memory = REQUESTS.contains(&request) && request != abi::RESET;
        ensure(!reads_memory || word.is_some() || answer.is_err(), || {
            "an argument was read from bad memory".into()
        })?;
        match (request, answer) {
            (abi::BIND_VIRQ | abi::BIND_INTERDOMAIN | abi::BIND_UNBOUND_PORT, Ok(port)) => {
                open.ports.push(port);
            }
            (abi::BIND_STATIC, Ok(0)) => open.ports.extend(word),
            (abi::UNBIND, Ok(0)) => open.ports.retain(|port| Some(*port) != word),
            (abi::RESET, Ok(0)) => open.overflowed = false,
            (abi::NOTIFY | abi::RESTRICT_DOMID, Ok(0)) | (_, Err(_)) => {}
            (_, Ok(0)) if OF_EVERY_FILE.contains(&request) => {}
            (_, Ok(answer)) => return Err(format!("{request:#x} was answered {answer}")),
        }
        open.most = open.most.max(open.ports.len());
        Ok(())
    }

    fn read(&mut self, place: usize, size: usize, bad: bool) -> Checked {
        let Some(open) = &self.files[place] else {
            return Ok(());
        };
        let bits = self.world.poll(open.file).map_err(text)?;
        let mut buf = [0; ROOM];
        let answer = if bad {
            self.world.read_bad(open.file, size)
        } else {
            self.world.read(open.file, &mut buf[..size])
        };
        let right = match answer {
            Ok(0) => size < 4,
            Ok(bytes) => {
                bits == PollBits::READABLE && !bad && bytes % 4 == 0 && bytes <= size.min(abi::PAGE)
            }
            Err(Errno::EFBIG) => bits == PollBits::ERROR,
            Err(Errno::EAGAIN) => bits == PollBits::WRITABLE,
            Err(Errno::EFAULT) => bits == PollBits::READABLE && bad,
            Err(_) => false,
        };
        ensure(right, || {
            format!("a read of {size} bytes at {bits:?}: {answer:?}")
        })
    }

    /// Writes the lowest ports over and over, from `first` on.
    fn write(&mut self, place: usize, size: usize, first: u8, bad: bool) -> Checked {
        let Some(open) = &self.files[place] else {
            return Ok(());
        };
        let mut buf = [0; ROOM];
        for (bytes, word) in buf.as_chunks_mut().0.iter_mut().zip(u32::from(first)..) {
            *bytes = (word % 64).to_ne_bytes();
        }
        let answer = if bad {
            self.world.write_bad(open.file, size)
        } else {
            self.world.write(open.file, &buf[..size])
        };
        let whole = size.min(abi::PAGE) / 4 * 4;
        let expected = if bad && whole > 0 {
            Err(Errno::EFAULT)
        } else {
            Ok(whole)
        };
        ensure(answer == expected, || {
            format!("a write of {size} bytes: {answer:?}")
        })
    }

    fn dup(&mut self, place: usize) -> Checked {
        let Some(open) = &mut self.files[place] else {
            return Ok(());
        };
        open.descriptors += 1;
        self.world.dup(open.file).map_err(text)
    }

    fn close(&mut self, place: usize) -> Checked {
        let Some(open) = &mut self.files[place] else {
            return Ok(());
        };
        self.world.close(open.file).map_err(text)?;
        open.descriptors -= 1;
        if open.descriptors > 0 {
            return Ok(());
        }
        let file = open.file;
        self.files[place] = None;
        let answers = [
            self.world.poll(file).err(),
            self.world.close(file).err(),
            self.world.ioctl(file, abi::RESET, 0).err(),
        ];
        ensure(answers == [Some(Errno::EBADF); 3], || {
            format!("a closed file answers {answers:?}")
        })
    }

    fn overflow(&mut self, place: usize) -> Checked {
        match &mut self.files[place] {
            Some(open) => self.world.overflow(open.file).map_err(text),
            None => Ok(()),
        }
    }

    /// Checks what must hold after every call.
    fn look(&mut self) -> Checked {
        let dump = self.world.dump();
        let mut owned = Vec::new();
        for open in self.files.iter_mut().flatten() {
            let bits = self.world.poll(open.file).map_err(text)?;
            ensure(!open.overflowed || bits == PollBits::ERROR, || {
                "an overflow ended without a reset".into()
            })?;
            open.overflowed = bits == PollBits::ERROR;
            owned.extend(open.ports.iter().map(|port| (open.file.domid(), *port)));
        }
        let owners = owned.len();
        owned.sort_unstable();
        owned.dedup();
        ensure(owned.len() == owners, || "a port has two owners".into())?;
        let rings = dump.lines().filter_map(ring);
        let mut sizes: Vec<usize> = self
            .files
            .iter()
            .flatten()
            .map(|open| grown(open.most))
            .collect();
        for (unread, size) in rings {
            let known = sizes.iter().position(|known| *known == size);
            let known = known.ok_or_else(|| format!("no file may have a ring of {size}"))?;
            sizes.swap_remove(known);
            ensure(unread <= size, || {
                format!("{unread} entries in a ring of {size}")
            })?;
        }
        ensure(sizes.is_empty(), || "an open file is not listed".into())
    }
}

/// The size of the ring of a file that had at most this many ports: 64 entries at first, then doubled
/// whenever there are more ports than entries.
fn grown(most: usize) -> usize {
    match most {
        0 => 0,
        _ => most.next_power_of_two().max(64),
    }
}

/// The entries and the size of a ring, from the line of its file in a dump.
fn ring(line: &str) -> Option<(usize, usize)> {
    let ring = line.split_once(" ring=")?.1.split(' ').next()?;
    let (unread, size) = ring.split_once('/')?;
    Some((unread.parse().ok()?, size.parse().ok()?))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what()) }
}

#[cfg(test)]
mod tests {
    use super::{OF_EVERY_FILE, play_calls};

    #[test]
    fn ring_doubles_when_there_are_more_ports_than_entries() {
        let open = [0; 6];
        let bind_unbound_port = [1, 0, 0, 2, 0, 2];
        let mut script = vec![0];
        script.extend(open);
        for _ in 0..300 {
            script.extend(bind_unbound_port);
        }
        assert_eq!(play_calls(&script), Ok(()));
    }

    #[test]
    fn a_request_that_linux_answers_for_every_file_may_succeed() {
        for request in OF_EVERY_FILE {
            let [a, b, c, d] = request.to_le_bytes();
            let opens = [0, 3, 0, 0, 0, 0];
            let bytes = [&[255][..], &opens, &[5, 3, a, b, c, d]].concat();
            assert_eq!(play_calls(&bytes), Ok(()), "{request:#x}");
        }
    }
}
