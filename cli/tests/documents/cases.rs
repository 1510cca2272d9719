//! Tests of the checks of documents, with small documents.

use super::blocks::{Block, blocks, of_comments};
use super::shell::{Where, commands, run, scripts};
use super::{links, places, root};

/// The complaints about the blocks of a document with this text.
fn complaints(text: &str) -> Vec<String> {
    let found = blocks(text);
    assert!(!found.is_empty(), "{text}");
    let tested = |block: &Block| places::ensure_tested("docs/none.md", block);
    found.iter().filter_map(|it| tested(it).err()).collect()
}

pub(crate) fn an_untested_block_is_a_complaint() {
    let cases = [
        ("```\nx\n```\n", "nothing tests a block of ``"),
        ("```python\nx\n```\n", "nothing tests a block of `python`"),
        (
            "```rust,ignore\nx\n```\n",
            "nothing tests a block of `rust,ignore`",
        ),
        (
            "```rust\nx\n```\n",
            "src/lib.rs does not give docs/none.md to rustdoc",
        ),
        (
            "```jsonl\n{}\n```\n",
            "trace/tests/format.rs does not read docs/none.md",
        ),
        ("```sh\n# nothing\n```\n", "no command"),
        ("```sh\ncargo fly\n```\n", "nothing runs `cargo fly`"),
        ("```console\nx\n```\n", "an output without a command"),
        (
            "```console\n$ cargo xtask xen\nx\n```\n",
            "nothing compares the output of",
        ),
        (
            "```text drawing\nsrc/ nowhere/\n```\n",
            "there is no folder nowhere/",
        ),
        ("```text drawing\nx\n```\n", "a drawing without a folder"),
    ];
    for (text, complaint) in cases {
        let found = complaints(text);
        assert!(
            found.len() == 1 && found[0].starts_with(complaint),
            "{text}{found:?}"
        );
    }
    assert_eq!(
        complaints("```sh\nevtchn watch # for a minute\n```\n"),
        [""; 0]
    );
}

pub(crate) fn a_comment_that_rustdoc_does_not_compile_is_a_complaint() {
    let of = |path: &str, text| {
        let found = of_comments(text);
        assert_eq!(found.len(), 1);
        places::ensure_doctest(path.as_ref(), &found[0].info)
    };
    of("core/src/ids.rs", "    /// ```\n    /// x\n    /// ```\n").unwrap();
    of("core/src/ids.rs", "//! ```ignore\n//! x\n//! ```\n").unwrap_err();
    of("xtask/src/vm.rs", "//! ```\n//! x\n//! ```\n").unwrap_err();
}

pub(crate) fn a_broken_link_is_a_complaint() {
    let broken = |text| links::broken(root(), "docs/none.md", text);
    let sound = "[a](../README.md), [b](https://example.org/), [`run_b`](../tests/none.rs)";
    assert_eq!(
        broken(sound),
        ["docs/none.md:1: there is no ../tests/none.rs"]
    );
    assert_eq!(
        broken("\n[a](none.md)"),
        ["docs/none.md:2: there is no none.md"]
    );
    let heading = "[a](../README.md#licence) [b](../README.md#nothing-of-it)";
    assert_eq!(
        broken(heading),
        ["docs/none.md:1: ../README.md has no heading #nothing-of-it"]
    );
    let test = "[`a_readiness_without_an_event_is_harmless`](../tests/libxl_defects.rs)";
    assert_eq!(broken(test), [""; 0]);
    let none = "[`a_readiness_for_nothing`](../tests/libxl_defects.rs)";
    assert_eq!(broken(none).len(), 1);
}

pub(crate) fn a_cell_without_its_source_is_a_complaint() {
    let table = "| a | b |\n| --- | --- |\n| x | [y](z) |\n| x | y |\n\n";
    let promised = format!("<!-- every cell has a source -->\n{table}{table}");
    assert_eq!(
        links::unsourced("none.md", &promised),
        ["none.md:5: no source for `y`"]
    );
    assert_eq!(links::unsourced("none.md", table), [""; 0]);
}

pub(crate) fn shell_that_fails_or_prints_something_else_is_a_complaint() {
    let ran = |text| run("none.md", &scripts(text, Where::Here));
    ran("```console\n$ printf 'a\\nb\\nc\\n'\na\n...\nc\n$ true\n```\n").unwrap();
    ran("```sh\necho 1 >kept\n```\n\n```console\n$ cat kept\n1\n```\n").unwrap();
    ran("```sh\ntest ! -e kept\n```\n").unwrap();
    let other = ran("\n```console\n$ echo a\nb\n```\n").unwrap_err();
    assert!(
        other.starts_with("none.md:2: `echo a` prints\na\n"),
        "{other}"
    );
    ran("```console\n$ echo a\n```\n").unwrap_err();
    ran("```sh\nfalse\n```\n").unwrap_err();
    ran("```sh\nfalse | true\necho ${UNSET_IN_A_DOCUMENT}\n```\n").unwrap_err();
}

pub(crate) fn shell_for_the_device_runs_only_in_dom0() {
    let text =
        "```sh\ntrue\ncargo xtask xen -- false\n```\n\n```sh xen\nevtchn \\\n  --version\n```\n";
    assert_eq!(scripts("```sh\ntrue\n```\n", Where::Xen).len(), 0);
    // Each document has a folder, and the case above runs at the same time, so this one has another name.
    run("device.md", &scripts(text, Where::Here)).unwrap();
    run("device.md", &scripts(text, Where::Xen)).unwrap_err();
    // What a newcomer does without Xen is another thing in dom0, where it is left out.
    let newcomer = "```sh\ncargo run --release -- --bogus\n```\n";
    run("newcomer.md", &scripts(newcomer, Where::Here)).unwrap_err();
    let both = format!("{newcomer}\n```sh xen\ntrue\n```\n");
    run("newcomer.md", &scripts(&both, Where::Xen)).unwrap();
    let last = &blocks(text)[1];
    let last = format!("{:?}", commands(last).unwrap());
    assert_eq!(last, r#"[Xen("evtchn --version")]"#);
}
