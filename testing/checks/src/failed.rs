//! Finds the call of the simulator that failed in the error of a context.

use std::error::Error as _;

use evtchn_core::{DeviceError, LoopError};
use evtchn_sim::{Call, Error};

/// The call of the device that failed.
pub(crate) fn device_call(error: &DeviceError) -> Option<Call> {
    let own = error.source()?.downcast_ref::<Error>();
    own.map(|own| own.call)
}

/// The call of the event loop that failed.
pub(crate) fn loop_call(error: &LoopError) -> Option<Call> {
    let own = error.get_ref().downcast_ref::<Error>();
    own.map(|own| own.call)
}
