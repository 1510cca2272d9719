//! The mutants that cargo-mutants knows of a file.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A change of a function that some test has to fail with.
#[derive(Debug, Clone)]
pub(super) struct Mutant {
    /// Its number, from 1.
    pub(super) id: u32,
    pub(super) package: String,
    pub(super) file: String,
    /// What cargo-mutants calls it, with the place.
    pub(super) name: String,
    pub(super) genre: Genre,
    pub(super) start: Place,
    pub(super) end: Place,
    pub(super) replacement: String,
}

impl Mutant {
    /// Its name without the place, which moves.
    pub(super) fn title(&self) -> String {
        let mut parts = self.name.splitn(4, ':');
        let title = parts.nth(3).unwrap_or(&self.name).trim();
        title.to_owned()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

/// A line and a column, both from 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    line: usize,
    column: usize,
}

impl Place {
    /// The byte of the source.
    pub(super) fn offset(self, source: &str) -> usize {
        let lines = source.split_inclusive('\n');
        let before: usize = lines.take(self.line - 1).map(str::len).sum();
        let characters = source[before..].chars().take(self.column - 1);
        before + characters.map(char::len_utf8).sum::<usize>()
    }

    #[cfg(test)]
    pub(super) fn at(source: &str, offset: usize) -> Self {
        let before = &source[..offset];
        let line = before.rsplit('\n').next().unwrap();
        Self {
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
        }
    }
}

/// Asks cargo-mutants for all mutants of some files.
pub(super) fn list(tree: &Path, files: &[String]) -> Result<Vec<Mutant>> {
    let mut command = Command::new("cargo");
    command.current_dir(tree);
    command.args(["mutants", "--workspace", "--list", "--json"]);
    for file in files {
        command.args(["--file", file]);
    }
    let output = command.output().context("cannot run cargo mutants")?;
    let trouble = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo mutants: {trouble}");
    let listed: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let mutants = (1..).zip(&listed).map(|(id, value)| mutant(id, value));
    mutants.collect()
}

fn mutant(id: u32, value: &Value) -> Result<Mutant> {
    let text = |key: &str| {
        let text = value[key].as_str();
        text.map(str::to_owned)
            .with_context(|| format!("no {key} in {value}"))
    };
    let place = |key: &str| -> Result<Place> {
        let number = |part: &str| -> Result<usize> {
            let number = value["span"][key][part].as_u64();
            let number = number.with_context(|| format!("no {part} in {value}"))?;
            Ok(number.try_into()?)
        };
        Ok(Place {
            line: number("line")?,
            column: number("column")?,
        })
    };
    let genre = match text("genre")?.as_str() {
        "FnValue" => Genre::FnValue,
        "BinaryOperator" => Genre::BinaryOperator,
        "UnaryOperator" => Genre::UnaryOperator,
        "MatchArm" => Genre::MatchArm,
        "MatchArmGuard" => Genre::MatchArmGuard,
        "StructField" => Genre::StructField,
        other => anyhow::bail!("an unknown kind of mutant: {other}"),
    };
    Ok(Mutant {
        id,
        package: text("package")?,
        file: text("file")?,
        name: text("name")?,
        genre,
        start: place("start")?,
        end: place("end")?,
        replacement: text("replacement")?,
    })
}
