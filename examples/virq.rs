//! Watches a virtual interrupt: `VIRQ_DOM_EXC`, which Xen raises when a domain dies.
//!
//! `cargo run --example virq` watches five domains die on the simulator. On a Xen host,
//! `cargo run --example virq -- --backend xen` waits a moment for one; where xenstored has the
//! interrupt already, it says so.
#![expect(clippy::print_stdout, reason = "it is what an example is for")]

use std::error::Error;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use evtchn::sim::Sim;
use evtchn::xen::{PollLoop, XenOpen};
use evtchn::{BindError, Blocked, Context, DomId, Error as _, ErrorKind, Open, Virq};

const DOMAINS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let backend = std::env::args().skip_while(|arg| arg != "--backend").nth(1);
    match backend.as_deref() {
        Some("xen") => watch(XenOpen::default(), Duration::from_secs(1), || {}),
        None | Some("sim") => {
            let sim = Sim::new(0);
            let open = sim.open(DomId::DOM0);
            watch(open, Duration::from_secs(10), move || {
                for _ in 0..DOMAINS {
                    let dies = sim.create_domain().and_then(|it| sim.destroy_domain(it));
                    if let Err(error) = dies {
                        eprintln!("no domain to die: {error}");
                    }
                }
            })
        }
        Some(other) => Err(format!("no backend {other}: sim or xen").into()),
    }
}

/// Watches while `happens` runs, until a domain died or `patience` is over.
fn watch<O: Open<Device: AsFd>>(
    open: O,
    patience: Duration,
    happens: impl FnOnce() + Send + 'static,
) -> Result<(), Box<dyn Error>>
where
    Context<O, PollLoop>: 'static,
{
    let ctx = Context::new(open, PollLoop::new()?);
    let deaths = match ctx.bind_virq(Virq::DOM_EXC) {
        Ok(deaths) => deaths,
        Err(BindError::Bind(error)) if error.kind() == ErrorKind::InUse => {
            println!("VIRQ_DOM_EXC is bound already, by xenstored on most hosts");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    println!("watching VIRQ_DOM_EXC on port {}", deaths.port());
    let happening = thread::spawn(happens);
    // Deaths coalesce while nobody looks: a wake says that there was one, not how many.
    match deaths.block(Some(Instant::now() + patience))? {
        Blocked::Woken(_) => println!("a domain died"),
        Blocked::TimedOut | Blocked::Stopped | Blocked::Cancelled => println!("no domain died"),
    }
    happening.join().map_err(|_| "what was watched panicked")?;
    deaths.unbind()?;
    ctx.teardown()?;
    Ok(())
}
