//! The calls that the program made on its context, and their answers.

use crate::{Answer, Call};
use evtchn_core::machine::link::LinkInput;
use evtchn_core::machine::port::{Cause, PortEffect, PortInput, PortState};

use super::super::lanes::Kind;
use super::Driver;

/// The answer to a block that another thread cancelled, which is not a fault.
const CANCELLED: &str = "cancelled";

impl Driver<'_> {
    pub(super) fn call(&mut self, thread: u32, call: &Call) {
        if let Call::Wait { channel } | Call::WaitEach { channel } = call {
            if let Some(port) = self.port(*channel) {
                self.wait(port);
                if matches!(call, Call::WaitEach { .. }) {
                    self.waits_each.insert(port);
                }
            }
        }
        if let Call::Block { channel, .. } | Call::Woken { channel } = call {
            if let Some(port) = self.port(*channel) {
                self.step(port, PortInput::Wait);
            }
        }
        self.calls.insert(thread, call.clone());
    }

    pub(super) fn answer(&mut self, thread: u32, answer: &Answer) {
        let Some(call) = self.calls.remove(&thread) else {
            return;
        };
        match (&call, answer) {
            (
                Call::Wait { channel }
                | Call::WaitEach { channel }
                | Call::Woken { channel }
                | Call::Block { channel, .. },
                answer,
            ) => {
                self.waited(*channel, answer);
            }
            (Call::Cancel { channel }, Answer::Cancelled { .. }) => {
                if let Some(port) = self.port(*channel) {
                    self.step(port, PortInput::Cancel);
                    self.waits_each.remove(&port);
                }
            }
            (Call::DropWoken { channel }, _) => {
                if let Some(port) = self.port(*channel) {
                    self.step(port, PortInput::Cancel);
                }
            }
            (_, Answer::Bound { channel, port }) => {
                self.add_channel(*channel, port.as_raw());
            }
            (_, Answer::Wake { channel, cause }) => {
                if let Some(port) = self.port(*channel) {
                    self.wake(port, cause.0);
                }
            }
            (_, Answer::Calls { channel, cause }) => {
                if let Some(port) = self.port(*channel) {
                    self.wake(port, cause.0);
                }
            }
            (Call::HandOver { .. }, Answer::Done) => {
                // The remote ends stay known: their later events go to the process that takes over.
                for port in self.bound() {
                    self.end_channel(port, Kind::Unbind, "handed over");
                }
                self.apply_link_input(LinkInput::Unwanted);
                self.apply_link_input(LinkInput::Close);
            }
            (Call::FromParts { ports, .. }, Answer::Adopted { channels }) => {
                self.apply_link_input(LinkInput::Bind);
                for (port, channel) in ports.iter().zip(channels) {
                    let port = port.as_raw();
                    self.add_channel(*channel, port);
                    self.bind(port, "", "adopted");
                    self.set_state(port, PortState::Latched(Cause::Adopted));
                }
            }
            (_, Answer::Wakes { wakes }) => {
                for (channel, cause) in wakes {
                    let Some(port) = self.port(*channel) else {
                        continue;
                    };
                    self.wake(port, cause.0);
                }
            }
            (Call::Next, Answer::Nothing)
            | (
                Call::Finish
                | Call::Leave
                | Call::Call
                | Call::DispatchCallbacks
                | Call::Return { .. },
                _,
            ) => {
                self.handle_unread();
            }
            _ => {}
        }
        if let Answer::Failed {
            step, failed: None, ..
        } = answer
        {
            if step != CANCELLED {
                self.program_call_failed(&call, &step.to_string());
            }
        }
    }

    /// Stores the port of a channel, if the channel is new.
    fn add_channel(&mut self, channel: u32, port: u32) {
        if channel as usize == self.channels.len() {
            self.channels.push(port);
        }
    }

    /// A call failed in this step, without a failed backend call that shows the cause.
    fn program_call_failed(&mut self, call: &Call, step: &str) {
        let port = match call {
            Call::Wait { channel }
            | Call::WaitEach { channel }
            | Call::Block { channel, .. }
            | Call::Woken { channel }
            | Call::DropWoken { channel }
            | Call::Cancel { channel }
            | Call::Notify { channel }
            | Call::SetCallback { channel }
            | Call::RemoveCallback { channel } => self.port(*channel),
            Call::BindUnboundPort { .. }
            | Call::BindInterdomain { .. }
            | Call::BindVirq { .. }
            | Call::BindStatic { .. }
            | Call::Restrict { .. }
            | Call::NotifyMany { .. }
            | Call::Unbind { .. }
            | Call::DropChannel { .. }
            | Call::NextTimeout
            | Call::Begin { .. }
            | Call::Next
            | Call::Fill { .. }
            | Call::Finish
            | Call::Leave
            | Call::DispatchCallbacks
            | Call::Return { .. }
            | Call::HandOver { .. }
            | Call::FromParts { .. }
            | Call::Teardown
            | Call::Call
            | Call::CheckPeers
            | Call::DropContext
            | Call::Other { .. } => None,
        };
        let what = format!("{} failed: {step}", name(call));
        self.mark(port, Kind::Fault, &what);
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "other answers add nothing to the table"
    )]
    fn waited(&mut self, channel: u32, answer: &Answer) {
        let Some(port) = self.port(channel) else {
            return;
        };
        match answer {
            Answer::Woken { cause } => {
                self.set_state(port, PortState::Latched(cause.0).step(PortInput::Wait).0);
                self.woke(port, cause.0);
            }
            Answer::Done | Answer::Pending
                if !self.state(port).is_some_and(PortState::is_waited) =>
            {
                self.set_state(port, PortState::Waiting);
            }
            Answer::TimedOut => {
                self.step(port, PortInput::Cancel);
            }
            Answer::Failed { step, .. } if step != "already_waited" => {
                self.step(port, PortInput::Cancel);
            }
            _ => {}
        }
    }

    /// A wait for a wake in a round: a latched wake is queued for it.
    pub(super) fn wait(&mut self, port: u32) {
        if self.step(port, PortInput::Queue) == PortEffect::Nothing {
            self.step(port, PortInput::Wait);
        }
    }

    fn port(&self, channel: u32) -> Option<u32> {
        self.channels.get(channel as usize).copied()
    }
}

fn name(call: &Call) -> &str {
    match call {
        Call::BindUnboundPort { .. }
        | Call::BindInterdomain { .. }
        | Call::BindVirq { .. }
        | Call::BindStatic { .. } => "bind",
        Call::Restrict { .. } => "restrict",
        Call::Wait { .. } => "wait",
        Call::WaitEach { .. } => "wait_each",
        Call::Cancel { .. } => "cancel",
        Call::Notify { .. } => "notify",
        Call::NotifyMany { .. } => "notify_many",
        Call::Unbind { .. } => "unbind",
        Call::DropChannel { .. } => "drop",
        Call::NextTimeout => "next_timeout",
        Call::Begin { .. } => "dispatch",
        Call::Next => "next",
        Call::Fill { .. } => "fill",
        Call::Finish | Call::Leave => "end of the round",
        Call::SetCallback { .. } => "set_callback",
        Call::RemoveCallback { .. } => "remove_callback",
        Call::Call => "call",
        Call::DispatchCallbacks | Call::Return { .. } => "dispatch_callbacks",
        Call::Block { .. } => "block",
        Call::Woken { .. } | Call::DropWoken { .. } => "woken",
        Call::HandOver { .. } => "hand_over",
        Call::FromParts { .. } => "from_parts",
        Call::CheckPeers => "check_peers",
        Call::Teardown => "teardown",
        Call::DropContext => "drop",
        Call::Other { what } => what,
    }
}
