//! Nothing in the process grows under load.

use std::fs::{self, File};
use std::io::Read;

use stats_alloc::Region;

use crate::ALLOCATOR;

/// How much more of the process may be resident in the end, in kB: pages that were touched for
/// the first time, such as those of code.
const SLACK: u64 = 256;

/// The memory of the process, in kB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Footprint {
    pub(crate) resident: u64,
    data: u64,
}

impl Footprint {
    /// Allocates nothing, so that one measurement does not change another.
    fn now() -> Footprint {
        let mut room = [0; 8192];
        let length = File::open("/proc/self/status").unwrap().read(&mut room);
        let status = str::from_utf8(&room[..length.unwrap()]).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        Footprint {
            resident: field("VmRSS:"),
            data: field("VmData:"),
        }
    }
}

/// How many descriptors are open.
pub(crate) fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Turns this often, and demands that from a tenth of it on nothing is allocated, mapped or
/// opened. Returns the memory then and in the end.
pub(crate) fn steadily(turns: usize, mut turn: impl FnMut(usize)) -> [Footprint; 2] {
    let warm_up = turns / 10;
    (0..warm_up).for_each(&mut turn);
    let open = descriptors();
    let before = Footprint::now();
    let region = Region::new(ALLOCATOR);
    (warm_up..turns).for_each(&mut turn);
    let change = region.change();
    let after = Footprint::now();

    assert_eq!(change.allocations + change.reallocations, 0, "{change:?}");
    assert_eq!(before.data, after.data);
    assert_eq!(open, descriptors());
    let grown = after.resident.saturating_sub(before.resident);
    assert!(grown < SLACK, "{before:?} {after:?}");
    [before, after]
}
