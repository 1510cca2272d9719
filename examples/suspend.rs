//! The suspend handshake between a toolstack and its guests, libxl's own use of event channels.
//!
//! The toolstack notifies a guest's suspend port and blocks for the answer, with a deadline. A
//! guest that does not answer costs the deadline and nothing else.
//!
//! `cargo run --example suspend`, or on a Xen host `cargo run --example suspend -- --backend xen`:
//! there the guests are other users of this domain.
#![expect(clippy::print_stdout, reason = "it is what an example is for")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use evtchn::poll::Context;
use evtchn::sim::Sim;
use evtchn::{Backend, DomId, Port, xen};

const GUESTS: usize = 3;
/// The one that hangs.
const DEAF: usize = 1;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    let is_xen = std::env::args().any(|arg| arg == "xen");
    // `open`, not `backend`: the guests are threads, so the simulator has to live in real time.
    let backend = if is_xen {
        xen::backend()
    } else {
        Sim::new(0).open(DomId::DOM0).into()
    };

    let toolstack = Context::new(backend.clone())?;
    // What Xen says of a domain: whether it has suspended itself.
    let suspended = [const { AtomicBool::new(false) }; GUESTS];
    thread::scope(|scope| {
        let (ports, suspend_ports) = mpsc::channel();
        let mut parties = Vec::new();
        for (number, suspended) in suspended.iter().enumerate() {
            let (ports, backend) = (ports.clone(), backend.clone());
            let guest = scope.spawn(move || guest(number, backend, &ports, suspended));
            // A real toolstack reads the port from xenstore: device/suspend/event-channel.
            let remote = (DomId::SELF, suspend_ports.recv()?).into();
            parties.push((guest, toolstack.bind_interdomain(remote)?));
        }
        for (number, (guest, channel)) in parties.into_iter().enumerate() {
            channel.notify()?;
            let patience = Duration::from_millis(if number == DEAF { 10 } else { 10_000 });
            let deadline = Instant::now() + patience;
            // A wake only means "look", and the bind brings one by itself.
            while !suspended[number].load(Ordering::Acquire) {
                if channel.block_until(deadline)?.is_none() {
                    break;
                }
            }
            let answer = if suspended[number].load(Ordering::Acquire) {
                "is suspended"
            } else {
                "does not answer"
            };
            println!("guest {number} {answer}");
            guest.join().map_err(|_| "a guest panicked")??;
        }
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    })?;
    toolstack.teardown()?;
    println!("{} registrations, all ended", toolstack.stats().registers);
    Ok(())
}

/// A guest that offers a port and answers the first notify on it. It has a device of its own.
fn guest(
    number: usize,
    backend: Backend,
    ports: &mpsc::Sender<Port>,
    suspended: &AtomicBool,
) -> Result<()> {
    let kernel = Context::new(backend)?;
    let suspend = kernel.bind_unbound_port(DomId::SELF)?;
    ports.send(suspend.port())?;
    let is_asked = suspend.block_for(Duration::from_secs(10))?.is_some();
    if is_asked && number != DEAF {
        suspended.store(true, Ordering::Release);
        suspend.notify()?;
    }
    Ok(())
}
