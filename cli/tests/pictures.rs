//! Tests of `evtchn watch --timeline`.

use std::fs;
use std::os::unix::fs::symlink;

use crate::watch::{directory, failure, files, run, stdout};

#[test]
fn a_run_leaves_the_picture_that_its_trace_gives() {
    let directory = directory("pictures");
    let trace = directory.join("run.trace");
    let watch = "watch --guests 2 --events 50";
    for format in ["svg", "html", "json"] {
        let (picture, drawn) = (
            directory.join(format!("run.{format}")),
            directory.join(format!("drawn.{format}")),
        );
        let timeline = format!("{watch} --timeline {}", picture.display());
        stdout(&timeline);
        let alone = fs::read_to_string(&picture).unwrap();
        stdout(&format!("{timeline} --record {}", trace.display()));
        let (trace, drawn) = (trace.display(), drawn.display().to_string());
        stdout(&format!("timeline {trace} -o {drawn}"));
        let drawn = fs::read_to_string(drawn).unwrap();
        assert!(alone == drawn, "{format}");
        assert!(fs::read_to_string(&picture).unwrap() == drawn, "{format}");
    }
    assert_eq!(files(&directory), 7);
}

#[test]
fn a_run_that_cannot_begin_keeps_the_old_picture_and_a_full_disk_is_one_line() {
    let directory = directory("pictures-kept");
    let picture = directory.join("run.svg");
    fs::write(&picture, "was here").unwrap();
    let shown = picture.display();
    failure(1, run(&format!("watch --only 99: --timeline {shown}")));
    assert_eq!(fs::read_to_string(&picture).unwrap(), "was here");
    assert_eq!(files(&directory), 1, "nothing is left beside it");
    let full = directory.join("full.svg");
    symlink("/dev/full", &full).unwrap();
    let watch = format!("watch --once --timeline {}", full.display());
    let line = failure(1, run(&watch));
    assert!(
        line.contains("full.svg: cannot be written: No space left"),
        "{line}"
    );
    let nowhere = failure(1, run("watch --once --timeline /nowhere/run.svg"));
    assert!(
        nowhere.contains("/nowhere/run.svg: cannot be created"),
        "{nowhere}"
    );
}
