//! A rough day of a daemon in domain 0, on the simulator, written down as a trace: the picture
//! docs/timeline.svg is drawn from it, as docs/timeline.md says.

mod scene;

use std::fs::File;

use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    let file = std::env::args_os().nth(1).context("where to?")?;
    let stats = scene::record(scene::SEED, File::create(file)?)?;
    eprintln!("{} wakes, {} overflow", stats.wakes, stats.overflows);
    Ok(())
}
