//! The corpus of the fuzz target, played once.

use std::fs;

use evtchn_capi::play;

use crate::installed::source;

#[test]
fn every_input_of_the_corpus_gets_the_answers_of_the_machine() {
    let inputs = fs::read_dir(source("../fuzz/corpus/capi")).unwrap();
    let mut played = 0;
    for input in inputs {
        let path = input.unwrap().path();
        play(&fs::read(&path).unwrap()).unwrap_or_else(|what| panic!("{}: {what}", path.display()));
        played += 1;
    }
    assert!(played > 10, "{played} inputs");
}
