//! Watches a virtual interrupt: `VIRQ_DOM_EXC`, which Xen raises when a domain dies.
//!
//! `cargo run --example virq` watches a domain die on the simulator. On a Xen host,
//! `cargo run --example virq -- --backend xen` waits a second for one; where xenstored has the
//! interrupt already, it says so.
#![expect(clippy::print_stdout, reason = "it is what an example is for")]

use std::time::Duration;

use evtchn::poll::Context;
use evtchn::sim::Sim;
use evtchn::{DomId, Error, ErrorKind, Virq, xen};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sim = Sim::new(0);
    let is_xen = std::env::args().any(|arg| arg == "xen");
    let backend = if is_xen {
        xen::backend()
    } else {
        sim.backend(DomId::DOM0)
    };

    // What the simulator has in store: a domain that dies after half a second. The simulator lives
    // in a time of its own, so this takes no time.
    let dies = sim.create_domain()?;
    sim.after(Duration::from_millis(500), move |world| {
        if let Err(error) = world.destroy_domain(dies) {
            eprintln!("domain {dies} does not die: {error}");
        }
    });

    let ctx = Context::new(backend)?;
    let deaths = match ctx.bind_virq(Virq::DOM_EXC) {
        Ok(deaths) => deaths,
        Err(Error::Device(error)) if error.kind() == ErrorKind::InUse => {
            println!("VIRQ_DOM_EXC is bound already, by xenstored on most hosts");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    println!("watching VIRQ_DOM_EXC on port {}", deaths.port());
    // A wake says that at least one domain died, not how many.
    match deaths.block_for(Duration::from_secs(1))? {
        Some(_) => println!("a domain died"),
        None => println!("no domain died"),
    }
    Ok(())
}
