//! Starts the processes, leads them through the laps, kills some, and compares what is left after
//! each lap with what there was before.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::board::{Board, Moment, PROCESSES, Phase, THREADS, Tally, Waiting};
use crate::place::Doing;
use crate::random::Random;

/// The processes, whatever they are.
pub(crate) trait Group {
    fn start(&mut self, process: usize) -> Result<()>;

    /// Ends a process at once, whatever it is doing, and returns when it is gone.
    fn kill(&mut self, process: usize) -> Result<()>;

    /// # Errors
    /// One has ended that should not have.
    fn check(&mut self) -> Result<()>;

    /// Waits for the end of all of them.
    fn join(&mut self) -> Result<()>;

    /// How many ports all of them have bound.
    fn bound(&self) -> Result<usize>;
}

/// How long a run is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Length {
    Laps(u64),
    Time(Duration),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) length: Length,
    /// Operations of a lap.
    pub(crate) lap: u64,
    pub(crate) patience: Duration,
}

/// What a process takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taken {
    heap: u64,
    resident: u64,
    descriptors: u64,
}

/// The laps of one process since it was started.
#[derive(Debug, Clone, Copy, Default)]
struct Life {
    laps: u64,
    first: Option<Taken>,
    last: Option<Taken>,
}

/// How far each thread of a process is, and since when.
#[derive(Debug, Clone, Copy)]
struct Pulse {
    beats: [u64; THREADS],
    waiting: [Waiting; THREADS],
}

pub(crate) struct Supervisor<'c, C: Group> {
    board: &'static Board,
    group: &'c mut C,
    plan: Plan,
    random: Random,
    began: Instant,
    minutes: u64,
    laps: u64,
    killed: u64,
    lives: [Life; PROCESSES],
    pulses: [Pulse; PROCESSES],
    bound_at_end: usize,
}

impl<'c, C: Group> Supervisor<'c, C> {
    pub(crate) fn new(board: &'static Board, group: &'c mut C, plan: Plan) -> Self {
        let now = Instant::now();
        let pulse = Pulse {
            beats: [0; THREADS],
            waiting: [board.waiting(); THREADS],
        };
        Supervisor {
            board,
            group,
            plan,
            random: Random::new(plan.seed, usize::MAX >> 1),
            began: now,
            minutes: 0,
            laps: 0,
            killed: 0,
            lives: [Life::default(); PROCESSES],
            pulses: [pulse; PROCESSES],
            bound_at_end: 0,
        }
    }

    /// Runs it to the end. Calls `say` with the progress, each minute and after a failure.
    ///
    /// # Errors
    /// Something that must not be.
    pub(crate) fn run(&mut self, say: impl Fn(&str)) -> Result<()> {
        let led = self.lead(&say);
        if led.is_err() {
            self.board.fail();
            for (number, process) in self.board.processes.iter().enumerate() {
                let (doing, steps) = (Doing::of(process), &process.progress);
                say(&format!(
                    "process {number}: server is {doing:?}, steps of the threads {steps:?}"
                ));
            }
        }
        led
    }

    fn lead(&mut self, say: &impl Fn(&str)) -> Result<()> {
        let before = self.group.bound()?;
        ensure!(before == 0, "{before} ports are bound before the start");
        for process in 0..PROCESSES {
            self.group.start(process)?;
        }
        while !self.is_over() {
            self.lap(say)?;
        }
        self.board.go_on(Phase::End);
        self.group.join()?;
        self.bound_at_end = self.group.bound()?;
        self.expect_all_was_done()
    }

    fn is_over(&self) -> bool {
        match self.plan.length {
            Length::Laps(laps) => self.laps >= laps,
            Length::Time(time) => self.began.elapsed() >= time,
        }
    }

    fn operations(&self) -> u64 {
        self.board.sum(|it| &it.operations)
    }

    fn lap(&mut self, say: &impl Fn(&str)) -> Result<()> {
        let start = self.operations();
        let end = start + self.plan.lap;
        // Process 0 lives through all laps.
        let victim = 1 + self.random.below(PROCESSES - 1);
        let is_deadly = self.laps % 3 == 1;
        let moment = self.random.below(usize::try_from(self.plan.lap)?);
        let mut doom = is_deadly.then_some(start + moment as u64 / 2);
        self.rest();
        while self.operations() < end {
            self.board.watch();
            self.look()?;
            self.expect_pulse()?;
            let is_due = doom.is_some_and(|doom| self.operations() >= doom);
            if is_due && self.board.processes[victim].is_up() {
                doom = None;
                self.kill(victim)?;
            }
            if self.began.elapsed() >= Duration::from_secs(60 * (self.minutes + 1)) {
                self.minutes += 1;
                say(&format!("minute {}: {}", self.minutes, self.so_far()));
            }
        }
        for phase in [Phase::Drain, Phase::Close, Phase::Measure] {
            let moment = self.board.go_on(phase);
            self.await_all(moment)?;
            if phase == Phase::Close {
                let bound = self.group.bound()?;
                ensure!(bound == 0, "{bound} ports are still bound after a lap");
            }
        }
        for process in 0..PROCESSES {
            self.weigh(process)?;
        }
        self.laps += 1;
        if !self.is_over() {
            self.board.go_on(Phase::Run);
        }
        Ok(())
    }

    /// # Errors
    /// A process has failed or ended.
    fn look(&mut self) -> Result<()> {
        self.group.check()?;
        ensure!(!self.board.has_failed(), "a process found a fault");
        Ok(())
    }

    fn kill(&mut self, process: usize) -> Result<()> {
        self.board.shut(process);
        self.group.kill(process)?;
        self.killed += 1;
        self.lives[process] = Life::default();
        self.group.start(process)?;
        self.rest();
        Ok(())
    }

    /// Restarts the clocks by which progress is judged.
    fn rest(&mut self) {
        for pulse in &mut self.pulses {
            pulse.waiting = [self.board.waiting(); THREADS];
        }
    }

    /// The threads notice first that they make no progress, and know more.
    fn patience(&self) -> Duration {
        self.plan.patience + self.plan.patience / 5
    }

    /// Fails unless every thread makes progress.
    fn expect_pulse(&mut self) -> Result<()> {
        let patience = self.patience();
        for (process, pulse) in self.pulses.iter_mut().enumerate() {
            for thread in 0..THREADS {
                let beats = self.board.processes[process].progress[thread].load(Ordering::SeqCst);
                if beats != pulse.beats[thread] {
                    pulse.beats[thread] = beats;
                    pulse.waiting[thread] = self.board.waiting();
                }
                ensure!(
                    !pulse.waiting[thread].is_over(self.board, patience),
                    "thread {thread} of process {process} hangs after {beats} steps"
                );
            }
        }
        Ok(())
    }

    fn await_all(&mut self, moment: Moment) -> Result<()> {
        let waiting = self.board.waiting();
        for process in 0..PROCESSES {
            while !self.board.processes[process].is_done(moment) {
                self.board.watch();
                self.look()?;
                ensure!(
                    !waiting.is_over(self.board, self.patience()),
                    "process {process} hangs in {:?}",
                    moment.phase()
                );
            }
        }
        Ok(())
    }

    /// Compares what a process takes now with what it took after its second lap.
    fn weigh(&mut self, process: usize) -> Result<()> {
        const HEAP: u64 = 16 << 10;
        const RESIDENT: u64 = 4 << 20;
        let vitals = &self.board.processes[process].vitals;
        let [heap, resident, descriptors] = [&vitals.heap, &vitals.resident, &vitals.descriptors]
            .map(|it| it.load(Ordering::SeqCst));
        let now = Taken {
            heap,
            resident,
            descriptors,
        };
        let life = &mut self.lives[process];
        life.laps += 1;
        life.last = Some(now);
        if life.laps < 2 {
            return Ok(());
        }
        let first = *life.first.get_or_insert(now);
        let fits = now.heap <= first.heap + HEAP
            && now.resident <= first.resident + RESIDENT
            && now.descriptors == first.descriptors;
        ensure!(fits, "process {process} has grown: {first}, now {now}");
        Ok(())
    }

    /// Fails unless all happened that a soak is for, and nothing else did.
    fn expect_all_was_done(&self) -> Result<()> {
        ensure!(
            self.bound_at_end == 0,
            "{} ports are bound",
            self.bound_at_end
        );
        let sums = |count: fn(&Tally) -> &_| self.board.sum(count);
        let strange = sums(|it| &it.abandoned) + sums(|it| &it.refused);
        ensure!(
            self.killed > 0 || strange == 0,
            "links failed and no process was killed: {}",
            self.so_far()
        );
        for (what, many) in [
            ("overflow", sums(|it| &it.overflows)),
            ("fork", sums(|it| &it.forks)),
            ("kill", self.killed),
        ] {
            if many == 0 {
                bail!("there was no {what}: {}", self.so_far());
            }
        }
        Ok(())
    }

    fn so_far(&self) -> String {
        let sum = |count: fn(&Tally) -> &_| self.board.sum(count);
        format!(
            "{} operations, {} wakes, {} binds, {} unbinds, {} notifies, {} overflows survived, \
             {} forks, {} processes killed and restarted, {} links abandoned, {} binds refused, \
             {} laps",
            sum(|it| &it.operations),
            sum(|it| &it.wakes),
            sum(|it| &it.binds),
            sum(|it| &it.unbinds),
            sum(|it| &it.notifies),
            sum(|it| &it.overflows),
            sum(|it| &it.forks),
            self.killed,
            sum(|it| &it.abandoned),
            sum(|it| &it.refused),
            self.laps,
        )
    }
}

impl<C: Group> fmt::Display for Supervisor<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.so_far())?;
        for (process, life) in self.lives.iter().enumerate() {
            write!(f, "process {process}, {} laps", life.laps)?;
            if let Some(first) = life.first {
                write!(f, "; after the second {first}")?;
            }
            if let Some(last) = life.last {
                write!(f, "; at the end {last}")?;
            }
            writeln!(f)?;
        }
        write!(f, "{} ports bound at the end", self.bound_at_end)
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes of heap, {} KiB resident, {} descriptors",
            self.heap,
            self.resident >> 10,
            self.descriptors
        )
    }
}
