//! What there is to list on the simulator: a toolstack in domain 0 and its guests, whose channels
//! come and go one call at a time. The seed decides whose turn it is.
//!
//! At first the toolstack allocates a port for each guest, which binds to it. Once all are
//! connected, each guest closes its end or dies, and the toolstack unbinds.

use anyhow::Result;
use evtchn::sim::{Choice, Sim, SimDevice, SimPrivcmd};
use evtchn::{DomId, EventChannel, Open, Port};

/// How far a guest is.
#[derive(Debug, Clone, Copy)]
enum Life {
    Young,
    Offered { ours: Port },
    Connected { ours: Port, theirs: Port },
    Left { ours: Port },
    Over,
}

/// The machine, and how far each guest is.
#[derive(Debug)]
pub(super) struct Story {
    sim: Sim,
    toolstack: SimDevice,
    choice: Choice,
    guests: Vec<(DomId, Life)>,
}

impl Story {
    /// The guests exist and have no ports yet.
    ///
    /// # Errors
    /// Those of the machine.
    pub(super) fn begin(seed: u64, guests: u16) -> Result<Story> {
        let sim = Sim::new(seed);
        let guests = (0..guests).map(|_| Ok((sim.create_domain()?, Life::Young)));
        Ok(Story {
            guests: guests.collect::<Result<_>>()?,
            toolstack: sim.open(DomId::DOM0).open()?,
            choice: Choice::seeded(seed),
            sim,
        })
    }

    /// What the toolstack asks.
    pub(super) fn privcmd(&self) -> SimPrivcmd {
        self.sim.privcmd(DomId::DOM0)
    }

    /// Lets the next thing happen. False where the story is over.
    ///
    /// # Errors
    /// Those of the machine.
    pub(super) fn step(&mut self) -> Result<bool> {
        let which = |is_at: fn(&Life) -> bool| -> Vec<usize> {
            let guests = self.guests.iter().enumerate();
            let those = guests.filter(|(_, (_, life))| is_at(life));
            those.map(|(index, _)| index).collect()
        };
        let mut turns = which(|life| matches!(life, Life::Young | Life::Offered { .. }));
        if turns.is_empty() {
            turns = which(|life| matches!(life, Life::Connected { .. } | Life::Left { .. }));
        }
        if turns.is_empty() {
            return Ok(false);
        }
        let turn = turns[self.choice.of(turns.len())];
        let (domid, life) = self.guests[turn];
        self.guests[turn].1 = self.next(domid, life)?;
        Ok(true)
    }

    /// What becomes of a guest at its turn.
    fn next(&mut self, domid: DomId, life: Life) -> Result<Life> {
        let guest = self.sim.guest(domid);
        Ok(match life {
            Life::Young => {
                let ours = self.toolstack.bind_unbound_port(domid)?;
                Life::Offered { ours }
            }
            Life::Offered { ours } => {
                let theirs = guest.bind_interdomain(DomId::DOM0, ours)?;
                Life::Connected { ours, theirs }
            }
            Life::Connected { ours, theirs } => {
                match self.choice.of(2) {
                    0 => guest.close(theirs)?,
                    _ => self.sim.destroy_domain(domid)?,
                }
                Life::Left { ours }
            }
            Life::Left { ours } => {
                self.toolstack.unbind(ours)?;
                Life::Over
            }
            Life::Over => Life::Over,
        })
    }
}
