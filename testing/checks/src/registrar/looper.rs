//! An event loop that may do everything an implementation of `Registrar` may do, and an opener that may
//! fail, panic and call back too.

use std::sync::Weak;

use evtchn_core::{
    Device, DeviceCall, DeviceError, ErrorKind, LoopError, Open, Registrar, Trigger,
};
use evtchn_sim::abi::PollBits;
use evtchn_sim::{Call, Errno, Error, FileId, Sim, SimDevice};

use super::rig::{PlannedPanic, Rig, State, Step, ensure, text};
use super::script::{Heeds, Point, Quirk};

/// The registrar of the context under test.
#[derive(Debug)]
pub(super) struct Looper(pub(super) Weak<Rig>, pub(super) Trigger);

/// The opener of the context under test.
#[derive(Debug)]
pub(super) struct Opener(pub(super) Weak<Rig>);

/// The devices that the loop watches.
#[derive(Debug, Default)]
pub(super) struct Watches {
    watched: Vec<Watch>,
    /// A device was reported, and no round was begun for it yet.
    pub(super) reported: bool,
    pub(super) woken: bool,
    pub(super) registers: u64,
    pub(super) deregisters: u64,
}

/// A registered device. As in epoll, being watched keeps nothing open.
#[derive(Debug)]
struct Watch {
    file: FileId,
    /// How often the ring had become not empty when the loop last looked at it.
    seen: Option<u64>,
    /// Its deregistration failed at the last step, so it may be closed while it is registered.
    refused: bool,
}

impl Watch {
    /// Returns whether there is something to report, and counts it as reported.
    fn look(&mut self, sim: &Sim, trigger: Trigger) -> Result<bool, Errno> {
        let (bits, wakes) =
            sim.with(|world| Ok::<_, Errno>((world.poll(self.file)?, world.wakes(self.file)?)))?;
        if trigger == Trigger::Edge && self.seen == Some(wakes) {
            return Ok(false);
        }
        self.seen = Some(wakes);
        Ok(bits.wakes_reader())
    }
}

impl Watches {
    fn add(&mut self, device: &SimDevice) -> Step {
        let file = device.file();
        device.poll().map_err(text)?;
        ensure(self.watched.iter().all(|watch| watch.file != file), || {
            "a device was registered twice".into()
        })?;
        self.registers += 1;
        self.watched.push(Watch {
            file,
            seen: None,
            refused: false,
        });
        Ok(())
    }

    fn remove(&mut self, device: &SimDevice, forgets: bool) -> Step {
        let file = device.file();
        device.poll().map_err(text)?;
        let place = self.watched.iter().position(|watch| watch.file == file);
        self.watched
            .remove(place.ok_or("a device was deregistered that is not registered")?);
        self.deregisters += 1;
        self.reported &= !forgets;
        Ok(())
    }

    fn refuse(&mut self, file: FileId) {
        for watch in self.watched.iter_mut().filter(|watch| watch.file == file) {
            watch.refused = true;
        }
    }

    /// Looks at every device, like a poll without a timeout, and keeps what it saw.
    fn poll(&mut self, sim: &Sim, trigger: Trigger) -> Step {
        for watch in &mut self.watched {
            let look = watch.look(sim, trigger);
            self.reported |= look.map_err(|_| "a device was closed while it was registered")?;
        }
        Ok(())
    }

    /// Forgets the devices that were closed although their deregistration failed at the last step. A later
    /// step may not close them so.
    pub(super) fn give_up(&mut self, open: Option<FileId>) {
        self.watched
            .retain(|watch| !watch.refused || Some(watch.file) == open);
        for watch in &mut self.watched {
            watch.refused = false;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }
}

impl Rig {
    /// The loop looks at its devices.
    pub(super) fn poll(&self) -> Step {
        self.state().watches.poll(&self.sim, self.setup.trigger)
    }

    /// Whether the loop has a reason for a round. If so, it must begin one.
    pub(super) fn is_reported(&self, awake: bool) -> Result<bool, String> {
        self.poll()?;
        let watches = &mut self.state().watches;
        let reported = std::mem::take(&mut watches.reported);
        let woken = std::mem::take(&mut watches.woken);
        Ok(reported
            || match self.setup.heeds {
                Heeds::Both => woken || awake,
                Heeds::Wakes => woken,
                Heeds::Timeouts => awake,
            })
    }

    /// Checks that a device is deregistered in a round only if it failed or is torn down.
    fn may_deregister(&self) -> Step {
        let state = self.state();
        let ends = state.breaks || state.inside.teardown > 0;
        ensure(ends || !state.inside.is_round(), || {
            "deregistered in the middle of a round".into()
        })
    }

    pub(super) fn is_readable(&self, file: FileId) -> bool {
        let bits = self.sim.with(|world| world.poll(file));
        bits.is_ok_and(PollBits::wakes_reader)
    }

    /// Runs a hook with its next quirk. A hook that is to fail does nothing.
    fn hook<T, E>(
        &self,
        point: Point,
        work: impl FnOnce() -> Result<T, E>,
        fail: impl FnOnce(&mut State) -> E,
    ) -> Result<T, E> {
        let nested = self.inside().hook > 0;
        self.note(ensure(!nested, || format!("{point:?} inside of a hook")));
        let _inside = self.enter(|inside| &mut inside.hook);
        let quirk = self.quirk(point);
        if let Quirk::Before(act) | Quirk::Refuse(act) = quirk {
            self.call_back(act);
        }
        match quirk {
            Quirk::Panic => {
                if !std::thread::panicking() {
                    // It has done nothing, like a hook that fails.
                    let _error = fail(&mut self.state());
                }
                self.panic(PlannedPanic::InHook);
            }
            Quirk::Fail | Quirk::Refuse(_) => {
                let mut state = self.state();
                state.seen.refused += 1;
                return Err(fail(&mut state));
            }
            Quirk::Before(_) | Quirk::After(_) | Quirk::Nothing => {}
        }
        let done = work()?;
        if let Quirk::After(act) = quirk {
            self.call_back(act);
        }
        Ok(done)
    }

    /// Wakes the loop. This hook may call back, and cannot fail.
    fn wake(&self) {
        let mut state = self.state();
        state.watches.woken = true;
        state.seen.wakes += 1;
        drop(state);
        let _inside = self.enter(|inside| &mut inside.wake);
        match self.quirk(Point::Wake) {
            Quirk::Panic => self.panic(PlannedPanic::InHook),
            Quirk::Before(act) | Quirk::After(act) | Quirk::Refuse(act) => {
                self.call_back(act);
                let mut state = self.state();
                state.unsettled_late |= state.unsettled;
            }
            Quirk::Fail | Quirk::Nothing => {}
        }
    }
}

impl Registrar for Looper {
    fn trigger(&self) -> Trigger {
        self.1
    }

    fn register(&self, device: &Device) -> Result<(), LoopError> {
        let rig = self.0.upgrade().ok_or_else(|| failed(Call::Register))?;
        let device = simulated(Call::Register, device)?;
        let work = || Ok(rig.state().watches.add(device));
        let done = rig.hook(Point::Register, work, |_| failed(Call::Register))?;
        rig.note(done);
        Ok(())
    }

    fn deregister(&self, device: &Device) -> Result<(), LoopError> {
        let rig = self.0.upgrade().ok_or_else(|| failed(Call::Deregister))?;
        let device = simulated(Call::Deregister, device)?;
        rig.note(rig.may_deregister());
        let work = || Ok(rig.state().watches.remove(device, rig.setup.forgets));
        let done = rig.hook(Point::Deregister, work, |state| {
            state.watches.refuse(device.file());
            failed(Call::Deregister)
        })?;
        rig.note(done);
        Ok(())
    }

    fn wake(&self) {
        if let Some(rig) = self.0.upgrade() {
            rig.wake();
        }
    }
}

impl Open for Opener {
    type Device = SimDevice;

    fn open(&self) -> Result<SimDevice, DeviceError> {
        let rig = self.0.upgrade().ok_or_else(open_failed)?;
        rig.note(ensure(rig.inside().bind > 0, || {
            "the device was opened without a bind".into()
        }));
        let _inside = rig.enter(|inside| &mut inside.open);
        rig.hook(Point::Open, || rig.opener.open(), |_| open_failed())
    }

    fn process(&self) -> u64 {
        0
    }
}

fn simulated(call: Call, device: &Device) -> Result<&SimDevice, LoopError> {
    device.downcast_ref().ok_or_else(|| failed(call))
}

fn failed(call: Call) -> LoopError {
    LoopError::new(own(call))
}

fn open_failed() -> DeviceError {
    DeviceError::new(ErrorKind::NoMemory, DeviceCall::Open).with_source(own(Call::Open))
}

/// The error that the simulator itself would return.
const fn own(call: Call) -> Error {
    Error {
        call,
        port: None,
        errno: Errno::ENOMEM,
    }
}
