//! The wrong uses that need only arguments.

use crate::support::DEVICE;

/// Arguments, exit code, and parts of the line.
pub(crate) type Wrong = (&'static str, i32, &'static [&'static str]);

/// Usage errors.
pub(crate) const USAGE: &[Wrong] = &[
    ("bogus", 2, &["bogus", "evtchn --help"]),
    ("--bogus", 2, &["--bogus", "evtchn --help"]),
    ("watch --bogus", 2, &["--bogus", "evtchn watch --help"]),
    ("watch --event 3", 2, &["--event", "'--events'"]),
    ("watch stray", 2, &["stray"]),
    ("watch --backend vmware", 2, &["vmware", "sim, xen"]),
    ("watch --events 0", 2, &["--events"]),
    ("watch --guests 5000", 2, &["4096"]),
    ("watch --once --events 3", 2, &["--once", "--events"]),
    ("watch --timeout soon", 2, &["soon", "20ms"]),
    ("watch --timeout 1y", 2, &["1y", "20ms"]),
    ("watch --only nonsense", 2, &["nonsense", "DOM_EXC"]),
    ("watch --only 3:0", 2, &["3:0"]),
    ("watch --exec '", 2, &["quote"]),
    (
        "watch --timeline run.png",
        2,
        &["run.png", ".svg, .html or .json"],
    ),
    ("watch --exec ''", 2, &["names no program"]),
    (
        "watch --backend sim --unbound 3",
        2,
        &["--unbound needs --backend xen"],
    ),
    (
        "watch --backend sim --interdomain 3:7",
        2,
        &["--interdomain needs --backend xen"],
    ),
    (
        "watch --backend sim --device /dev/null",
        2,
        &["--device needs --backend xen"],
    ),
    (
        "watch --seed 1 --virq DOM_EXC",
        2,
        &["--seed needs --backend sim, and --virq needs --backend xen"],
    ),
    (
        "watch --backend xen",
        2,
        &[
            "nothing to watch",
            "--virq NAME",
            "--loopback N",
            "--backend sim",
        ],
    ),
    (
        "watch --device /dev/xen/evtchn --once",
        2,
        &["nothing to watch"],
    ),
    ("watch --virq BOGUS", 2, &["BOGUS", "such as DOM_EXC"]),
    ("watch --virq -1", 2, &["-1"]),
    ("watch --only 3:x", 2, &["3:x", "a remote port (3:7)"]),
    (
        "watch --interdomain 3",
        2,
        &["'3'", "expected DOM:PORT", "3:17 or self:17"],
    ),
    ("watch --backend xen --interdomain 3:0", 2, &["port 0"]),
    ("watch --backend xen --unbound 65536", 2, &["16 bits"]),
    ("listen", 2, &["<DOM>", "evtchn listen --help"]),
    ("listen -1", 2, &["-1"]),
    ("listen everyone", 2, &["everyone", "such as 3, or self"]),
    ("listen 99999", 2, &["99999 is no domain id", "16 bits"]),
    ("listen 3 --once --count 3", 2, &["--once", "--count"]),
    ("listen 3 --count 0", 2, &["--count"]),
    ("listen 3 --count many", 2, &["'many'", "expected a number"]),
    (
        "ping --count 99999999999999999999",
        2,
        &["the number is too large"],
    ),
    (
        "listen 3 --backend xen --seed 7",
        2,
        &["--seed needs --backend sim"],
    ),
    (
        "listen 3 --backend xen --dies-after 7",
        2,
        &["--dies-after needs --backend sim"],
    ),
    (
        "listen --backend sim 3 --device /dev/null",
        2,
        &["--device needs --backend xen"],
    ),
    ("listen 3 --check-peers 0", 2, &["--check-peers"]),
    ("watch --dies-after 3", 2, &["--check-peers"]),
    (
        "watch --backend xen --check-peers 1s --dies-after 3",
        2,
        &["--dies-after needs --backend sim"],
    ),
    ("notify", 2, &["<DOM:PORT>"]),
    (
        "notify 3",
        2,
        &["'3'", "expected DOM:PORT", "3:17 or self:17"],
    ),
    ("notify 3:", 2, &["3:", "expected DOM:PORT"]),
    ("notify 99999:1", 2, &["99999 is no domain id"]),
    ("notify x:1", 2, &["such as 3, or self"]),
    ("notify 3:2147483648", 2, &["31 bits"]),
    ("notify 3:7 --interval -1", 2, &["-1"]),
    ("ping 3:7:9", 2, &["3:7:9"]),
    ("ping --count 0", 2, &["--count"]),
    ("ping --timeout 1.5.5s", 2, &["1.5.5s", "1.5s"]),
    ("ping 3", 2, &["expected DOM:PORT"]),
    ("ls many", 2, &["many", "such as 3, or self"]),
    ("ls 99999", 2, &["99999 is no domain id"]),
    ("ls 3 --all", 2, &["--all"]),
    ("ls --from", 2, &["--from <FILE>"]),
    ("ls --from dump.txt --live", 2, &["--from", "--live"]),
    ("ls --from dump.txt --watch", 2, &["--watch"]),
    ("ls --from dump.txt --all", 2, &["--all"]),
    ("ls --from dump.txt --backend sim", 2, &["--backend"]),
    ("ls --from dump.txt --seed 1", 2, &["--seed"]),
    ("ls --live --seed 1", 2, &["--seed needs --backend sim"]),
    ("ls --live --all", 2, &["--all"]),
    (
        "ls --backend sim --live",
        2,
        &["--live needs --backend xen"],
    ),
    (
        "ls --interval 1s",
        2,
        &["--interval needs --watch or --live"],
    ),
    ("ls --watch --count 0", 2, &["--count"]),
    ("doctor stray", 2, &["stray", "evtchn doctor --help"]),
    ("doctor --root", 2, &["--root"]),
    ("doctor --backend xen", 2, &["--backend"]),
    ("sim", 2, &["--listen", "--dump", "evtchn sim --help"]),
    ("sim --listen", 2, &["--listen <PATH>"]),
    ("sim --listen a --dump b", 2, &["--listen", "--dump"]),
    ("sim --dump a --guests 1", 2, &["--guests"]),
    ("sim --dump a --seed 1", 2, &["--seed"]),
    ("sim --listen a --guests 4097", 2, &["4096"]),
    ("sim --listen a --backend xen", 2, &["--backend"]),
    ("explore", 2, &["explore", "evtchn --help"]),
    ("replay", 2, &["<FILE>"]),
    ("completions", 2, &["<SHELL>"]),
    ("completions csh", 2, &["csh", "bash"]),
];

/// Failures on the simulator, and with files that are not a device.
pub(crate) const RUNS: &[Wrong] = &[
    (
        "notify --backend sim 3:2000",
        5,
        &["EINVAL", "evtchn listen"],
    ),
    (
        "notify --backend sim 40000:1",
        5,
        &["ESRCH", "no such domain"],
    ),
    // Port 3 is bound in domain 0.
    ("notify --backend sim 0:3", 5, &["EINVAL"]),
    ("ping --backend sim 3:2000", 5, &["EINVAL"]),
    (
        "ping --backend sim 3:7 --dies-after 5",
        5,
        &[
            "no answer from 3:7 in 5s after 5 of 1000",
            "closed its end or died",
            "evtchn listen --echo",
        ],
    ),
    (
        "ping --backend sim 3:7 --timeout 1us",
        6,
        &["no answer", "after 0 of 1000", "there and silent", "--echo"],
    ),
    (
        "listen --backend sim 3 --count 6 --timeout 1h",
        6,
        &["1 wake still"],
    ),
    (
        "listen --backend sim 3 --once --timeout 0",
        6,
        &["1 wake still"],
    ),
    // The wake with cause peer_gone does not count.
    (
        "listen --backend sim 3 --count 6 --check-peers 10ms --timeout 1h",
        6,
        &["1 wake still"],
    ),
    (
        "watch --guests 2 --dies-after 20 --check-peers 10ms",
        5,
        &["every peer closed its end or died", "evtchn listen"],
    ),
    (
        "watch --guests 2 --dies-after 0 --check-peers 1s",
        1,
        &["before a check saw it alive"],
    ),
    ("watch --once --timeout 1ms", 6, &["1 wake still"]),
    ("watch --events 2000 --timeout 100ms", 6, &["wakes still"]),
    ("watch --only 99:", 1, &["--only"]),
    ("watch --only DOM_EXC", 1, &["--only"]),
    (
        "watch --exec /nonexistent/program",
        1,
        &["/nonexistent/program"],
    ),
    ("watch --exec /dev", 1, &["/dev", "denied"]),
    (
        "watch --record /nonexistent/trace",
        1,
        &["/nonexistent/trace"],
    ),
    ("watch --record /dev/full", 1, &["trace"]),
    (
        "watch --loopback 1 --device /nonexistent/evtchn",
        3,
        &["/nonexistent/evtchn", DEVICE],
    ),
    (
        "listen 3 --device /nonexistent/evtchn",
        3,
        &["/nonexistent/evtchn"],
    ),
    (
        "ls 9 --backend sim",
        5,
        &["there is no domain 9", "no such domain"],
    ),
    (
        "notify 3:7 --device /dev/null",
        3,
        &["not an event-channel device"],
    ),
    (
        "ping --device /dev/zero",
        3,
        &["not an event-channel device"],
    ),
    (
        "listen 3 --device /",
        3,
        &["cannot open /", "/dev/xen/evtchn"],
    ),
    (
        "notify 3:7 --device /dev/null/evtchn",
        3,
        &["/dev/null/evtchn", "Not a directory"],
    ),
    (
        "watch --loopback 1 --device /etc",
        3,
        &["cannot open /etc", "/dev/xen/evtchn"],
    ),
    (
        "ls --from /nonexistent/dump",
        2,
        &["/nonexistent/dump", "No such file"],
    ),
    ("ls --from /dev/null", 2, &["no dump of the debug key e"]),
    (
        "doctor --root /nonexistent",
        3,
        &["something to do: hypervisor"],
    ),
    (
        "sim --dump /nonexistent/machine",
        1,
        &["/nonexistent/machine", "No such file"],
    ),
    (
        "sim --listen /nonexistent/machine",
        1,
        &["/nonexistent/machine", "No such file"],
    ),
    ("sim --dump /dev/null", 1, &["/dev/null", "refused"]),
    ("sim --listen /dev/null", 1, &["/dev/null", "in use"]),
    ("man /nonexistent/directory", 1, &["/nonexistent/directory"]),
    ("replay /nonexistent/trace", 2, &["/nonexistent/trace"]),
    ("replay /", 2, &["directory"]),
    ("replay /dev/null", 2, &["/dev/null"]),
];

/// Failures on a machine without the device.
pub(crate) const NO_DEVICE: &[Wrong] = &[
    (
        "watch --loopback 8",
        3,
        &[DEVICE, "not a Xen domain", "--backend sim"],
    ),
    (
        "watch --virq DOM_EXC --json",
        3,
        &[DEVICE, "not a Xen domain"],
    ),
    ("watch --unbound 3 --interdomain 3:7", 3, &[DEVICE]),
    ("listen 3 --backend xen", 3, &[DEVICE, "not a Xen domain"]),
    ("notify 3:7 --backend xen", 3, &[DEVICE, "not a Xen domain"]),
    ("ping --backend xen", 3, &[DEVICE, "not a Xen domain"]),
    ("ping 3:7 --backend xen", 3, &[DEVICE, "not a Xen domain"]),
];

/// Refusals of the device in domain 0 of a machine without other domains.
pub(crate) const DEVICE_REFUSES: &[Wrong] = &[
    // It does not play a simulation there.
    ("watch", 2, &["nothing to watch", "--virq NAME"]),
    ("notify 0:60000", 5, &["EINVAL", "evtchn listen"]),
    ("notify self:60000", 5, &["EINVAL"]),
    // A port of the kernel, which is bound.
    ("notify 0:1", 5, &["EINVAL"]),
    ("notify 7:1", 5, &["ESRCH", "no such domain"]),
    ("ping 7:1", 5, &["ESRCH"]),
    ("watch --backend xen --interdomain 7:1", 5, &["ESRCH"]),
    (
        "watch --backend xen --virq TIMER",
        1,
        &["EEXIST", "stop the process"],
    ),
    ("watch --backend xen --virq 24", 1, &["EINVAL"]),
    (
        "watch --backend xen --virq DOM_EXC --virq DOM_EXC",
        1,
        &["EEXIST"],
    ),
    (
        "watch --backend xen --virq DOM_EXC --once --timeout 10ms",
        6,
        &["1 wake still"],
    ),
    (
        "watch --backend xen --unbound 7 --once --timeout 10ms",
        6,
        &["1 wake still"],
    ),
    (
        "watch --backend xen --virq DOM_EXC --only TIMER",
        1,
        &["--only"],
    ),
    ("listen 7 --once --timeout 10ms", 6, &["1 wake still"]),
    (
        "watch --loopback 8 --exec /nonexistent/program",
        1,
        &["/nonexistent/program"],
    ),
];
