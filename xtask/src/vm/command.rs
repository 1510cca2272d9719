//! The command line of qemu for each platform.

use std::{
    io,
    process::{Command, Stdio},
};

use super::{Clock, Line, Machine};
use crate::{
    image::{HYPERVISOR, KERNEL},
    initramfs,
    platform::{Architecture, Mode},
};

/// What every kernel boots with.
const OPTIONS: &str = "console=hvc0 loglevel=5 panic=1 nosoftlockup";

impl Machine<'_> {
    /// The command line. File names are relative, because qemu interprets commas and spaces in them.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program(self.platform.architecture))
            .args(["-accel", "tcg", "-smp", &self.setup.cpus.to_string()])
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .current_dir(self.dir)
            .stdin(Stdio::null())
            .stdout(io::stderr());
        if self.setup.clock == Clock::Instructions {
            command.args(["-icount", "shift=0,sleep=off"]);
        }
        match self.platform.architecture {
            Architecture::Amd64 => self.amd64(&mut command),
            Architecture::Arm64 => self.arm64(&mut command),
        }
        command
    }

    fn amd64(&self, command: &mut Command) {
        let (memory, dom0) = match (self.setup.has_guests, self.platform.mode) {
            (true, _) => ("2048", "900M"),
            (false, Mode::Usual) => ("1024", "512M"),
            // Its page tables are Xen's.
            (false, Mode::Pvh) => ("2048", "1024M"),
        };
        let mut xen = format!("dom0_mem={dom0} console=com1 com1=115200,8n1");
        if self.platform.mode == Mode::Pvh {
            xen += " dom0=pvh dom0-iommu=map-reserved";
            command.args(["-machine", "q35", "-cpu", "qemu64,+svm,+npt"]);
            command.args(["-device", "amd-iommu"]);
        } else if self.setup.has_guests {
            // For guests that are not paravirtualized.
            command.args(["-cpu", "qemu64,+svm,+npt"]);
        }
        let image = self.platform.image();
        command
            .args(["-m", memory])
            .args(["-kernel", &format!("{image}/{HYPERVISOR}")])
            .args(["-append", &xen])
            .arg("-initrd")
            .arg(format!(
                "{image}/{KERNEL} {OPTIONS} {},{}",
                self.platform.options,
                initramfs::FILE
            ));
        for (index, line) in Line::ALL.into_iter().enumerate() {
            let (port, interrupt) = line.resources();
            command.args(chardev(index, line)).args([
                "-device",
                &format!(
                    "isa-serial,index={index},iobase={port},irq={interrupt},chardev=line{index}"
                ),
            ]);
        }
    }

    /// Xen keeps the only serial line of the machine, so the others are on the PCI bus. One more comes first, so that
    /// dom0 numbers them as on amd64.
    fn arm64(&self, command: &mut Command) {
        let image = self.platform.image();
        let options = self.platform.options;
        command
            .args(["-machine", "virt,virtualization=on,gic-version=3"])
            .args(["-cpu", "cortex-a57", "-m", "2048"])
            .args(["-kernel", &format!("{image}/{HYPERVISOR}")])
            .args(["-append", "dom0_mem=1024M console=dtuart"])
            .args(["-device", &format!("guest-loader,addr=0x50000000,kernel={image}/{KERNEL},bootargs={OPTIONS} {options}")])
            .args(["-device", &format!("guest-loader,addr=0x58000000,initrd={}", initramfs::FILE)])
            .args(["-chardev", "null,id=unused"])
            .args(["-device", "pci-serial,chardev=unused"]);
        for (index, line) in Line::ALL.into_iter().enumerate() {
            command.args(chardev(index, line));
            match line {
                Line::Console => command.args(["-serial", "chardev:line0"]),
                Line::Report | Line::Stdout | Line::Stderr => {
                    command.args(["-device", &format!("pci-serial,chardev=line{index}")])
                }
            };
        }
    }
}

/// The program that emulates an architecture.
pub(super) const fn program(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Amd64 => "qemu-system-x86_64",
        Architecture::Arm64 => "qemu-system-aarch64",
    }
}

/// What records a line in its file.
fn chardev(index: usize, line: Line) -> [String; 2] {
    let file = line.file();
    [
        "-chardev".to_owned(),
        format!("file,id=line{index},path={file}"),
    ]
}
