//! The table of results: a row for each file, and below them the mutants that no test fails with.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::PathBuf,
};

use anyhow::Result;

const HEAD: &str = "\
# What became of the mutants of each file; `.ci/mutants` writes it.
# content: what git has of the file that was measured. caught: a test fails. timeout: a test hangs.
# unviable: does not compile. missed: every test passes; these are named at the end.
";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) content: String,
    pub(super) mutants: usize,
    pub(super) caught: usize,
    pub(super) unviable: usize,
    pub(super) timeout: usize,
    pub(super) missed: Vec<String>,
}

/// Rows by file.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    pub(super) rows: BTreeMap<String, Row>,
}

impl Table {
    pub(super) fn read(path: PathBuf) -> Result<Self> {
        let text = match path.exists() {
            true => fs::read_to_string(&path)?,
            false => String::new(),
        };
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some(missed) = line.strip_prefix("missed ") {
                let (file, name) = missed.split_once(": ").unwrap_or_default();
                let row: &mut Row = rows.entry(file.to_owned()).or_default();
                row.missed.push(name.to_owned());
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [file, content, mutants, caught, unviable, timeout, _] = words[..] {
                let row = Row {
                    content: content.to_owned(),
                    mutants: mutants.parse()?,
                    caught: caught.parse()?,
                    unviable: unviable.parse()?,
                    timeout: timeout.parse()?,
                    missed: Vec::new(),
                };
                rows.insert(file.to_owned(), row);
            }
        }
        Ok(Self { path, rows })
    }

    /// What no test fails with, and no line `FILE: NAME # REASON` of `survivors` accounts for.
    pub(super) fn unlisted(&self, survivors: &str) -> Vec<String> {
        let listed: BTreeSet<&str> = survivors
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| Some(line.split_once(" # ")?.0))
            .collect();
        let missed = self.rows.iter().flat_map(|(file, row)| {
            let name = move |name: &String| format!("{file}: {name}");
            row.missed.iter().map(name)
        });
        missed.filter(|name| !listed.contains(&**name)).collect()
    }

    pub(super) fn write(&self) -> Result<()> {
        let mut text = HEAD.to_owned();
        let mut line = |cells: [&str; 7]| {
            let [file, content, mutants, caught, unviable, timeout, missed] = cells;
            writeln!(
                text,
                "{file:<42} {content:<12} {mutants:>7} {caught:>6} {unviable:>8} {timeout:>7} {missed:>6}"
            )
        };
        line([
            "# file", "content", "mutants", "caught", "unviable", "timeout", "missed",
        ])?;
        let mut sums = [0; 5];
        for (file, row) in &self.rows {
            let counts = [
                row.mutants,
                row.caught,
                row.unviable,
                row.timeout,
                row.missed.len(),
            ];
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
            let [mutants, caught, unviable, timeout, missed] = counts.map(|it| it.to_string());
            line([
                file,
                &row.content,
                &mutants,
                &caught,
                &unviable,
                &timeout,
                &missed,
            ])?;
        }
        let [mutants, caught, unviable, timeout, missed] = sums.map(|it| it.to_string());
        line(["# all", "", &mutants, &caught, &unviable, &timeout, &missed])?;
        for (file, row) in &self.rows {
            for name in &row.missed {
                writeln!(text, "missed {file}: {name}")?;
            }
        }
        fs::write(&self.path, text)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again_and_survivors_need_a_line() {
        let path = std::env::temp_dir().join(format!("mutants-{}.txt", std::process::id()));
        let row = Row {
            content: "abc".to_owned(),
            mutants: 4,
            caught: 1,
            unviable: 0,
            timeout: 1,
            missed: vec![
                "replace a -> u8 with 0".to_owned(),
                "delete ! in b".to_owned(),
            ],
        };
        let rows = BTreeMap::from([("core/src/a.rs".to_owned(), row)]);
        let table = Table {
            path: path.clone(),
            rows: rows.clone(),
        };
        table.write().unwrap();
        let read = Table::read(path.clone()).unwrap();
        fs::remove_file(path).unwrap();
        assert_eq!(read.rows, rows);
        let survivors = "# of all\ncore/src/a.rs: delete ! in b # it is the same\n";
        let unlisted = ["core/src/a.rs: replace a -> u8 with 0"];
        assert_eq!(read.unlisted(survivors), unlisted);
    }
}
