#!/usr/bin/env bash
# clap_complete 4.6.11 with clap 4.6.9: its dynamic completion for bash completes no value with a colon. Bash splits the
# line at colons, so the script asks for the part behind the colon, and no value begins with that.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cargo init --quiet --name probe
cargo add --quiet clap@=4.6.9
cargo add --quiet clap_complete@=4.6.11 --features unstable-dynamic
cat >src/main.rs <<'RUST'
use clap::{Arg, Command};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};

fn command() -> Command {
    let ports = || vec![CompletionCandidate::new("3:17"), CompletionCandidate::new("3:18")];
    Command::new("probe").arg(Arg::new("port").add(ArgValueCandidates::new(ports)))
}

fn main() {
    clap_complete::CompleteEnv::with_factory(command).complete();
}
RUST
cargo build --quiet
PATH=$PWD/target/debug:$PATH
COMPLETE=bash probe >script
. ./script
complete=$(complete -p probe | sed 's/.* -F \([^ ]*\) .*/\1/')
# What bash sets for `probe 3` and for `probe 3:1`, each with Tab behind it.
tab() {
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9 COMPREPLY=()
    "$complete" probe "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    printf '%s: %s\n' "$*" "${COMPREPLY[*]}"
}
{ tab probe 3; tab probe 3 : 1; } >seen
cat seen
diff - seen <<'EXPECTED'
probe 3: 3:17 3:18
probe 3 : 1: 
EXPECTED
