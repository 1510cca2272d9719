//! The patches of `testing/mutations/`: the invariant that each breaks, and the tests that must fail with it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::workspace::{read, root};

const FOLDER: &str = "testing/mutations";

/// A patch, described by the header above its first file.
#[derive(Debug)]
pub(super) struct Patch {
    name: String,
    /// The fault that it adds.
    what: String,
    /// The number of the invariant that it breaks.
    pub(super) breaks: String,
    /// The tests that must fail with it.
    pub(super) tests: Vec<Test>,
    /// Whether the compiler refuses it, so that no test runs.
    is_refused: bool,
}

/// One test, from a command line of cargo.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Test {
    package: String,
    /// The test binary; none for a unit test.
    binary: Option<String>,
    /// Its name, with its modules.
    pub(super) name: String,
}

/// Every patch, by name.
pub(super) fn all() -> Result<Vec<Patch>> {
    let mut paths: Vec<PathBuf> = files(&root().join(FOLDER))?;
    paths.retain(|path| path.extension().is_some_and(|it| it == "patch"));
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            Patch::parse(&name, &read(path)?)
        })
        .collect()
}

impl Patch {
    pub(super) fn parse(name: &str, text: &str) -> Result<Self> {
        let header = text.split("\n\n").next().unwrap_or_default();
        let fields = |key: &str| {
            let lines = header.lines().filter_map(|line| line.split_once(": "));
            let values = lines.filter(|(name, _)| *name == key);
            values.map(|(_, value)| value).collect::<Vec<_>>()
        };
        let field = |key| {
            let found = fields(key).first().copied().map(str::to_owned);
            found.with_context(|| format!("{FOLDER}/{name}.patch has no line `{key}:`"))
        };
        field("test")?;
        Ok(Self {
            name: name.to_owned(),
            what: field("what")?,
            breaks: field("breaks")?,
            is_refused: fields("caught") == ["broken"],
            tests: fields("test")
                .iter()
                .map(|command| Test::parse(command))
                .collect::<Result<_>>()
                .with_context(|| format!("{FOLDER}/{name}.patch"))?,
        })
    }

    pub(super) fn path(&self) -> String {
        format!("{FOLDER}/{}.patch", self.name)
    }

    /// The patch as a link in a document of the same folder.
    pub(super) fn link(&self) -> String {
        let refused = if self.is_refused {
            " The compiler refuses it."
        } else {
            ""
        };
        format!("[{0}]({0}.patch): {1}{refused}", self.name, self.what)
    }

    pub(super) fn ensure_tests_exist(&self) -> Result<()> {
        self.tests.iter().try_for_each(|test| {
            ensure!(
                test.exists()?,
                "{} names `{}`, but there is no `fn {}` in {}",
                self.path(),
                test.name,
                test.function(),
                test.place()
            );
            Ok(())
        })
    }
}

impl Test {
    fn parse(command: &str) -> Result<Self> {
        let after = |flag| {
            let mut words = command.split(' ').skip_while(|word| *word != flag);
            words.nth(1).map(str::to_owned)
        };
        Ok(Self {
            package: after("-p").with_context(|| format!("no package: {command}"))?,
            binary: after("--test"),
            name: after("--exact").with_context(|| format!("not one test: {command}"))?,
        })
    }

    fn function(&self) -> &str {
        let function = self.name.rsplit("::").next().unwrap_or(&self.name);
        // Each test with a fork also runs in PID namespaces, under a second name.
        function
            .strip_suffix("_in_pid_namespaces")
            .unwrap_or(function)
    }

    /// Where the function must be.
    fn place(&self) -> String {
        let Self {
            package, binary, ..
        } = self;
        match binary {
            Some(binary) => format!("tests/{binary} of {package}"),
            None => format!("src of {package}"),
        }
    }

    fn exists(&self) -> Result<bool> {
        let package = package(&self.package)?;
        let mut sources = Vec::new();
        match &self.binary {
            Some(binary) => {
                let tests = package.join("tests");
                // The modules of a binary are files or folders beside it. Some use tests of another module.
                let module = self.name.split("::").next().unwrap_or(binary);
                let file = tests.join(module).with_extension("rs");
                let text = fs::read_to_string(file).unwrap_or_default();
                let others = text
                    .lines()
                    .filter_map(|it| it.strip_prefix("use crate::")?.split("::").next());
                for name in others.chain([module, &**binary]) {
                    let (file, folder) = (tests.join(name).with_extension("rs"), tests.join(name));
                    sources.extend(Some(file).filter(|file| file.is_file()));
                    if folder.is_dir() {
                        sources.extend(files(&folder)?);
                    }
                }
            }
            None => sources.extend(files(&package.join("src"))?),
        }
        let function = format!("fn {}", self.function());
        // A binary that lists its tests itself may name a test differently from its function.
        let listed = format!("\"{}\"", self.function());
        for source in sources {
            let text = read(source)?;
            let mut after = text.split(&function).skip(1);
            if after.any(|rest| rest.starts_with(['(', '<'])) || text.contains(&listed) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The folder of a package, of the workspace or of `testing`.
fn package(name: &str) -> Result<PathBuf> {
    let head = format!("[package]\nname = \"{name}\"\n");
    let mut folders = vec![root().to_owned()];
    for parent in [root(), &root().join("testing")] {
        for entry in fs::read_dir(parent)? {
            folders.push(entry?.path());
        }
    }
    let found = folders.into_iter().find(|folder| {
        fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.contains(&head))
    });
    found.with_context(|| format!("there is no package {name}"))
}

/// Every file under a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(test: &str) -> Result<Patch> {
        let header = format!("what: All.\nbreaks: I1\ntest: cargo test {test}\n\ndiff\n");
        Patch::parse("bad", &header)
    }

    #[test]
    fn a_header_needs_its_lines_and_single_tests() {
        patch("-p evtchn --test sides -- --exact contract::sim::a").unwrap();
        for (test, complaint) in [
            ("-p evtchn --test tests", "not one test"),
            ("--test tests -- --exact a", "no package"),
        ] {
            let error = format!("{:#}", patch(test).unwrap_err());
            assert!(error.contains(complaint), "{error}");
        }
        for header in [
            "breaks: I1\ntest: t",
            "what: All.\ntest: t",
            "what: All.\nbreaks: I1",
        ] {
            let error = Patch::parse("bad", header).unwrap_err().to_string();
            assert!(
                error.starts_with("testing/mutations/bad.patch has no line `"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_test_is_looked_for_in_its_own_binary() {
        let here = "docs::patch::tests::a_test_is_looked_for_in_its_own_binary";
        let exists = |test: &str| patch(test).unwrap().ensure_tests_exist();
        exists(&format!("-p xtask -- --exact {here}")).unwrap();
        let error = exists(&format!("-p evtchn-core --lib -- --exact {here}"));
        assert_eq!(
            error.unwrap_err().to_string(),
            format!(
                "testing/mutations/bad.patch names `{here}`, but there is no \
                 `fn a_test_is_looked_for_in_its_own_binary` in src of evtchn-core"
            )
        );
        // The whole name, not the beginning of one.
        exists("-p xtask -- --exact a_test_is_looked_for_in_its_own").unwrap_err();
    }
}
