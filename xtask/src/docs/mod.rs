//! `cargo xtask docs`: generates parts of the documents from the code.
//!
//! A generated part is between `<!-- begin: NAME -->` and `<!-- end: NAME -->`. A test of this package compares it.

use std::{fs, process::ExitCode};

use anyhow::{Context, Result, bail};

mod chart;
mod examples;
mod figures;
mod invariants;
mod machines;
mod patch;
mod platforms;
mod source;

use crate::{
    results,
    workspace::{read, root},
};
use figures::Figures;

/// Rewrite the generated tables in the documents.
///
/// These are the tables of the state machines in ARCHITECTURE.md, that of invariants, tests and patches in
/// testing/mutations/README.md, and those of the benchmark in docs/figures.md with their chart, and those of the
/// platforms in docs/platforms.md. Fails if a patch names a
/// test that does not exist, if an invariant has no patch, or if a public type has no example.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Rewrite nothing, and fail if a document differs
    #[arg(long)]
    check: bool,
    /// First copy the figures of the last `cargo xtask xen --bench`
    #[arg(long, conflicts_with = "check")]
    figures: bool,
    /// First take over what the boots of `cargo xtask xen` have found since
    #[arg(long, conflicts_with = "check")]
    platforms: bool,
}

/// Runs `cargo xtask docs`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.figures {
        figures::copy()?;
    }
    if options.platforms {
        results::copy()?;
    }
    let documents = documents()?;
    examples::ensure_everywhere()?;
    if options.check {
        check(&documents)?;
    } else {
        for document in documents.iter().filter(|document| !document.is_current()) {
            fs::write(root().join(document.path), &document.generated)?;
            eprintln!("xtask: rewrote {}", document.path);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A document as it is, and as the code generates it.
#[derive(Debug)]
struct Document {
    path: &'static str,
    current: String,
    generated: String,
}

/// A generated part of a document: its name and its text.
type Section = (&'static str, String);

impl Document {
    fn new(path: &'static str, sections: &[Section]) -> Result<Self> {
        let current = read(path)?;
        let generated = sections
            .iter()
            .try_fold(current.clone(), |text, section| fit(&text, section))
            .with_context(|| format!("cannot write the generated parts of {path}"))?;
        Ok(Self {
            path,
            current,
            generated,
        })
    }

    /// A file that is generated as a whole and may not exist yet.
    fn whole(path: &'static str, generated: String) -> Self {
        Self {
            path,
            current: read(path).unwrap_or_default(),
            generated,
        }
    }

    fn is_current(&self) -> bool {
        self.current == self.generated
    }

    /// The first line that differs.
    fn difference(&self) -> String {
        let (current, generated) = (self.current.lines(), self.generated.lines());
        let same = current.zip(generated).take_while(|(a, b)| a == b).count();
        let line = |text: &str| text.lines().nth(same).unwrap_or_default().to_owned();
        format!(
            "{}, line {}, has\n    {}\nbut the code generates\n    {}",
            self.path,
            same + 1,
            line(&self.current),
            line(&self.generated)
        )
    }
}

/// Every document that has generated parts.
fn documents() -> Result<[Document; 5]> {
    let figures = Figures::read()?;
    Ok([
        Document::new("docs/figures.md", &[("figures", figures.tables()?)])?,
        Document::new(
            "docs/platforms.md",
            &[
                ("platforms", platforms::table()),
                ("tried", platforms::tried()?),
            ],
        )?,
        Document::whole(chart::FILE, chart::draw(&figures.bars()?)?),
        Document::new(
            "ARCHITECTURE.md",
            &[
                ("port table", machines::port()?),
                ("link table", machines::link()?),
            ],
        )?,
        Document::new(
            "testing/mutations/README.md",
            &[("invariants", invariants::table()?)],
        )?,
    ])
}

/// Fails with the first difference of each document.
fn check(documents: &[Document]) -> Result<()> {
    let differences: Vec<String> = documents
        .iter()
        .filter(|document| !document.is_current())
        .map(Document::difference)
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    bail!(
        "{}\nTo rewrite the documents, run `cargo xtask docs`.",
        differences.join("\n")
    );
}

/// Replaces what is between the markers of the section.
fn fit(text: &str, (name, section): &Section) -> Result<String> {
    let (begin, end) = (
        format!("<!-- begin: {name} -->\n"),
        format!("<!-- end: {name} -->\n"),
    );
    let parts = text.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some(format!("{before}{begin}{section}{end}{after}"))
    });
    parts.with_context(|| format!("there are no lines `{}` and `{}`", begin.trim(), end.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_are_as_the_code_generates_them() {
        if let Err(error) = documents().and_then(|documents| check(&documents)) {
            panic!("{error:#}");
        }
    }

    #[test]
    fn a_section_replaces_only_what_is_between_its_markers() {
        let text = "a\n<!-- begin: t -->\nold\n<!-- end: t -->\nb\n";
        let section = ("t", "new\n".to_owned());
        assert_eq!(fit(text, &section).unwrap(), text.replace("old", "new"));
        let unmarked = fit("a\n<!-- begin: t -->\nb\n", &section).unwrap_err();
        assert!(
            unmarked.to_string().contains("<!-- end: t -->"),
            "{unmarked}"
        );
    }

    #[test]
    fn the_first_line_that_differs_is_shown_with_its_number() {
        let document = Document {
            path: "D.md",
            current: "a\nb\nc\n".to_owned(),
            generated: "a\nB\nC\n".to_owned(),
        };
        let error = check(&[document]).unwrap_err().to_string();
        assert!(
            error.starts_with("D.md, line 2, has\n    b\nbut the code generates\n    B\n"),
            "{error}"
        );
        assert!(error.contains("`cargo xtask docs`"), "{error}");
    }
}
