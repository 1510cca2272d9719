//! The suspend handshake between a toolstack and its guests, libxl's own use of event channels.
//!
//! The toolstack notifies a guest's suspend port and blocks for the answer, with a deadline. A
//! guest that does not answer costs the deadline and nothing else.
//!
//! `cargo run --example suspend`, or on a Xen host `cargo run --example suspend -- --backend xen`:
//! there the guests are other users of this domain.
#![expect(clippy::print_stdout, reason = "it is what an example is for")]

use std::error::Error;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use evtchn::sim::Sim;
use evtchn::xen::{PollLoop, XenOpen};
use evtchn::{Blocked, Context, DomId, Open, Port, RemotePort};

const GUESTS: usize = 3;
/// The one that hangs.
const DEAF: usize = 1;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let backend = std::env::args().skip_while(|arg| arg != "--backend").nth(1);
    match backend.as_deref() {
        Some("xen") => handshake(XenOpen::default),
        None | Some("sim") => {
            let sim = Sim::new(0);
            handshake(|| sim.open(DomId::DOM0))
        }
        Some(other) => Err(format!("no backend {other}: sim or xen").into()),
    }
}

/// Every party opens the device for itself.
fn handshake<O: Open<Device: AsFd> + Send + Sync + 'static>(
    open: impl Fn() -> O + Sync,
) -> Result<()> {
    let toolstack = Context::new(open(), PollLoop::new()?);
    // What Xen says of a domain: whether it has suspended itself.
    let suspended = [const { AtomicBool::new(false) }; GUESTS];
    thread::scope(|scope| {
        let (ports, suspend_ports) = mpsc::channel();
        let mut parties = Vec::new();
        for (number, suspended) in suspended.iter().enumerate() {
            let (ports, open) = (ports.clone(), &open);
            let guest = scope.spawn(move || guest(number, open(), &ports, suspended));
            // A real toolstack reads the port from xenstore: device/suspend/event-channel.
            let remote = RemotePort {
                domid: DomId::SELF,
                port: suspend_ports.recv()?,
            };
            parties.push((guest, toolstack.bind_interdomain(remote)?));
        }
        for (number, (guest, channel)) in parties.into_iter().enumerate() {
            channel.notify()?;
            let patience = Duration::from_millis(if number == DEAF { 10 } else { 10_000 });
            let deadline = Instant::now() + patience;
            // A wake only means "look", and the bind brings one by itself.
            while !suspended[number].load(Ordering::Acquire) {
                if channel.block(Some(deadline))? == Blocked::TimedOut {
                    break;
                }
            }
            let answer = if suspended[number].load(Ordering::Acquire) {
                "is suspended"
            } else {
                "does not answer"
            };
            println!("guest {number} {answer}");
            // It hears nothing of this: Xen sends no event when a peer closes.
            channel.unbind()?;
            guest.join().map_err(|_| "a guest panicked")??;
        }
        Ok::<(), Box<dyn Error + Send + Sync>>(())
    })?;
    toolstack.teardown()?;
    println!("{} registrations, all ended", toolstack.stats().registers);
    Ok(())
}

/// A guest that offers a port and answers the first notify on it.
fn guest<O: Open<Device: AsFd> + Send + Sync + 'static>(
    number: usize,
    open: O,
    ports: &mpsc::Sender<Port>,
    suspended: &AtomicBool,
) -> Result<()> {
    let kernel = Context::new(open, PollLoop::new()?);
    let suspend = kernel.bind_unbound_port(DomId::SELF)?;
    ports.send(suspend.port())?;
    match suspend.block(Some(Instant::now() + Duration::from_secs(10)))? {
        Blocked::Woken(_) if number == DEAF => {}
        Blocked::Woken(_) => {
            suspended.store(true, Ordering::Release);
            suspend.notify()?;
        }
        Blocked::TimedOut | Blocked::Stopped | Blocked::Cancelled => {}
    }
    Ok(())
}
