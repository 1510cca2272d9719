//! Tests of what a shell offers at Tab.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::path::Path;
use std::process::{Command, Output};

use crate::support::{DEVICE, evtchn, program, skipped};

/// Calls the completion function as bash does at Tab: with the line, and with its words as bash splits
/// them.
const TAB: &str = r#"
compopt() { :; }
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
word=${COMP_WORDS[COMP_CWORD]}
[[ $word != [:=] ]] || word=
_evtchn evtchn "$word"
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// What bash offers for the last of these words. `before` runs before the Tab.
fn offered(before: &str, line: &str, words: &[&str]) -> Vec<String> {
    let script = String::from_utf8(evtchn("completions bash").output().unwrap().stdout).unwrap();
    let mut bash = Command::new("bash");
    bash.args([
        "--norc",
        "-c",
        &format!("{script}\n{before}\n{TAB}"),
        "bash",
    ]);
    bash.arg(line).args(words);
    let found = program();
    let folder = found.parent().unwrap().display().to_string();
    let path = std::env::var("PATH").unwrap();
    let Output { stdout, stderr, .. } = bash
        .env("PATH", format!("{folder}:{path}"))
        .output()
        .unwrap();
    assert!(
        stderr.is_empty(),
        "{line}: {}",
        String::from_utf8_lossy(&stderr)
    );
    let text = String::from_utf8(stdout).unwrap();
    text.lines()
        .filter(|it| !it.is_empty() && !it.starts_with('-'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn bash_offers_commands_domains_virtual_interrupts_and_files() {
    let folder = std::env::temp_dir().join(format!("evtchn-completions-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let trace = folder.join("run.trace").display().to_string();
    std::fs::write(&trace, "").unwrap();
    let begun = trace.strip_suffix(".trace").unwrap();
    for (words, expected) in [
        (&["no"][..], &["notify"][..]),
        (
            &["ls", "--backend", "sim", ""],
            &["self", "0", "1", "2", "3", "4", "5", "6", "7", "8"],
        ),
        (
            &["ls", "--backend", "=", "sim", ""],
            &["self", "0", "1", "2", "3", "4", "5", "6", "7", "8"],
        ),
        (&["ls", "--backend", "=", "s"], &["sim"]),
        (&["ls", "--backend", "="], &["sim", "xen"]),
        (&["listen", "se"], &["self"]),
        (&["watch", "--virq", "DOM"], &["DOM_EXC"]),
        (
            &["watch", "--only", "3", ":", "--only", "DOM"],
            &["DOM_EXC"],
        ),
        (&["watch", "--backend", "sim", "--only", "7"], &["7:"]),
        (
            &["completions", ""],
            &["bash", "elvish", "fish", "powershell", "zsh"],
        ),
        (&["replay", begun], &[&trace]),
    ] {
        // Words of the line have a space between them, the pieces of one have none.
        let mut line = "evtchn".to_owned();
        for (place, word) in words.iter().enumerate() {
            let follows = place > 0 && words[place - 1] == "=";
            let space = if follows || ["=", ":"].contains(word) {
                ""
            } else {
                " "
            };
            line += &format!("{space}{word}");
        }
        let words: Vec<&str> = ["evtchn"]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        assert_eq!(offered("", &line, &words), expected, "{line}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn bash_completes_the_port_behind_the_colon_of_a_domain() {
    // In place of a machine with such ports. It says what it was asked.
    let machine =
        "asked=$(mktemp); evtchn() { printf '%s\\n' \"$@\" >$asked; printf '3:17\\n3:18'; }
                   trap 'printf \"asked %s\\n\" \"$(tail -n 1 $asked)\"; rm $asked' EXIT";
    for (line, words, expected) in [
        (
            "evtchn notify ",
            &["evtchn", "notify", ""][..],
            &["3:17", "3:18", "asked "][..],
        ),
        (
            "evtchn notify 3",
            &["evtchn", "notify", "3"],
            &["3:17", "3:18", "asked 3"],
        ),
        (
            "evtchn notify 3:",
            &["evtchn", "notify", "3", ":"],
            &["17", "18", "asked 3:"],
        ),
        (
            "evtchn notify 3:1",
            &["evtchn", "notify", "3", ":", "1"],
            &["17", "18", "asked 3:1"],
        ),
        (
            "evtchn watch --interdomain=3:1",
            &["evtchn", "watch", "--interdomain", "=", "3", ":", "1"],
            &["3:17", "3:18", "asked --interdomain=3:1"],
        ),
    ] {
        assert_eq!(offered(machine, line, words), expected, "{line}");
    }
}

#[test]
fn without_xen_no_port_is_offered_and_nothing_is_said() {
    if Path::new(DEVICE).exists() {
        skipped("a machine without /dev/xen/evtchn");
        return;
    }
    for words in [
        &["notify", ""][..],
        &["ping", ""],
        &["watch", "--interdomain", ""],
    ] {
        let line = format!("evtchn {}", words.join(" "));
        let words: Vec<&str> = ["evtchn"]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        assert_eq!(offered("", &line, &words), [""; 0], "{line}");
    }
}

#[test]
fn each_shell_has_a_script_that_asks_the_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = evtchn(&format!("completions {shell}")).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("EVTCHN_COMPLETE"), "{shell}: {script}");
        let mut asks = evtchn("-- evtchn notif");
        asks.env("EVTCHN_COMPLETE", shell)
            .env("_CLAP_COMPLETE_INDEX", "1");
        let output = asks.output().unwrap();
        let answer = String::from_utf8(output.stdout).unwrap();
        assert!(answer.contains("notify"), "{shell}: {answer}");
    }
    let output = evtchn("--").env("EVTCHN_COMPLETE", "csh").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.starts_with("evtchn: ") && error.lines().count() == 1,
        "{error}"
    );
}
