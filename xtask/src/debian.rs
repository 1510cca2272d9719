//! Debian packages of any release and architecture. They are downloaded with lists of their own, so the lists of this
//! machine stay as they are, and nothing is installed.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    packages,
    platform::{Architecture, Release},
};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The packages of a release for an architecture.
#[derive(Debug)]
pub(crate) struct Debian {
    dir: PathBuf,
    release: &'static str,
    architecture: Architecture,
}

/// What Debian serves is not, or no longer, what is needed.
#[derive(Debug)]
pub(crate) struct NotServed(pub(crate) String);

impl fmt::Display for NotServed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotServed {}

impl Debian {
    /// Brings the lists of a release up to date, which are kept under `dir`.
    pub(crate) fn new(dir: &Path, release: &Release, architecture: Architecture) -> Result<Self> {
        let name = format!("{}-{}", release.name, architecture.name());
        let debian = Self {
            dir: dir.join("apt").join(name),
            release: release.name,
            architecture,
        };
        for directory in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(debian.dir.join(directory))?;
        }
        let lines = release
            .sources
            .iter()
            .map(|(address, suite)| format!("deb [signed-by={KEYRING}] {address} {suite} main\n"));
        fs::write(debian.dir.join("sources.list"), lines.collect::<String>())?;
        debian.update()?;
        Ok(debian)
    }

    fn update(&self) -> Result<()> {
        let mut update = self.command("apt-get");
        let output = update
            .args([
                "--quiet",
                "--option",
                "APT::Update::Error-Mode=any",
                "update",
            ])
            .output()
            .context("cannot run apt-get: a Debian is needed")?;
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        if !output.status.success() && said.contains("404") {
            return Err(self.not_served("it is gone"));
        }
        ensure!(
            output.status.success(),
            "cannot fetch the lists of {}: {said}",
            self.release
        );
        Ok(())
    }

    /// Downloads packages into a directory.
    pub(crate) fn download(&self, packages: &[String], to: &Path) -> Result<()> {
        fs::create_dir_all(to)?;
        eprintln!(
            "xtask: downloading {} of {}",
            packages.join(" "),
            self.release
        );
        let mut download = self.command("apt-get");
        packages::run(
            download
                .args(["--quiet", "download"])
                .args(packages)
                .current_dir(to),
        )
    }

    /// The packages that a package depends on.
    pub(crate) fn dependencies(&self, package: &str) -> Result<Vec<String>> {
        let mut depends = self.command("apt-cache");
        let output = depends
            .args(["depends", "--important", package])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run apt-cache")?;
        let text = String::from_utf8(output.stdout)?;
        let named = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(named.map(str::to_owned).collect())
    }

    /// The one package with this prefix that a metapackage of the architecture depends on. Fails if it is not of the
    /// version.
    pub(crate) fn versioned(
        &self,
        metapackage: &str,
        prefix: &str,
        version: &str,
    ) -> Result<String> {
        let architecture = self.architecture.name();
        let metapackage = format!("{metapackage}-{architecture}");
        let dependencies = self.dependencies(&metapackage)?;
        let found = dependencies
            .into_iter()
            .find(|name| name.starts_with(prefix) && name.ends_with(&format!("-{architecture}")));
        let Some(found) = found else {
            return Err(self.not_served(&format!("{metapackage} names no {prefix}*")));
        };
        if !found.starts_with(&format!("{prefix}{version}")) {
            return Err(self.not_served(&format!("there is {found}, and no {prefix}{version}*")));
        }
        Ok(found)
    }

    fn not_served(&self, what: &str) -> anyhow::Error {
        NotServed(format!("Debian's {}: {what}", self.release)).into()
    }

    /// A program of apt that knows this release alone.
    fn command(&self, program: &str) -> Command {
        let architecture = self.architecture.name();
        let own = |place: &str| self.dir.join(place).display().to_string();
        let mut command = Command::new(program);
        for option in [
            format!("Dir::Etc::sourcelist={}", own("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State::lists={}", own("lists")),
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::Cache={}", own("cache")),
            format!("APT::Architecture={architecture}"),
            format!("APT::Architectures::={architecture}"),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
        ] {
            command.arg("--option").arg(option);
        }
        command.env("LC_ALL", "C");
        command
    }
}
