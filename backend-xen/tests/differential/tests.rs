//! What runs without the device.

use std::fs;
use std::io;
use std::process::ExitCode;

use evtchn_sim::{Abi, Config, DomainConfig, Errno, Platform, abi};
use evtchn_xen::DEVICE_PATH;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::cases::cases;
use crate::defective::{Defect, Defective};
use crate::op::{Bind, Fd, Kind, Memory, Op, Request, Slot, Word, Words};
use crate::play::{Order, Player};
use crate::raw::Raw;
use crate::run::{Found, Run};
use crate::shrink::shrink;
use crate::sim::{Numbers, Simulated};

pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if !fs::exists(DEVICE_PATH).unwrap_or(true) {
        eprintln!(
            "differential: the device is not asked, there is none (run `cargo xtask xen --differential`)"
        );
    }
    let trials: Vec<Trial> = vec![
        Trial::test(
            "a_simulator_agrees_with_itself_and_every_case_occurs",
            || agrees_with_itself(Platform::LINUX_6_1_ON_XEN_4_17, Order::Exact),
        ),
        Trial::test("events_that_arrive_late_are_the_same_events", || {
            agrees_with_itself(Platform::LINUX_6_1_ON_XEN_4_17, Order::Drained)
        }),
        Trial::test(
            "a_simulator_with_static_channels_and_silo_agrees_with_itself",
            || agrees_with_itself(Platform::LINUX_6_12_ON_XEN_4_20_ARM64, Order::Exact),
        ),
        Trial::test("no_script_binds_another_number_statically", || {
            no_other_number()
        }),
        Trial::test(
            "a_machine_that_differs_is_noticed",
            differing_machine_is_noticed,
        ),
        Trial::test(
            "a_side_that_is_wrong_in_one_thing_is_noticed",
            wrong_side_is_noticed,
        ),
        Trial::test(
            "a_kernel_with_ports_of_its_own_leaves_the_same_numbers",
            furnished_leaves_the_same,
        ),
        Trial::test("a_difference_is_made_small", difference_is_made_small),
        Trial::test("a_script_keeps_what_is_needed", script_keeps_what_is_needed),
        Trial::test("cases_play_alike", cases_play_alike),
        Trial::test("same_seed_same_steps", same_seed_same_steps),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// As of a real dom0, with a gap.
fn numbers() -> Numbers {
    Numbers {
        free: vec![8, 14, 15],
        room: 1024,
    }
}

fn simulated() -> Simulated {
    Simulated::furnished(Config::seeded(7), &numbers()).unwrap()
}

fn with_dom0(change: impl FnOnce(&mut DomainConfig)) -> Simulated {
    let mut config = Config::seeded(7);
    change(&mut config.dom0);
    Simulated::furnished(config, &numbers()).unwrap()
}

/// With static channels where the pair knows them.
fn of_pair(pair: &Platform) -> Simulated {
    let mut side = Simulated::furnished(pair.config(7), &numbers()).unwrap();
    if pair.bind_static.value {
        side.make_static(3).unwrap();
    }
    side
}

fn run(pair: Platform, order: Order, operations: u64) -> Run {
    Run {
        operations,
        seed: 1,
        order,
        pair,
        ends_at_once: true,
    }
}

fn play(device: &mut dyn Raw, order: Order, operations: u64) -> Found {
    let run = run(Platform::LINUX_6_1_ON_XEN_4_17, order, operations);
    run.play(device, &mut simulated(), &mut io::sink())
}

fn agrees_with_itself(pair: Platform, order: Order) -> Result<(), Failed> {
    let mut device = match order {
        Order::Exact => of_pair(&pair),
        Order::Drained => of_pair(&pair).held(),
    };
    let found = run(pair, order, 50_000).play(&mut device, &mut of_pair(&pair), &mut io::sink());
    if let Some(first) = found.first {
        return Err(format!("{}: {:?}", first.difference, first.script).into());
    }
    let missing = found.tally.missing(order, &pair);
    match missing.is_empty() && found.tally.operations == 50_000 {
        true => Ok(()),
        false => Err(format!("too rare: {missing:?}\n{}", found.tally).into()),
    }
}

fn differing_machine_is_noticed() -> Result<(), Failed> {
    let machines: [(&str, Kind, Simulated); 3] = [
        (
            "static ports",
            Kind::BindStatic,
            with_dom0(|dom0| dom0.bind_static = true),
        ),
        (
            "no FIFO",
            Kind::Unbind,
            with_dom0(|dom0| dom0.abi = Abi::TwoLevel),
        ),
        (
            "few ports",
            Kind::BindUnbound,
            with_dom0(|dom0| dom0.max_port = 600),
        ),
    ];
    for (name, kind, mut machine) in machines {
        let found = play(&mut machine, Order::Exact, 20_000);
        let last = found
            .first
            .and_then(|first| first.script.last().map(Op::kind));
        // With few ports it is either bind, whichever comes first.
        let is_bind = last == Some(Kind::BindInterdomain) && kind == Kind::BindUnbound;
        if last != Some(kind) && !is_bind {
            return Err(format!("{name}: {last:?}").into());
        }
    }
    Ok(())
}

fn furnished_leaves_the_same() -> Result<(), Failed> {
    let numbers = Numbers {
        free: vec![8, 14, 15],
        room: 3072,
    };
    let mut side = Simulated::furnished(Config::seeded(7), &numbers).unwrap();
    side.open(0).unwrap();
    let mut ask = |code, word| side.ioctl(Fd(0, 0), code, [word, 0], Memory::There);
    let bound = [(); 5].map(|()| ask(abi::BIND_UNBOUND_PORT, 0));
    let virqs = [0, 2, 9, 16, 3].map(|virq| ask(abi::BIND_VIRQ, virq));
    let unbound = [3071, 3072].map(|port| ask(abi::UNBIND, port));
    let [eexist, enotconn, einval] =
        [Errno::EEXIST, Errno::ENOTCONN, Errno::EINVAL].map(Errno::raw);
    let expected = [Err(eexist), Err(eexist), Err(eexist), Err(eexist), Ok(18)];
    let right = bound == [8, 14, 15, 16, 17].map(Ok)
        && virqs == expected
        && unbound == [Err(enotconn), Err(einval)];
    match right {
        true => Ok(()),
        false => Err(format!("{bound:?} {virqs:?} {unbound:?}").into()),
    }
}

fn wrong_side_is_noticed() -> Result<(), Failed> {
    use Order::{Drained, Exact};
    for (order, defect, kinds) in [
        (Exact, Defect::Poll, [Kind::Notify, Kind::BindInterdomain]),
        (Exact, Defect::Edges, [Kind::Notify, Kind::BindInterdomain]),
        (Exact, Defect::Reads, [Kind::Read; 2]),
        (Exact, Defect::Loses, [Kind::Read; 2]),
        (Exact, Defect::Errno, [Kind::Unbind; 2]),
        (
            Drained,
            Defect::Loses,
            [Kind::Notify, Kind::BindInterdomain],
        ),
        (Drained, Defect::Errno, [Kind::Unbind; 2]),
    ] {
        let side = simulated();
        let found = play(&mut Defective { side, defect }, order, 20_000);
        let first = found
            .first
            .ok_or(format!("{defect:?} in {order:?} order"))?;
        let last = first.script.last().map(Op::kind);
        if !last.is_some_and(|last| kinds.contains(&last)) {
            return Err(format!("{defect:?}: {} in {:?}", first.difference, first.script).into());
        }
    }
    // What is read counts in any order where it arrives in any.
    let (side, defect) = (simulated(), Defect::Reads);
    let found = play(&mut Defective { side, defect }, Drained, 20_000);
    match found.differences {
        0 => Ok(()),
        _ => Err("the order of events was compared".into()),
    }
}

fn difference_is_made_small() -> Result<(), Failed> {
    let mut machine = with_dom0(|dom0| dom0.bind_static = true);
    let found = play(&mut machine, Order::Exact, 20_000);
    let script = found.first.ok_or("no difference")?.script;
    match script.as_slice() {
        [Op::Open(_), Op::Ioctl(..)] => Ok(()),
        _ => Err(format!("{script:?}").into()),
    }
}

/// The step that writes a 7 differs, where a file is open.
fn script_keeps_what_is_needed() -> Result<(), Failed> {
    let write = |words: &[u32], odd, memory| {
        let words = words.iter().copied().map(Word::Raw).collect();
        Op::Write(Fd(0, 0), Words(words), odd, memory)
    };
    let mut script = vec![Op::Open(0), Op::Dup(0)];
    script.extend((0..100).map(|word| write(&[word % 7], 0, Memory::There)));
    script.push(write(&[4, 5, 7, 5], 3, Memory::Cut(5)));
    script.push(Op::Read(Fd(1, 0), 64, Memory::Null));
    let seven = write(&[7], 0, Memory::There);
    let small = shrink(script, |script| {
        let has_seven =
            |op: &Op| matches!(op, Op::Write(_, words, ..) if words.0.contains(&Word::Raw(7)));
        let open = script.iter().position(|op| *op == Op::Open(0))?;
        script.iter().position(has_seven).filter(|at| *at > open)
    });
    match small == [Op::Open(0), seven] {
        true => Ok(()),
        false => Err(format!("{small:?}").into()),
    }
}

fn cases_play_alike() -> Result<(), Failed> {
    for (name, script) in cases() {
        let (mut one, mut other) = (simulated(), simulated());
        let player = Player::new(&mut one, &mut other, Order::Exact);
        let played = player.script(&script);
        played.map_err(|(_, difference)| format!("{name}: {difference}"))?;
    }
    Ok(())
}

/// A script that was made smaller, or a wrong one in `cases.rs`, does no harm either.
fn no_other_number() -> Result<(), Failed> {
    let pair = Platform::LINUX_6_12_ON_XEN_4_20;
    let (mut one, mut other) = (of_pair(&pair), of_pair(&pair));
    let mut player = Player::new(&mut one, &mut other, Order::Exact);
    let mut play = |op| player.step(&op).map(|seen| seen.is_some());
    let ends = |end| [Word::End(end), Word::Raw(0)];
    let bind = |file, words, memory| Op::Bind(Slot(0), Fd(file, 0), Bind::Static, words, memory);
    let ioctl = |memory| Op::Ioctl(Fd(0, 0), Request::BindStatic, [Word::Raw(100); 2], memory);
    let steps = [
        (Op::Open(0), true),
        (Op::Open(1), true),
        (bind(0, [Word::Raw(100); 2], Memory::There), false),
        (ioctl(Memory::There), false),
        (ioctl(Memory::Cut(4)), false),
        (ioctl(Memory::Cut(3)), true),
        (ioctl(Memory::Null), true),
        (bind(0, ends(6), Memory::There), false),
        (bind(0, ends(1), Memory::There), true),
        (bind(0, ends(1), Memory::There), true),
        (bind(1, ends(1), Memory::There), false),
        (Op::Close(Fd(0, 0)), true),
        (bind(1, ends(1), Memory::There), true),
    ];
    for (op, expected) in steps {
        let text = format!("{op:?}");
        let played = play(op).map_err(|difference| format!("{text}: {difference}"))?;
        if played != expected {
            return Err(format!("{text}: {played}").into());
        }
    }
    Ok(())
}

fn same_seed_same_steps() -> Result<(), Failed> {
    let steps = |seed| {
        let mut config = Config::seeded(7);
        config.dom0.bind_static = true;
        let run = Run {
            seed,
            ..run(Platform::LINUX_6_1_ON_XEN_4_17, Order::Exact, 2000)
        };
        let mut machine = Simulated::furnished(config, &numbers()).unwrap();
        let found = run.play(&mut machine, &mut simulated(), &mut io::sink());
        found.first.map(|first| (first.after, first.script))
    };
    match steps(3) == steps(3) && steps(3) != steps(4) {
        true => Ok(()),
        false => Err("the seed does not decide".into()),
    }
}
