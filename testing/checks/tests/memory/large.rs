//! Inputs that are larger than those of a fuzzer. Each repeats one thing.

use std::fmt::Write as _;

use evtchn_checks::{Input, Target};
use libtest_mimic::Trial;

/// How many ports a domain can have.
const PORTS: u32 = 131_071;
const MIB: usize = 1 << 20;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = traces()
        .into_iter()
        .flat_map(|(name, make)| {
            let replay = Trial::test(format!("large::{name}_as_replay"), move || {
                Ok(Input::new(Target::Replay, &make()).play()?)
            });
            let timeline = Trial::test(format!("large::{name}_as_timeline"), move || {
                Ok(Input::new(Target::Timeline, &make()).play()?)
            });
            [replay, timeline]
        })
        .collect();
    type MakeTable = fn() -> String;
    let tables: [(&str, MakeTable); 3] = [
        ("100,000_ports", || table("v1", 100_000, "")),
        ("every_port_of_a_domain", || table("v1", PORTS, "")),
        ("every_port_and_its_peer", || {
            let peers = ",5:17".repeat(PORTS as usize);
            table("v2", PORTS, &format!(";peers={}", &peers[1..]))
        }),
    ];
    trials.extend(tables.map(|(name, make)| {
        Trial::test(format!("large::a_table_of_{name}"), move || {
            Ok(Input::new(Target::HandOver, make().as_bytes()).play()?)
        })
    }));
    trials
}

/// A table of so many ports.
fn table(version: &str, ports: u32, sections: &str) -> String {
    let mut table = format!("{version}:-:1");
    for port in 2..=ports {
        write!(table, ",{port}").unwrap();
    }
    table + sections + "."
}

type Make = fn() -> Vec<u8>;

fn traces() -> Vec<(&'static str, Make)> {
    vec![
        ("calls", || {
            let lines = "{\"call\":\"next_timeout\"}\n{\"answer\":\"timeout\",\"zero\":false}\n";
            trace("sim", "", &lines.repeat(2 * MIB / lines.len()))
        }),
        ("lines_that_are_short", || {
            trace("sim", "", &"{\"seam\":\"wake\"}\n".repeat(2 * MIB / 16))
        }),
        ("steps_of_a_script", || {
            trace("script", "", &"{\"op\":\"serve\"}\n".repeat(MIB / 15))
        }),
        ("many_slots", || {
            let ops = [
                "{\"op\":\"many bind 0 65535 interdomain\"}\n",
                "{\"op\":\"many wait 0 65535\"}\n",
                "{\"op\":\"overflow\"}\n",
                "{\"op\":\"serve\"}\n",
            ];
            trace("script", ",\"slots\":65535", &ops.concat())
        }),
        ("as_many_slots_as_are_played", || {
            let ops = [
                "{\"op\":\"many bind 0 16384 interdomain\"}\n",
                "{\"op\":\"many wait 0 16384\"}\n",
                "{\"op\":\"serve\"}\n",
            ];
            trace("script", ",\"slots\":16384", &ops.concat())
        }),
        ("holders_of_the_device", || {
            let mut lines = String::new();
            for peer in 0..20_000 {
                writeln!(lines, "{{\"seam\":\"open\",\"peer\":{peer}}}").unwrap();
            }
            trace("sim", "", &lines)
        }),
        ("as_many_guests_and_holders_as_are_played", || {
            let mut lines = String::new();
            for one in 0..1024 {
                writeln!(lines, "{{\"seam\":\"open\",\"peer\":{one}}}").unwrap();
            }
            for domid in 1..=4096 {
                let create = "{\"guest\":\"create\",\"domid\":";
                writeln!(lines, "{create}{domid},\"max_port\":1023}}").unwrap();
            }
            trace("sim", "", &lines)
        }),
        ("ports_of_a_guest", || {
            let create = "{\"guest\":\"create\",\"domid\":1,\"max_port\":4294967295}\n";
            let line = "{\"guest\":\"alloc_unbound\",\"domid\":1,\"remote\":0,\"port\":1}\n";
            trace("sim", "", &(create.to_owned() + &line.repeat(20_000)))
        }),
        ("faults", || {
            let line = "{\"sim\":\"fault\",\"at\":\"notify\",\"errno\":5}\n";
            trace("sim", "", &line.repeat(MIB / line.len()))
        }),
        ("binds", binds),
        ("ports_that_are_adopted", adopted),
        ("domains", || {
            let mut lines = String::new();
            for domid in 1..0x7ff0 {
                let create = "{\"guest\":\"create\",\"domid\":";
                writeln!(lines, "{create}{domid},\"max_port\":1023}}").unwrap();
            }
            trace("sim", "", &lines)
        }),
        ("a_line_without_an_end", || vec![b' '; 6 * MIB]),
        ("a_second_line_without_an_end", || {
            let mut trace = trace("sim", "", "{\"call\":\"");
            trace.resize(6 * MIB, 0x7f);
            trace
        }),
        ("a_read_of_many_words", || {
            let words = ",1".repeat(2_000_000);
            let line = format!(
                "{{\"seam\":\"pending\",\"room\":64,\"got\":[{}]}}\n",
                &words[1..]
            );
            trace("sim", "", &line)
        }),
        ("a_field_of_many_values", || {
            let values = ",0".repeat(2_000_000);
            trace(
                "sim",
                "",
                &format!("{{\"call\":\"next\",\"x\":[{}]}}\n", &values[1..]),
            )
        }),
        ("many_fields", || {
            let mut line = "{\"call\":\"next\"".to_owned();
            for field in 0..400_000 {
                write!(line, ",\"{field}\":0").unwrap();
            }
            trace("sim", "", &(line + "}\n"))
        }),
        ("a_text_of_controls", || {
            let text = "\u{7f}".repeat(500_000);
            let failed = format!("{{\"kind\":\"other\",\"text\":\"{text}\"}}");
            trace(
                "sim",
                "",
                &format!("{{\"seam\":\"open\",\"failed\":{failed}}}\n"),
            )
        }),
        ("a_long_text", || {
            let text = "x".repeat(4_000_000);
            let failed = format!("{{\"kind\":\"other\",\"text\":\"{text}\"}}");
            trace(
                "sim",
                "",
                &format!("{{\"seam\":\"open\",\"failed\":{failed}}}\n"),
            )
        }),
        ("a_wrong_text", || {
            let text = "x".repeat(4_000_000);
            trace(
                "sim",
                "",
                &format!("{{\"call\":\"wait\",\"channel\":\"{text}\"}}\n"),
            )
        }),
        ("a_wrong_text_of_controls", || {
            let text = "\u{7f}".repeat(500_000);
            trace(
                "sim",
                "",
                &format!("{{\"call\":\"wait\",\"channel\":\"{text}\"}}\n"),
            )
        }),
        ("a_name_of_controls", || {
            let name = "\u{7f}".repeat(4_000_000);
            trace("sim", "", &format!("{{\"{name}\":0}}\n"))
        }),
        ("resets_of_many_ports", resets),
    ]
}

/// A trace without its last line, which is added later.
fn trace(source: &str, more: &str, lines: &str) -> Vec<u8> {
    let header = "{\"trace\":\"evtchn\",\"version\":3,\"source\":\"";
    format!("{header}{source}\",\"trigger\":\"level\"{more}}}\n{lines}").into_bytes()
}

fn binds() -> Vec<u8> {
    let mut lines = String::new();
    for (port, channel) in (1..9000).zip(0..) {
        writeln!(lines, "{{\"call\":\"bind_static\",\"port\":{port}}}").unwrap();
        if channel == 0 {
            lines.push_str("{\"seam\":\"open\"}\n");
        }
        writeln!(lines, "{{\"seam\":\"bind_static\",\"port\":{port}}}").unwrap();
        let answer = "{\"answer\":\"bound\",\"channel\":";
        writeln!(lines, "{answer}{channel},\"port\":{port}}}").unwrap();
    }
    trace("xen", "", &lines)
}

/// Every port of a domain, from another process.
fn adopted() -> Vec<u8> {
    let list = |numbers: std::ops::Range<u32>| {
        let numbers: Vec<_> = numbers.map(|number| number.to_string()).collect();
        numbers.join(",")
    };
    let (ports, channels) = (list(1..PORTS + 1), list(0..PORTS));
    let call = format!("{{\"call\":\"from_parts\",\"ports\":[{ports}]}}\n");
    let answer = format!("{{\"answer\":\"adopted\",\"channels\":[{channels}]}}\n");
    trace("sim", "", &(call + &answer))
}

/// A few lines, at each of which many ports change.
fn resets() -> Vec<u8> {
    let mut lines = String::new();
    for port in 1..=1000 {
        writeln!(lines, "{{\"seam\":\"bind_static\",\"port\":{port}}}").unwrap();
    }
    let turn = "{\"op\":\"many wait 0 1000\"}\n{\"seam\":\"reset\"}\n";
    lines.insert_str(0, "{\"op\":\"many bind 0 1000 unbound\"}\n");
    lines.push_str(&turn.repeat(300));
    trace("script", ",\"slots\":1000", &lines)
}
