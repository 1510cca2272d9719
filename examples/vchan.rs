//! A byte stream between two ends, as libvchan makes one: a ring in shared memory each way, and an
//! event channel to say that something changed.
//!
//! An end that finds nothing to read, or no room to write, blocks for the channel; the other end
//! notifies after each change. Coalesced or spurious wakes do no harm, because each wake only
//! makes an end look at the ring again.
//!
//! `cargo run --example vchan`, or on a Xen host `cargo run --example vchan -- --backend xen`. The
//! memory is that of the process here; between domains it would be granted pages.
#![expect(clippy::print_stdout, reason = "it is what an example is for")]

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::thread;

use evtchn::poll::{Channel, Context};
use evtchn::sim::Sim;
use evtchn::{DomId, xen};

const RING: usize = 1024;
const MESSAGE: usize = 100_000;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// One direction. The producer moves `written`, the consumer `read`; both only count up.
struct Ring {
    bytes: [AtomicU8; RING],
    written: AtomicUsize,
    read: AtomicUsize,
}

impl Ring {
    fn new() -> Arc<Ring> {
        Arc::new(Ring {
            bytes: [const { AtomicU8::new(0) }; RING],
            written: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
        })
    }

    /// Takes what there is, or nothing.
    fn take(&self, buf: &mut [u8]) -> usize {
        let from = self.read.load(Ordering::Relaxed);
        // A peer may write anything here: more than a ring is not believed.
        let there = self
            .written
            .load(Ordering::Acquire)
            .wrapping_sub(from)
            .min(RING);
        let count = there.min(buf.len());
        for (at, byte) in (from..).zip(&mut buf[..count]) {
            *byte = self.bytes[at % RING].load(Ordering::Relaxed);
        }
        self.read.store(from.wrapping_add(count), Ordering::Release);
        count
    }

    /// Puts in what fits, or nothing.
    fn put(&self, buf: &[u8]) -> usize {
        let from = self.written.load(Ordering::Relaxed);
        let used = from
            .wrapping_sub(self.read.load(Ordering::Acquire))
            .min(RING);
        let count = (RING - used).min(buf.len());
        for (at, byte) in (from..).zip(&buf[..count]) {
            self.bytes[at % RING].store(*byte, Ordering::Relaxed);
        }
        self.written
            .store(from.wrapping_add(count), Ordering::Release);
        count
    }
}

/// One end of the stream.
struct Vchan {
    channel: Channel,
    inward: Arc<Ring>,
    outward: Arc<Ring>,
}

impl Vchan {
    /// Tries until something moved. What changed before the wait began is seen by the look after
    /// the next wake, because the peer notifies after each change and no notify is lost.
    fn until_moved(&self, mut try_it: impl FnMut() -> usize) -> io::Result<usize> {
        loop {
            let moved = try_it();
            if moved > 0 {
                self.channel.notify().map_err(io::Error::other)?;
                return Ok(moved);
            }
            self.channel.block().map_err(io::Error::other)?;
        }
    }
}

impl Read for Vchan {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.until_moved(|| self.inward.take(buf))
    }
}

impl Write for Vchan {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.until_moved(|| self.outward.put(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The server sends each byte back, changed; the client checks.
fn main() -> Result<()> {
    let is_xen = std::env::args().any(|arg| arg == "xen");
    // `open`, not `backend`: both ends are threads, so the simulator has to live in real time.
    let backend = if is_xen {
        xen::backend()
    } else {
        Sim::new(0).open(DomId::DOM0).into()
    };

    // Each end has a context, and so a device, of its own.
    let (here, there) = (Context::new(backend.clone())?, Context::new(backend)?);
    let offered = here.bind_unbound_port(DomId::SELF)?;
    let bound = there.bind_interdomain((DomId::SELF, offered.port()).into())?;
    let (to_server, to_client) = (Ring::new(), Ring::new());
    let mut server = Vchan {
        channel: offered,
        inward: Arc::clone(&to_server),
        outward: Arc::clone(&to_client),
    };
    let mut client = Vchan {
        channel: bound,
        inward: to_client,
        outward: to_server,
    };

    let serving = thread::spawn(move || -> io::Result<()> {
        let mut buf = [0; 300];
        let mut left = MESSAGE;
        while left > 0 {
            let count = server.read(&mut buf)?;
            buf[..count].iter_mut().for_each(|byte| *byte ^= 0xff);
            server.write_all(&buf[..count])?;
            left -= count;
        }
        Ok(())
    });
    let sent: Vec<u8> = (0..=250).cycle().take(MESSAGE).collect();
    let mut answer = Vec::new();
    for part in sent.chunks(RING / 2) {
        client.write_all(part)?;
        let mut buf = vec![0; part.len()];
        client.read_exact(&mut buf)?;
        answer.extend(buf);
    }
    serving.join().map_err(|_| "the server panicked")??;
    let is_right = answer.iter().zip(&sent).all(|(got, sent)| *got == !sent);
    println!(
        "{} bytes came back, {}",
        answer.len(),
        if is_right {
            "each as it should be"
        } else {
            "not as they should be"
        }
    );
    drop(client);
    there.teardown()?;
    Ok(())
}
