//! The table of a hand-over, from any bytes and back, and adopted.

use evtchn_core::{
    Cause, Channel, Context, Device, DomId, EventChannel as _, HandOver, Open as _, Parts, Port,
};
use evtchn_sim::{Sim, SimLoop};

use crate::memory::within;

/// Reads the bytes as the text of a table, which must not panic. A table from a text of version 1 must
/// be written as the same text, and any table must be the same after it was written and read. Then
/// makes a table from the bytes themselves, for which the same must hold. A context adopts each table.
///
/// # Errors
/// What does not hold.
pub(crate) fn play_hand_over(bytes: &[u8]) -> Result<(), String> {
    within(bytes.len(), || from_text(bytes))?;
    within(bytes.len(), || from_numbers(bytes))
}

fn from_text(bytes: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(bytes);
    let read = text.parse::<HandOver>();
    if let Ok(table) = read {
        let written = table.to_string();
        if written != text && text.starts_with("v1:") {
            return Err(format!("{text:?} is read as {written:?}"));
        }
        survives(&table)?;
        adopt(table)?;
    }
    Ok(())
}

fn from_numbers(bytes: &[u8]) -> Result<(), String> {
    let words = bytes.as_chunks().0.iter().copied().map(u32::from_le_bytes);
    let ports = words.filter_map(Port::new).collect();
    let restriction = bytes.first_chunk().copied().map(u16::from_le_bytes);
    if let Ok(table) = HandOver::new(ports, restriction.map(DomId::new)) {
        survives(&table)?;
        adopt(table)?;
    }
    Ok(())
}

/// Creates a context from a table, whether it fits the device or not. Each channel must wake once and
/// accept any call. The context must hand over the same ports again, unless they are many or a check
/// found that some are closed. No open file may be left afterwards.
fn adopt(table: HandOver) -> Result<(), String> {
    let sim = Sim::new(0);
    let device = sim.open(DomId::DOM0).open();
    let device = device.map_err(|error| error.to_string())?;
    // Most tables have some of these ports.
    for _ in 0..4 {
        let bound = device.bind_unbound_port(DomId::SELF);
        bound.map_err(|error| error.to_string())?;
    }
    let ports = table.ports().len();
    let before = (ports <= FEW).then(|| table.clone());
    let device = Device::new(device);
    let (ctx, mut channels) = go_on(&sim, Parts { device, table });
    use_all(&ctx, &channels, ports)?;
    let handed_over = before.map(|before| (before, ctx.hand_over(&mut channels)));
    drop((ctx, channels));
    if let Some((before, Ok(parts))) = handed_over {
        let table = &parts.table;
        if (table.ports(), table.restriction()) != (before.ports(), before.restriction()) {
            return Err(format!("{before:?} is handed over as {table:?}"));
        }
        survives(table)?;
        drop(go_on(&sim, parts));
    }
    match sim.open_files() {
        0 => Ok(()),
        left => Err(format!("{left} open files are left")),
    }
}

/// More ports than these are neither checked nor handed over again. Both take memory for each port
/// beside what it takes to go on with the table.
const FEW: usize = 4096;

fn go_on(sim: &Sim, parts: Parts) -> (Context<SimLoop>, Vec<Channel<SimLoop>>) {
    Context::from_parts(parts, sim.backend(DomId::DOM0), SimLoop::level())
}

fn use_all(
    ctx: &Context<SimLoop>,
    channels: &[Channel<SimLoop>],
    ports: usize,
) -> Result<(), String> {
    let wait = |channel: &Channel<SimLoop>| channel.wait();
    let waits = channels.iter().try_for_each(wait);
    waits.map_err(|error| format!("a channel that was adopted cannot wait: {error}"))?;
    let round = ctx
        .dispatch_at_most(ports + 1)
        .map_err(|error| error.to_string())?;
    let adopted = round.filter(|wake| wake.cause == Cause::Adopted).count();
    if (channels.len(), adopted) != (ports, ports) {
        let channels = channels.len();
        return Err(format!(
            "{ports} ports are {channels} channels with {adopted} wakes"
        ));
    }
    for channel in channels {
        // The device refuses a port that is not bound.
        let _refused = (channel.notify(), channel.wait());
    }
    if ports <= FEW {
        let _refused = ctx.check_peers();
    }
    let _refused = ctx.dispatch().map(Iterator::count);
    Ok(())
}

/// Checks that the table is the same after it was written and read, and that an older program reads all
/// of it but the peers.
fn survives(table: &HandOver) -> Result<(), String> {
    let read = table.to_string().parse();
    if read.as_ref() != Ok(table) {
        return Err(format!("{table:?} is read as {read:?}"));
    }
    let old = table.to_v1().parse::<HandOver>();
    let v1 = HandOver::new(table.ports().to_vec(), table.restriction());
    if !table.to_v1().starts_with("v1:") || old != v1 {
        return Err(format!("{table:?} is {old:?} for an older program"));
    }
    Ok(())
}
