//! The folders and files of the workspace.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The root folder of the workspace.
pub(crate) fn root() -> &'static Path {
    const OWN: &str = env!("CARGO_MANIFEST_DIR");
    Path::new(OWN).parent().unwrap_or(Path::new(OWN))
}

/// The text of a file of the workspace.
pub(crate) fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {}", path.display()))
}

/// Cargo's target directory.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a line of a Cargo.toml sets a field of its package to.
    fn field<'a>(manifest: &'a str, name: &str) -> Option<&'a str> {
        let mut lines = manifest.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))?;
        Some(value.trim_matches('"'))
    }

    #[test]
    fn the_table_of_compilers_has_what_each_published_crate_declares() {
        let root = read("Cargo.toml").unwrap();
        let common = field(&root, "rust-version").unwrap();
        let mut manifests = vec![root.clone()];
        for folder in fs::read_dir(super::root()).unwrap() {
            let manifest = folder.unwrap().path().join("Cargo.toml");
            manifests.extend(fs::read_to_string(manifest));
        }
        let is_published = |manifest: &&String| field(manifest, "publish") != Some("false");
        let mut declared: Vec<(&str, &str)> = manifests
            .iter()
            .filter(is_published)
            .map(|manifest| {
                let package = field(manifest, "name").unwrap();
                let version = field(manifest, "rust-version").unwrap_or_else(|| {
                    assert!(manifest.contains("\nrust-version.workspace = true\n"));
                    common
                });
                (package, version)
            })
            .collect();
        declared.sort();
        let document = read("docs/compilers.md").unwrap();
        let rows: Vec<&str> = document
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        assert_eq!(rows.len(), declared.len(), "{rows:#?} {declared:#?}");
        for (row, (package, version)) in rows.iter().zip(&declared) {
            let expected = format!("| `{package}` | {version} | {version}.0");
            assert!(row.starts_with(&expected), "{row} against {expected}");
        }
        let script = read(".ci/msrv").unwrap();
        let checked = script
            .lines()
            .find(|line| line.starts_with("packages=("))
            .unwrap();
        for (package, _) in declared {
            let is_checked = checked.split(['(', ' ', ')']).any(|it| it == package);
            assert!(is_checked, ".ci/msrv leaves out {package}");
        }
    }
}
