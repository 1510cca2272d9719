//! `cargo xtask docs`: what the documents take from the code.
//!
//! It stands between `<!-- begin: NAME -->` and `<!-- end: NAME -->`, and a test of this package compares it.

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};

mod chart;
mod examples;
mod figures;
mod invariants;
mod machines;
mod patch;
mod source;

use figures::Figures;

/// Rewrite the tables in the documents that the code generates.
///
/// These are the tables of the state machines in ARCHITECTURE.md, that of invariants, tests and patches in
/// testing/mutations/README.md, and those of the benchmark in docs/figures.md with their chart. Fails where a patch names a test
/// that does not exist, where an invariant has no patch, and where a public type has no example.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Rewrite nothing, and fail where the documents say something else
    #[arg(long)]
    check: bool,
    /// First take over the figures of the last `cargo xtask xen --bench`
    #[arg(long, conflicts_with = "check")]
    figures: bool,
}

/// Runs `cargo xtask docs`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.figures {
        figures::adopt()?;
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

/// A document as it stands, and as the code has it.
#[derive(Debug)]
struct Document {
    path: &'static str,
    stands: String,
    generated: String,
}

/// What is generated for one place in a document: the name of the place, and the text.
type Section = (&'static str, String);

impl Document {
    fn new(path: &'static str, sections: &[Section]) -> Result<Self> {
        let stands = read(path)?;
        let generated = sections
            .iter()
            .try_fold(stands.clone(), |text, section| fit(&text, section))
            .with_context(|| format!("cannot write the generated parts of {path}"))?;
        Ok(Self {
            path,
            stands,
            generated,
        })
    }

    /// A file that is generated as a whole, and may not be there yet.
    fn whole(path: &'static str, generated: String) -> Self {
        Self {
            path,
            stands: read(path).unwrap_or_default(),
            generated,
        }
    }

    fn is_current(&self) -> bool {
        self.stands == self.generated
    }

    /// The first line that the code has otherwise.
    fn difference(&self) -> String {
        let (stands, generated) = (self.stands.lines(), self.generated.lines());
        let same = stands.zip(generated).take_while(|(a, b)| a == b).count();
        let line = |text: &str| text.lines().nth(same).unwrap_or_default().to_owned();
        format!(
            "{}, line {}, has\n    {}\nbut generated is\n    {}",
            self.path,
            same + 1,
            line(&self.stands),
            line(&self.generated)
        )
    }
}

/// Every document that has generated parts.
fn documents() -> Result<[Document; 4]> {
    let figures = Figures::read()?;
    Ok([
        Document::new("docs/figures.md", &[("figures", figures.tables()?)])?,
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

/// Fails with what is not as the code has it.
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
        "{}\nIf that is right, `cargo xtask docs` rewrites the document.",
        differences.join("\n")
    );
}

/// The text with the section between its markers.
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

/// The folder of the workspace.
fn root() -> &'static Path {
    const OWN: &str = env!("CARGO_MANIFEST_DIR");
    Path::new(OWN).parent().unwrap_or(Path::new(OWN))
}

/// A file of the workspace.
fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_say_what_the_code_says() {
        if let Err(error) = documents().and_then(|documents| check(&documents)) {
            panic!("{error:#}");
        }
    }

    #[test]
    fn a_section_replaces_what_is_between_its_markers_alone() {
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
            stands: "a\nb\nc\n".to_owned(),
            generated: "a\nB\nC\n".to_owned(),
        };
        let error = check(&[document]).unwrap_err().to_string();
        assert!(
            error.starts_with("D.md, line 2, has\n    b\nbut generated is\n    B\n"),
            "{error}"
        );
        assert!(error.contains("`cargo xtask docs`"), "{error}");
    }
}
