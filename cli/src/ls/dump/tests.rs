//! Lines as Xen's source prints them, and any others.

use proptest::prelude::*;

use super::*;

/// The parts of a line, as Xen has them.
#[derive(Debug, Clone)]
struct Printed {
    port: u32,
    pending: bool,
    masked: bool,
    queue: Option<Queue>,
    vcpu: u32,
    consumer: u32,
    state: Status,
    irq: Option<i32>,
    label: Option<String>,
}

impl Printed {
    /// The line of `domain_dump_evtchn_info`.
    fn line(&self) -> String {
        let Printed {
            port,
            vcpu,
            consumer,
            ..
        } = self;
        let queue = match self.queue {
            None => String::new(),
            Some(Queue::Unmapped) => "/?     ".to_owned(),
            Some(Queue::TwoLevel { selected }) => format!("/{}", u8::from(selected)),
            Some(Queue::Fifo { busy, next }) => {
                let busy = if busy { 'B' } else { ' ' };
                match next {
                    Some(next) => format!("/{busy} {next:<4}"),
                    None => format!("/{busy} -   "),
                }
            }
        };
        let (pending, masked) = (u8::from(self.pending), u8::from(self.masked));
        let (state, more) = match self.state {
            Status::Unbound { remote } => (2, format!(" d={}", remote.as_raw())),
            Status::Interdomain { remote } => {
                let RemotePort { domid, port } = remote;
                (3, format!(" d={} p={port}", domid.as_raw()))
            }
            Status::Pirq { pirq } => (4, format!(" p={pirq} i={}", self.irq.unwrap_or(0))),
            Status::Virq { virq } => (5, format!(" v={}", virq.as_raw())),
            Status::Ipi => (6, String::new()),
            Status::Closed | _ => (1, String::new()),
        };
        let label = self.label.as_ref().map(|label| format!(" Z={label}"));
        let label = label.unwrap_or_default();
        format!(
            "    {port:>4} [{pending}/{masked}{queue}]: s={state} n={vcpu} x={consumer}{more}{label}"
        )
    }

    fn entry(&self) -> Entry {
        let (state, vcpu) = (self.state, self.vcpu);
        Entry {
            status: Some(PortStatus { state, vcpu }),
            bits: Some(Bits {
                pending: self.pending,
                masked: self.masked,
                queue: self.queue,
                irq: self.irq,
                consumer: self.consumer,
                label: self.label.clone(),
                polling: false,
            }),
            verdict: None,
        }
    }
}

fn queue() -> impl Strategy<Value = Option<Queue>> {
    let fifo = (any::<bool>(), proptest::option::of(0..1_u32 << 17));
    prop_oneof![
        Just(None),
        Just(Some(Queue::Unmapped)),
        any::<bool>().prop_map(|selected| Some(Queue::TwoLevel { selected })),
        fifo.prop_map(|(busy, next)| Some(Queue::Fifo { busy, next })),
    ]
}

fn state() -> impl Strategy<Value = (Status, Option<i32>)> {
    let domid = any::<u16>().prop_map(DomId::new);
    let port = (1..=0x7fff_ffff_u32).prop_map(|raw| Port::new(raw).unwrap());
    let remote = (domid.clone(), port).prop_map(RemotePort::from);
    prop_oneof![
        Just((Status::Closed, None)),
        Just((Status::Ipi, None)),
        domid.prop_map(|remote| (Status::Unbound { remote }, None)),
        remote.prop_map(|remote| (Status::Interdomain { remote }, None)),
        (any::<u32>(), any::<i32>()).prop_map(|(pirq, irq)| (Status::Pirq { pirq }, Some(irq))),
        (0..24_u32).prop_map(|virq| {
            let virq = Virq::new(virq);
            (Status::Virq { virq }, None)
        }),
    ]
}

fn printed() -> impl Strategy<Value = Printed> {
    let bits = (any::<bool>(), any::<bool>(), queue());
    let label = proptest::option::of("[a-z_]{1,8}:[a-z_]{1,8}:[a-z_0-9]{1,8}");
    let numbers = (1..=0x7fff_ffff_u32, any::<u32>(), 0..8_u32);
    (bits, state(), numbers, label).prop_map(
        |(bits, (state, irq), (port, vcpu, consumer), label)| {
            let (pending, masked, queue) = bits;
            Printed {
                port,
                pending,
                masked,
                queue,
                vcpu,
                consumer,
                state,
                irq,
                label,
            }
        },
    )
}

/// What stands before a line in a console, in a log, and in a mail.
const BEFORE: [&str; 7] = [
    "",
    "(XEN) ",
    "(XEN) [2026-11-30 20:21:05] ",
    "(XEN) [2026-11-30 20:21:05.042] ",
    "(XEN) [   12.345678] ",
    "Nov 30 20:21:05 host xen[812]: (XEN) [0000001f3a5b7c9d] ",
    "> > (XEN) ",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_line_of_a_port_is_read_as_xen_printed_it(
        printed in printed(),
        before in proptest::sample::select(&BEFORE[..]),
    ) {
        let line = format!("{before}{}", printed.line());
        let text = format!("Event channel information for domain 7:\n{line}\n");
        let Dumps { dumps, unreadable } = Dumps::parse(&text);
        prop_assert_eq!(unreadable, 0);
        let place = (DomId::new(7), Port::new(printed.port).unwrap());
        prop_assert_eq!(dumps[0].ports.get(&place), Some(&printed.entry()), "{}", line);
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _dumps = Dumps::parse(&text);
    }

    #[test]
    fn no_damaged_dump_makes_it_panic(
        lines in proptest::collection::vec(printed(), 1..5),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<char>()), 0..9),
    ) {
        let mut text = "(XEN) Event channel information for domain 0:\n".to_owned();
        text += "(XEN) Polling vCPUs: {0-3}\n";
        for printed in &lines {
            text += &format!("(XEN) {}\n", printed.line());
        }
        let mut letters: Vec<char> = text.chars().collect();
        for (place, letter) in damage {
            let place = place.index(letters.len());
            letters[place] = letter;
        }
        let text: String = letters.into_iter().collect();
        let Dumps { dumps, unreadable } = Dumps::parse(&text);
        let read: usize = dumps.iter().map(|dump| dump.ports.len()).sum();
        prop_assert!(read + unreadable <= lines.len() + 9, "{}", text);
    }
}

#[test]
fn a_port_says_whether_its_vcpu_polls() {
    for (list, vcpu, polls) in [
        ("", 0, false),
        ("0", 0, true),
        ("1-2,5", 0, false),
        ("1-2,5", 2, true),
        ("1-2,5", 5, true),
        ("5-1,x", 3, false),
    ] {
        let text = format!(
            "Event channel information for domain 0:\nPolling vCPUs: {{{list}}}\n   \
             1 [0/0/  -   ]: s=6 n={vcpu} x=0\n"
        );
        let dumps = Dumps::parse(&text).dumps;
        let bits = dumps[0].ports.values().next().unwrap().bits.as_ref();
        assert_eq!(bits.unwrap().polling, polls, "{list} {vcpu}");
    }
}

#[test]
fn what_is_no_port_of_xen_is_unreadable() {
    for fields in [
        "   0 [0/0/  -   ]: s=3 n=0 x=0 d=0 p=20",
        "  19 [2/0/  -   ]: s=3 n=0 x=0 d=0 p=20",
        "  19 [0/0/  x   ]: s=3 n=0 x=0 d=0 p=20",
        "  19 [0/0/  -   ]: s=3 n=0 x=0 d=0",
        "  19 [0/0/  -   ]: s=3 n=0 x=0 d=0 p=0",
        "  19 [0/0/  -   ]: s=3 n=0 x=0 d=99999 p=1",
        "  19 [0/0/  -   ]: s=9 n=0 x=0",
        "  19 [0/0/  -   ]: s=6 x=0",
        "  19 [0/0/  -   ]: s=6 n=0 broken",
        "  x [0/0/  -   ]: s=6 n=0 x=0",
        "  1\u{a1} [0/0/  -   ]: s=6 n=0 x=0",
        "  99999999999 [0/0/  -   ]: s=6 n=0 x=0",
    ] {
        let text = format!("Event channel information for domain 0:\n{fields}\n");
        let Dumps { dumps, unreadable } = Dumps::parse(&text);
        assert_eq!((dumps[0].ports.len(), unreadable), (0, 1), "{fields}");
    }
}

#[test]
fn a_domain_that_comes_again_begins_another_dump() {
    let port = "   1 [0/0/  -   ]: s=6 n=0 x=0\n";
    let domain = |id| format!("Event channel information for domain {id}:\n{port}");
    let count = |text: &str| Dumps::parse(text).dumps.len();
    assert_eq!(count(""), 0);
    assert_eq!(count(&(domain(0) + &domain(1))), 1);
    assert_eq!(count(&(domain(0) + &domain(1) + &domain(0))), 2);
    let key = "(XEN) 'e' pressed -> dumping event-channel info\n";
    assert_eq!(count(&format!("{key}{}{key}{}", domain(0), domain(1))), 2);
    // A log that begins in the middle of a dump.
    let dumps = Dumps::parse(&format!("{port}{port}{}", domain(3)));
    assert_eq!((dumps.dumps.len(), dumps.unreadable), (1, 2));
}
