//! The same tests on the simulator (`sim::`) and on a real Xen (`xen::`): the contract, the cases between two domains,
//! and the examples. Without Xen the second half is ignored, and reported as ignored; `cargo xtask xen` boots a machine
//! that has it.

mod contract;
mod domains;
mod examples;

use std::env;

use libtest_mimic::Arguments;

fn main() {
    // In a guest this program does what dom0 asks of it.
    if env::args().nth(1).as_deref() == Some("agent") {
        if let Err(error) = domains::agent::serve() {
            eprintln!("agent: {error}");
            std::process::exit(1);
        }
        return;
    }
    let arguments = Arguments::from_args();
    let mut trials = contract::trials();
    trials.extend(domains::trials());
    trials.extend(examples::trials());
    let conclusion = libtest_mimic::run(&arguments, trials);
    if conclusion.num_ignored > 0 {
        let excuses = [
            ("xen", contract::excuse()),
            ("xen --guest", domains::excuse()),
            ("xen", examples::excuse()),
        ];
        for (task, excuse) in excuses {
            if let Some(reason) = excuse {
                eprintln!("xen: skipped, {reason} (run `cargo xtask {task}`)");
            }
        }
    }
    conclusion.exit();
}
