
#[doc(hidden)]
#[allow(missing_docs)]
#[inline]
pub const fn __mutant(id: u32) -> bool {
    core::intrinsics::const_eval_select((id,), __never, __is_asked_for)
}

const fn __never(_: u32) -> bool {
    false
}

fn __is_asked_for(id: u32) -> bool {
    use std::io::Write as _;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    static ASKED: OnceLock<(u32, Option<std::path::PathBuf>)> = OnceLock::new();
    static CAME_BY: [AtomicBool; 8192] = [const { AtomicBool::new(false) }; 8192];
    let (asked, file) = ASKED.get_or_init(|| {
        let number = std::env::var("EVTCHN_MUTANT").ok().and_then(|text| text.parse().ok());
        let file = std::env::var_os("EVTCHN_MUTANTS_MET").map(Into::into);
        (number.unwrap_or(0), file)
    });
    if let Some(file) = file
        && !CAME_BY[id as usize].swap(true, Relaxed)
        && let Ok(mut file) = std::fs::File::options().append(true).create(true).open(file)
    {
        let _ = file.write_all(std::format!("{id}\n").as_bytes());
    }
    *asked == id
}
