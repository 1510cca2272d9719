//! The table of the invariants, with the tests that protect each and the patches that break it.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use super::patch::{self, Patch, Test};
use crate::workspace::read;

const LIST: &str = "ARCHITECTURE.md";

/// An item of the list in ARCHITECTURE.md.
#[derive(Debug, PartialEq, Eq)]
struct Invariant {
    number: String,
    title: String,
}

/// The table of invariants, tests and patches. Fails if an invariant has no patch or a test does not exist.
pub(super) fn table() -> Result<String> {
    let patches = patch::all()?;
    for patch in &patches {
        patch.ensure_tests_exist()?;
    }
    rows(&list(&read(LIST)?)?, &patches)
}

/// The list: its items begin with `- **I1 Title.**`.
fn list(text: &str) -> Result<Vec<Invariant>> {
    let items = text.lines().filter_map(|line| line.strip_prefix("- **I"));
    items
        .map(|item| {
            let head = item.split_once(".**").map(|(head, _)| head);
            let (number, title) = head
                .and_then(|head| head.split_once(' '))
                .with_context(|| format!("{LIST} lists an invariant without a title: I{item}"))?;
            Ok(Invariant {
                number: format!("I{number}"),
                title: title.to_owned(),
            })
        })
        .collect()
}

/// A row for each test of each invariant.
fn rows(invariants: &[Invariant], patches: &[Patch]) -> Result<String> {
    for patch in patches {
        ensure!(
            invariants.iter().any(|it| it.number == patch.breaks),
            "{} breaks {}, which {LIST} does not list",
            patch.path(),
            patch.breaks
        );
    }
    let mut text = String::from("| invariant | test | patches |\n| --- | --- | --- |\n");
    for Invariant { number, title } in invariants {
        let patches = || patches.iter().filter(|patch| patch.breaks == *number);
        let mut tests: Vec<&Test> = Vec::new();
        for test in patches().flat_map(|patch| &patch.tests) {
            if !tests.contains(&test) {
                tests.push(test);
            }
        }
        ensure!(
            !tests.is_empty(),
            "{LIST} claims {number} ({title}), and no patch breaks it"
        );
        for (index, test) in tests.iter().enumerate() {
            let caught = patches().filter(|patch| patch.tests.contains(test));
            let caught: Vec<String> = caught.map(Patch::link).collect();
            let title = if index == 0 { title } else { "" };
            let first = format!("{number} {title}");
            let (first, name) = (first.trim(), &test.name);
            writeln!(text, "| {first} | `{name}` | {} |", caught.join("<br>"))?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invariant(number: &str, title: &str) -> Invariant {
        Invariant {
            number: number.to_owned(),
            title: title.to_owned(),
        }
    }

    fn broken(name: &str, breaks: &str, tests: &[&str]) -> Patch {
        let tests: String = tests
            .iter()
            .map(|test| format!("test: cargo test -p core --lib -- --exact {test}\n"))
            .collect();
        let text = format!("what: It is {name}.\nbreaks: {breaks}\n{tests}\n");
        Patch::parse(name, &text).unwrap()
    }

    #[test]
    fn each_test_of_an_invariant_is_a_row_with_all_patches_that_it_catches() {
        let invariants = [invariant("I1", "Order"), invariant("I9", "Peace")];
        let patches = [
            broken("bad", "I1", &["sorted"]),
            broken("worse", "I1", &["sorted", "ordered"]),
            broken("loud", "I9", &["quiet"]),
        ];
        let rows = rows(&invariants, &patches).unwrap();
        let expected = "\
            | I1 Order | `sorted` | [bad](bad.patch): It is bad.<br>[worse](worse.patch): It is worse. |\n\
            | I1 | `ordered` | [worse](worse.patch): It is worse. |\n\
            | I9 Peace | `quiet` | [loud](loud.patch): It is loud. |\n";
        assert_eq!(rows.split_once("--- |\n").unwrap().1, expected);
    }

    #[test]
    fn an_invariant_without_a_patch_and_a_patch_without_an_invariant_are_errors() {
        let invariants = [invariant("I1", "Order"), invariant("I9", "Peace")];
        let patches = [broken("bad", "I1", &["sorted"])];
        let error = rows(&invariants, &patches).unwrap_err().to_string();
        assert_eq!(
            error,
            "ARCHITECTURE.md claims I9 (Peace), and no patch breaks it"
        );
        let error = rows(&invariants[1..], &patches).unwrap_err().to_string();
        assert!(
            error.starts_with("testing/mutations/bad.patch breaks I1,"),
            "{error}"
        );
    }

    #[test]
    fn the_list_gives_numbers_and_titles() {
        let text =
            "Text.\n- **I1 Good order.** All is\n  sorted.\n- **I12 Peace.** Quiet.\n- **Else.**\n";
        assert_eq!(
            list(text).unwrap(),
            [invariant("I1", "Good order"), invariant("I12", "Peace")]
        );
        list("- **I1** All is sorted.\n").unwrap_err();
    }
}
