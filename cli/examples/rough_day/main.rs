//! Records a rough day of a daemon in domain 0, on the simulator. docs/timeline.svg is drawn from the
//! trace, as docs/timeline.md says.

mod day;

use std::fs::File;

use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    let file = std::env::args_os()
        .nth(1)
        .context("expected the file to write")?;
    let stats = day::record(day::SEED, File::create(file)?)?;
    eprintln!("{} wakes, {} overflow", stats.wakes, stats.overflows);
    Ok(())
}
