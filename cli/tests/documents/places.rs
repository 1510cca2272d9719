//! Which test runs which block.

use std::fs;
use std::path::Path;

use super::blocks::Block;
use super::root;
use super::shell::{self, Command};

type Checked = Result<(), String>;

/// A command that this test cannot run, and the file of the test that runs it: a line of that file has
/// the text `has`.
struct Elsewhere {
    command: &'static str,
    file: &'static str,
    has: &'static str,
}

const fn newcomer(command: &'static str) -> Elsewhere {
    Elsewhere {
        command,
        file: ".ci/newcomer",
        has: "lines docs/tokio.md sh",
    }
}

const fn in_dom0(command: &'static str, has: &'static str) -> Elsewhere {
    Elsewhere {
        command,
        file: "cli/tests/commands/xen.rs",
        has,
    }
}

/// What a reader of docs/c.md types, which that test takes from the document.
const fn in_c(command: &'static str) -> Elsewhere {
    Elsewhere {
        command,
        file: "capi/tests/programs.rs",
        has: "source(\"../docs/c.md\")",
    }
}

/// What a reader types in several shells, which another test takes from the same document.
const fn in_three_shells(command: &'static str) -> Elsewhere {
    Elsewhere {
        command,
        file: "capi/tests/served.rs",
        has: "lines_of(SEVERAL_PROCESSES)",
    }
}

const fn drawn(command: &'static str, has: &'static str) -> Elsewhere {
    Elsewhere {
        command,
        file: "cli/tests/timeline/mod.rs",
        has,
    }
}

/// Every such command.
const ELSEWHERE: &[Elsewhere] = &[
    // This test is a part of it.
    Elsewhere {
        command: "cargo test --workspace",
        file: ".ci/run",
        has: "cargo test --workspace",
    },
    // These need the registry; `.ci/newcomer` runs the whole document.
    newcomer("cargo new joined && cd joined"),
    newcomer("cargo add --path ../evtchn evtchn --features sim,tokio"),
    newcomer("cargo add tokio --features macros,rt"),
    newcomer("cargo run"),
    // Each of these waits for a command in another shell or domain.
    in_dom0("evtchn listen self --echo", "listen self --echo"),
    in_dom0("evtchn ping self:17", "ping self:{}"),
    in_dom0("evtchn notify self:17", "notify self:{port}"),
    in_dom0(
        "evtchn watch --virq DOM_EXC --interdomain 3:7 --unbound 4 --only 3: --only DOM_EXC",
        "watch --virq DOM_EXC --interdomain self:{} --unbound self",
    ),
    Elsewhere {
        command: "evtchn watch --unbound 3 --exec 'logger -t evtchn awake'",
        file: "cli/tests/commands.rs",
        has: "--exec",
    },
    // Their output is compared with the files in the repository.
    drawn(
        "cargo run -p evtchn-cli --example rough_day -- docs/timeline.trace",
        "include_str!(\"../../../docs/timeline.trace\")",
    ),
    drawn(
        "cargo run -p evtchn-cli -- timeline docs/timeline.trace -o docs/timeline.svg",
        "include_str!(\"../../../docs/timeline.svg\")",
    ),
    in_c("export PREFIX=$HOME/xenevtchn"),
    in_c("export PKG_CONFIG_PATH=$PREFIX/lib/pkgconfig LD_LIBRARY_PATH=$PREFIX/lib"),
    in_c("cc -o backend_test backend.c backend_test.c $(pkg-config --cflags --libs xenevtchn-sim)"),
    in_c("./backend_test"),
    in_c("cc -o backend backend.c backend_main.c $(pkg-config --cflags --libs xenevtchn)"),
    in_three_shells("evtchn sim --listen /tmp/machine"),
    in_three_shells("cc -o frontend frontend.c $(pkg-config --cflags --libs xenevtchn-sim)"),
    in_three_shells("export EVTCHN_SIM=/tmp/machine"),
    in_three_shells("LD_PRELOAD=$PREFIX/lib/libxenevtchn-sim.so.1 ./backend 1"),
    in_three_shells("EVTCHN_SIM_DOMID=1 ./frontend 0 10 1000"),
    in_three_shells("evtchn sim --dump /tmp/machine"),
    Elsewhere {
        command: "cargo xtask capi --prefix $PREFIX",
        file: ".ci/deep",
        has: "cargo xtask capi --prefix",
    },
    // It boots a machine, as root.
    Elsewhere {
        command: "cargo xtask xen",
        file: ".ci/run",
        has: "cargo xtask xen",
    },
];

/// Whether another test runs a command and checks its result.
pub(crate) fn is_run_elsewhere(command: &str) -> bool {
    ELSEWHERE.iter().any(|it| it.command == command)
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(root().join(path)).map_err(|error| format!("{path}: {error}"))
}

/// Fails if nothing tests the block.
pub(crate) fn ensure_tested(path: &str, block: &Block) -> Checked {
    match block.words()[..] {
        ["rust" | "rust,no_run"] => ensure_given_to_rustdoc(path),
        ["sh"] | ["sh", "xen"] | ["console"] | ["console", "xen"] => {
            let commands = shell::commands(block)?;
            commands.iter().try_for_each(ensure_run)
        }
        ["jsonl"] | ["jsonl", "whole"] => {
            let test = "trace/tests/format.rs";
            let reads = format!("include_str!(\"../../{path}\")");
            if read(test)?.contains(&reads) {
                return Ok(());
            }
            Err(format!("{test} does not read {path}"))
        }
        ["c"] => ensure_in_example(&block.text),
        ["text", "drawing"] => ensure_folders_exist(&block.text),
        _ => Err(format!("nothing tests a block of `{}`", block.info)),
    }
}

/// Fails unless the facade includes the document as a comment.
fn ensure_given_to_rustdoc(path: &str) -> Checked {
    let facade = "src/lib.rs";
    if read(facade)?.contains(&format!("include_str!(\"../{path}\")")) {
        return Ok(());
    }
    Err(format!("{facade} does not give {path} to rustdoc"))
}

/// Fails unless rustdoc compiles the block: it must be in a library and not be ignored.
pub(crate) fn ensure_doctest(path: &Path, info: &str) -> Checked {
    if !["", "no_run", "should_panic", "compile_fail"].contains(&info) {
        return Err(format!("rustdoc does not compile a block of `{info}`"));
    }
    let is_of_a_library = path.ancestors().any(|folder| {
        folder.file_name().is_some_and(|it| it == "src")
            && root().join(folder).join("lib.rs").exists()
    });
    if is_of_a_library {
        return Ok(());
    }
    Err("rustdoc runs only the blocks of libraries".to_owned())
}

/// Fails unless the command runs here, in the guest, or elsewhere.
fn ensure_run(command: &Command) -> Checked {
    match command {
        Command::Here(_) | Command::WithoutXen(_) | Command::Xen(_) => Ok(()),
        Command::Elsewhere(command) => {
            let place = ELSEWHERE.iter().find(|it| it.command == *command);
            let place = place.ok_or_else(|| format!("nothing runs `{command}`"))?;
            let runs = read(place.file)?.lines().any(|it| it.contains(place.has));
            if runs {
                return Ok(());
            }
            Err(format!("{} does not run `{command}`", place.file))
        }
    }
}

/// Fails unless an example in C has these lines, which its test compiles.
fn ensure_in_example(lines: &str) -> Checked {
    let folder = root().join("capi/examples");
    let entries =
        fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut examples = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    match examples.any(|text| text.contains(lines)) {
        true => Ok(()),
        false => Err("no file of capi/examples has this block".to_owned()),
    }
}

/// Fails unless each name in a drawing that ends in a slash is a folder.
fn ensure_folders_exist(drawing: &str) -> Checked {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-_/".contains(letter);
    let words = drawing.split(|letter| !is_part(letter));
    let folders: Vec<&str> = words
        .filter(|it| it.ends_with('/') && !it.starts_with('/') && it.len() > 1)
        .collect();
    if folders.is_empty() {
        return Err("a drawing without a folder, so nothing in it is checked".to_owned());
    }
    match folders.iter().find(|it| !root().join(it).is_dir()) {
        None => Ok(()),
        Some(folder) => Err(format!("there is no folder {folder}")),
    }
}
