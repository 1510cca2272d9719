//! What only the library implements and calls has no name outside.
use evtchn::AsAny;

struct Mine;

impl AsAny for Mine {}

fn main() {}
