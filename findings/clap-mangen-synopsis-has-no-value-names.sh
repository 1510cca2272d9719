#!/usr/bin/env bash
# clap_mangen 0.3.3 with clap 4.6.9: the SYNOPSIS of a man page names an option that takes a value without the value
# (`<--seed>`), as if it were a flag. The usage of the same command and the OPTIONS of the same page have the value
# (`--seed <N>`).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cargo init --quiet --name probe
cargo add --quiet clap@=4.6.9 clap_mangen@=0.3.3
cat >src/main.rs <<'RUST'
use clap::{Arg, Command};

fn main() {
    let seed = Arg::new("seed").long("seed").value_name("N").required(true);
    let mut command = Command::new("probe").disable_help_flag(true).arg(seed);
    println!("{}", command.render_usage());
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    let section = |name: &str| page.split(name).nth(1).unwrap().split(".SH").next().unwrap().to_owned();
    for name in ["SYNOPSIS", "OPTIONS"] {
        println!("{name}: has the value: {}", section(name).contains("<N>"));
    }
    println!("{}", section("SYNOPSIS").trim());
}
RUST
cargo run --quiet >seen
cat seen
diff - seen <<'EXPECTED'
Usage: probe --seed <N>
SYNOPSIS: has the value: false
OPTIONS: has the value: true
\fBprobe\fR <\fB\-\-seed\fR>
EXPECTED
