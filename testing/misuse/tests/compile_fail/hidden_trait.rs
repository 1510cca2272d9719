//! A trait that only the library implements and calls cannot be named outside of it.
use evtchn::AsAny;

struct Mine;

impl AsAny for Mine {}

fn main() {}
