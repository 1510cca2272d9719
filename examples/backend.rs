//! A device back end in a mio loop that has other things to watch as well: four front ends put
//! requests into rings of shared memory, and a disk answers in its own time on a socket.
//!
//! The event channels are one more source of the loop: it is registered while the back end waits
//! for a front end, whatever came since the last round is one read, and one write unmasks all ports
//! at the round's end.
//!
//! `cargo run --example backend`, or on a Xen host `cargo run --example backend -- --backend xen`:
//! there the front ends are threads of this domain.
#![expect(
    clippy::incompatible_msrv,
    reason = "an example may need a newer Rust than the crate"
)]
#![expect(clippy::print_stdout, reason = "it is what an example is for")]

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use evtchn::mio::{Channel, Context, MioRegistrar};
use evtchn::sim::Sim;
use evtchn::{Backend, ChannelId, DomId, Port, RemotePort, poll, xen};
use mio::{Events, Interest, Poll, Token, Waker};

const FRONTS: usize = 4;
const REQUESTS: usize = 250;
const SLOTS: usize = 8;
const CALLED: Token = Token(0);
const CHANNELS: Token = Token(1);
const DISK: Token = Token(2);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Requests and answers in the same slots. Both counts only go up.
#[derive(Default)]
struct Ring {
    slots: [AtomicU64; SLOTS],
    requests: AtomicUsize,
    answers: AtomicUsize,
}

/// What the disk has at this place.
fn sector(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9)
}

fn main() -> Result<()> {
    let is_xen = std::env::args().any(|arg| arg == "xen");
    // `open`, not `backend`: the front ends are threads, so the simulator has to live in real time.
    let backend = if is_xen {
        xen::backend()
    } else {
        Sim::new(0).open(DomId::DOM0).into()
    };

    let (to_disk, disk_end) = UnixStream::pair()?;
    let disk = thread::spawn(|| disk(disk_end));
    let mut back_end = BackEnd::new(backend.clone(), to_disk)?;
    let mut front_ends = Vec::new();
    for _ in 0..FRONTS {
        let ring = Arc::new(Ring::default());
        let port = back_end.offer(DomId::SELF, Arc::clone(&ring))?;
        let (backend, remote) = (backend.clone(), (DomId::SELF, port).into());
        front_ends.push(thread::spawn(move || front_end(backend, remote, &ring)));
    }
    let mut rounds = 0;
    while back_end.has_work() {
        back_end.turn()?;
        rounds += 1;
    }
    let mut right = 0;
    for front_end in front_ends {
        right += front_end.join().map_err(|_| "a front end panicked")??;
    }
    let served: usize = back_end.fronts.values().map(|front| front.answered).sum();
    println!("{FRONTS} front ends got {served} sectors, {right} as they should be");
    let stats = back_end.ctx.stats();
    let is_one_each = stats.writes <= rounds && stats.registers == 1;
    println!("at most one write a round, one registration: {is_one_each}");
    drop(back_end);
    disk.join().map_err(|_| "the disk panicked")?
}

/// The back end, and all that its loop watches.
struct BackEnd {
    ctx: Context,
    poll: Poll,
    events: Events,
    disk: mio::net::UnixStream,
    /// What has come from the disk.
    answers: Vec<u8>,
    fronts: HashMap<ChannelId, Front>,
    /// The channels in the order of their numbers, by which the disk knows them.
    numbers: Vec<ChannelId>,
}

/// A front end, as the back end sees it.
struct Front {
    ring: Arc<Ring>,
    channel: Channel,
    number: u64,
    taken: usize,
    answered: usize,
}

impl BackEnd {
    fn new(backend: Backend, disk: UnixStream) -> Result<BackEnd> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), CALLED)?);
        let event_loop = MioRegistrar::new(poll.registry(), CHANNELS, waker)?;
        disk.set_nonblocking(true)?;
        let mut disk = mio::net::UnixStream::from_std(disk);
        poll.registry()
            .register(&mut disk, DISK, Interest::READABLE)?;
        Ok(BackEnd {
            ctx: Context::with_registrar(backend, event_loop),
            poll,
            events: Events::with_capacity(16),
            disk,
            answers: Vec::new(),
            fronts: HashMap::new(),
            numbers: Vec::new(),
        })
    }

    /// A port for a front end in this domain, which shares `ring` with us.
    fn offer(&mut self, domid: DomId, ring: Arc<Ring>) -> Result<Port> {
        let channel = self.ctx.bind_unbound_port(domid)?;
        channel.wait()?;
        let (id, port) = (channel.id(), channel.port());
        let front = Front {
            ring,
            channel,
            number: self.numbers.len() as u64,
            taken: 0,
            answered: 0,
        };
        self.numbers.push(id);
        self.fronts.insert(id, front);
        Ok(port)
    }

    /// Whether a front end was not served to its end.
    fn has_work(&self) -> bool {
        self.fronts.values().any(|front| front.answered < REQUESTS)
    }

    /// One turn of the loop.
    fn turn(&mut self) -> Result<()> {
        match self.poll.poll(&mut self.events, self.ctx.next_timeout()) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        if self.events.iter().any(|event| event.token() == DISK) {
            read_all(&mut self.disk, &mut self.answers)?;
            for (number, data) in whole_messages(&mut self.answers) {
                let id = self.numbers[usize::try_from(number)?];
                if let Some(front) = self.fronts.get_mut(&id) {
                    front.answer(data)?;
                }
            }
        }
        // A dispatch without events does no harm, so the loop need not check what woke it.
        for wake in self.ctx.dispatch()? {
            if wake.cause.is_end() {
                return Err(format!("{} is lost: {}", wake.channel, wake.cause).into());
            }
            if let Some(front) = self.fronts.get_mut(&wake.channel) {
                front.look(&mut self.disk)?;
            }
        }
        Ok(())
    }
}

impl Front {
    /// Waits for the next wake and hands every request that is there to the disk. The claim of a
    /// front end for more than a ring holds is ignored.
    fn look(&mut self, disk: &mut impl Write) -> Result<()> {
        // Waited for before the look: a request that comes after the look brings a wake.
        self.channel.wait()?;
        let there = self.ring.requests.load(Ordering::Acquire);
        let fresh = there.wrapping_sub(self.taken);
        for _ in 0..fresh.min(SLOTS) {
            let wanted = self.ring.slots[self.taken % SLOTS].load(Ordering::Relaxed);
            disk.write_all(&message(self.number, wanted))?;
            self.taken += 1;
        }
        Ok(())
    }

    fn answer(&mut self, data: u64) -> Result<()> {
        self.ring.slots[self.answered % SLOTS].store(data, Ordering::Relaxed);
        self.answered += 1;
        self.ring.answers.store(self.answered, Ordering::Release);
        self.channel.notify()?;
        Ok(())
    }
}

/// A front end: keeps the ring full, and returns how many answers were right.
fn front_end(backend: Backend, remote: RemotePort, ring: &Ring) -> Result<usize> {
    let ctx = poll::Context::new(backend)?;
    let channel = ctx.bind_interdomain(remote)?;
    let first = u64::from(remote.port.as_raw());
    let (mut asked, mut checked, mut right) = (0, 0, 0);
    while checked < REQUESTS {
        while asked < REQUESTS && asked - checked < SLOTS {
            ring.slots[asked % SLOTS].store(first + asked as u64, Ordering::Relaxed);
            asked += 1;
        }
        ring.requests.store(asked, Ordering::Release);
        channel.notify()?;
        while ring.answers.load(Ordering::Acquire) == checked {
            channel.block()?;
        }
        let answered = ring.answers.load(Ordering::Acquire);
        for at in checked..answered {
            let data = ring.slots[at % SLOTS].load(Ordering::Relaxed);
            right += usize::from(data == sector(first + at as u64));
        }
        checked = answered;
    }
    Ok(right)
}

/// Answers each request, until the back end is gone.
fn disk(mut to_back_end: UnixStream) -> Result<()> {
    let mut request = [0; 16];
    loop {
        match to_back_end.read_exact(&mut request) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        for (front, number) in whole_messages(&mut request.to_vec()) {
            to_back_end.write_all(&message(front, sector(number)))?;
        }
    }
}

fn message(front: u64, value: u64) -> Vec<u8> {
    [front.to_le_bytes(), value.to_le_bytes()].concat()
}

/// Takes the messages that are complete.
fn whole_messages(bytes: &mut Vec<u8>) -> Vec<(u64, u64)> {
    let whole = bytes.len() / 16 * 16;
    let whole: Vec<u8> = bytes.drain(..whole).collect();
    let (numbers, _) = whole.as_chunks::<8>();
    let pairs = numbers.chunks(2).map(|pair| (pair[0], pair[1]));
    let number = u64::from_le_bytes;
    pairs.map(|(a, b)| (number(a), number(b))).collect()
}

/// Reads until the socket has nothing more, as an edge-triggered loop must.
fn read_all(socket: &mut impl Read, into: &mut Vec<u8>) -> Result<()> {
    let mut buf = [0; 1024];
    loop {
        match socket.read(&mut buf) {
            Ok(0) => return Err("the disk is gone".into()),
            Ok(count) => into.extend_from_slice(&buf[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
