#!/usr/bin/env bash
# Builds every fuzz target of $SRC/evtchn into $OUT, each with its committed corpus and its options, as
# ClusterFuzzLite and OSS-Fuzz call for it. `.ci/clusterfuzzlite` runs it outside of their image.
set -euo pipefail
# Their image has this set; elsewhere the sanitizer needs a nightly as well.
export RUSTUP_TOOLCHAIN=${RUSTUP_TOOLCHAIN:-nightly}
cd "$SRC/evtchn/fuzz"
cargo fuzz build
host=$(rustc -vV | sed -n 's/^host: //p')
for target in $(cargo fuzz list); do
    cp "target/$host/release/$target" "$OUT/"
    zip --quiet --junk-paths --recurse-paths "$OUT/${target}_seed_corpus.zip" "corpus/$target"
    cp "options/$target.options" "$OUT/"
done
cp options/*.dict "$OUT/"
