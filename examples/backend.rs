//! A device back end in a mio loop that has other things to watch as well: four front ends put
//! requests into rings of shared memory, and a disk answers in its own time on a socket.
//!
//! The event channels are one more source of the loop: it is registered while the back end waits
//! for a front end, whatever came since the last round is one read, and all ports are enabled
//! again by one write at the round's end.
//!
//! `cargo run --example backend`, or on a Xen host `cargo run --example backend -- --backend xen`:
//! there the front ends are threads of this domain.
#![expect(clippy::print_stdout, reason = "it is what an example is for")]

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use evtchn::loops::MioLoop;
use evtchn::sim::Sim;
use evtchn::xen::{PollLoop, XenOpen};
use evtchn::{Channel, Context, DomId, Open, RemotePort, Wait};
use mio::{Events, Interest, Poll, Token, Waker};

const FRONTS: usize = 4;
const REQUESTS: usize = 250;
const SLOTS: usize = 8;
const CALLED: Token = Token(0);
const CHANNELS: Token = Token(1);
const DISK: Token = Token(2);

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

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
    let backend = std::env::args().skip_while(|arg| arg != "--backend").nth(1);
    match backend.as_deref() {
        Some("xen") => run(XenOpen::default),
        None | Some("sim") => {
            let sim = Sim::new(0);
            run(|| sim.open(DomId::DOM0))
        }
        Some(other) => Err(format!("no backend {other}: sim or xen").into()),
    }
}

fn run<O: Open<Device: AsFd> + Send + Sync + 'static>(open: impl Fn() -> O + Sync) -> Result<()> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), CALLED)?);
    let ctx = Context::new(open(), MioLoop::new(poll.registry(), CHANNELS, waker)?);
    let (to_disk, disk_end) = UnixStream::pair()?;
    thread::scope(|scope| {
        let disk = scope.spawn(|| disk(disk_end));
        let mut fronts = Vec::new();
        let mut threads = Vec::new();
        for _ in 0..FRONTS {
            let ring = Arc::new(Ring::default());
            let channel = ctx.bind_unbound_port(DomId::SELF)?;
            let remote = RemotePort {
                domid: DomId::SELF,
                port: channel.port(),
            };
            let (theirs, open) = (Arc::clone(&ring), &open);
            threads.push(scope.spawn(move || front_end(open(), remote, &theirs)));
            fronts.push(Front {
                ring,
                channel,
                taken: 0,
                answered: 0,
            });
        }
        let rounds = back_end(poll, &ctx, to_disk, &mut fronts)?;
        let mut right = 0;
        for thread in threads {
            right += thread.join().map_err(|_| "a front end panicked")??;
        }
        disk.join().map_err(|_| "the disk panicked")??;
        let served: usize = fronts.iter().map(|front| front.answered).sum();
        println!("{FRONTS} front ends got {served} sectors, {right} as they should be");
        drop(fronts);
        ctx.teardown()?;
        let stats = ctx.stats();
        let is_one_each = stats.writes <= rounds && stats.registers == 1;
        println!("at most one write a round, one registration: {is_one_each}");
        Ok(())
    })
}

/// A front end, as the back end sees it.
struct Front<O: Open<Device: AsFd>> {
    ring: Arc<Ring>,
    channel: Channel<O, MioLoop>,
    taken: usize,
    answered: usize,
}

impl<O: Open<Device: AsFd>> Front<O> {
    /// Waits for the next wake and hands every request that is there to the disk. A front end that
    /// claims more than a ring holds is not believed.
    fn look(&mut self, number: usize, disk: &mut impl Write) -> Result<()> {
        // Before the look: a request that comes after it brings a wake, and one that had come
        // already is looked at here.
        while let Wait::Ready(_) = self.channel.wait()? {}
        let there = self.ring.requests.load(Ordering::Acquire);
        let fresh = there.wrapping_sub(self.taken);
        for _ in 0..fresh.min(SLOTS) {
            let wanted = self.ring.slots[self.taken % SLOTS].load(Ordering::Relaxed);
            disk.write_all(&message(number as u64, wanted))?;
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

/// The loop, until every front end was served. Says how many rounds there were.
fn back_end<O: Open<Device: AsFd> + 'static>(
    mut poll: Poll,
    ctx: &Context<O, MioLoop>,
    disk: UnixStream,
    fronts: &mut [Front<O>],
) -> Result<u64> {
    disk.set_nonblocking(true)?;
    let mut disk = mio::net::UnixStream::from_std(disk);
    poll.registry()
        .register(&mut disk, DISK, Interest::READABLE)?;
    for (number, front) in fronts.iter_mut().enumerate() {
        front.look(number, &mut disk)?;
    }
    let mut events = Events::with_capacity(16);
    let mut answers = Vec::new();
    let mut rounds = 0;
    while fronts.iter().any(|front| front.answered < REQUESTS) {
        match poll.poll(&mut events, ctx.next_timeout()) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        if events.iter().any(|event| event.token() == DISK) {
            read_all(&mut disk, &mut answers)?;
            for (front, data) in whole_messages(&mut answers) {
                fronts[usize::try_from(front)?].answer(data)?;
            }
        }
        // Safe to do for nothing, so it need not be known what the loop was woken for.
        let mut round = ctx.dispatch()?;
        for wake in round.by_ref() {
            let of = |front: &Front<O>| front.channel.id() == wake.channel;
            if let Some(number) = fronts.iter().position(of) {
                fronts[number].look(number, &mut disk)?;
            }
        }
        round.finish()?;
        rounds += 1;
    }
    Ok(rounds)
}

/// A front end: keeps the ring full, and says how many answers were right.
fn front_end<O: Open<Device: AsFd>>(open: O, remote: RemotePort, ring: &Ring) -> Result<usize>
where
    Context<O, PollLoop>: 'static,
{
    let ctx = Context::new(open, PollLoop::new()?);
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
            let _look_again = channel.block(None)?;
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
