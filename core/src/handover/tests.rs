use alloc::string::ToString;

use super::*;

#[test]
fn a_table_has_what_it_was_made_of() {
    let ports = vec![Port::new(131_071).unwrap(), Port::new(3).unwrap()];
    let table = HandOver::new(ports.clone(), Some(DomId::new(7))).unwrap();
    assert_eq!(table.ports(), ports);
    assert_eq!(table.restriction(), Some(DomId::new(7)));
}

#[test]
fn what_is_written_is_read() {
    let texts = [
        "v1:-:.",
        "v1:0:1.",
        "v1:65535:131071,1.",
        "v2:-:1;peers=+.",
        "v2:7:3,1,2;peers=-,32752:9,65535:2147483647.",
    ];
    for text in texts {
        assert_eq!(text.parse::<HandOver>().unwrap().to_string(), text);
    }
}

#[test]
fn what_is_not_written_so_is_an_error() {
    use BadHandOver as Bad;
    let cases = [
        ("", Bad::Version),
        ("v3:-:1.", Bad::Version),
        ("v1", Bad::Version),
        (" v1:-:1.", Bad::Version),
        ("v1:", Bad::Incomplete),
        ("v1:-.", Bad::Incomplete),
        ("v1:-:12", Bad::Incomplete),
        ("v1:-:1.\n", Bad::Incomplete),
        ("v1::1.", Bad::Restriction(BadId::Unreadable)),
        ("v1:self:1.", Bad::Restriction(BadId::Unreadable)),
        ("v1:65536:1.", Bad::Restriction(BadId::DomIdTooLarge(65536))),
        ("v1:-:1,.", Bad::Port(BadId::Unreadable)),
        ("v1:-:+1.", Bad::Port(BadId::Unreadable)),
        ("v1:-:01.", Bad::Port(BadId::Unreadable)),
        ("v1:-:0.", Bad::Port(BadId::PortZero)),
        (
            "v1:-:2147483648.",
            Bad::Port(BadId::PortTooLarge(0x8000_0000)),
        ),
        ("v1:-:4294967296.", Bad::Port(BadId::Unreadable)),
        ("v1:-:7,7.", Bad::Twice(Port::new(7).unwrap())),
        ("v1:-:131072.", Bad::TooLarge(Port::new(131_072).unwrap())),
        ("v1:-:2147483647.", Bad::TooLarge(Port::MAX)),
        ("v1:-:1;peers=+.", Bad::Port(BadId::Unreadable)),
        ("v2:-:1;.", Bad::Section),
        ("v2:-:1;=.", Bad::Section),
        ("v2:-:1;peers.", Bad::Section),
        ("v2:-:1;later=a.b.", Bad::Section),
        ("v2:-:1;peers=.", Bad::Peers),
        ("v2:-:1;peers=+,+.", Bad::Peers),
        ("v2:-:;peers=+.", Bad::Peers),
        ("v2:-:1;peers=+;peers=+.", Bad::Peers),
        ("v2:-:1;peers=?.", Bad::Peer(BadId::Unreadable)),
        ("v2:-:1;peers=7.", Bad::Peer(BadId::Unreadable)),
        ("v2:-:1;peers=07:1.", Bad::Peer(BadId::Unreadable)),
        ("v2:-:1;peers=7:0.", Bad::Peer(BadId::PortZero)),
        (
            "v2:-:1;peers=65536:1.",
            Bad::Peer(BadId::DomIdTooLarge(65536)),
        ),
    ];
    for (text, error) in cases {
        assert_eq!(text.parse::<HandOver>(), Err(error), "{text:?}");
    }
}

#[test]
fn text_that_was_cut_anywhere_is_an_error() {
    for text in ["v1:5:3,14,159.", "v2:5:3,14;peers=7:12,+;later=1."] {
        for end in 0..text.len() {
            text[..end].parse::<HandOver>().unwrap_err();
        }
    }
}

#[test]
fn a_table_of_version_1_is_read_as_ever_and_knows_nothing_of_peers() {
    let table: HandOver = "v1:5:3,4,9.".parse().unwrap();
    let ports = [3, 4, 9].map(|raw| Port::new(raw).unwrap());
    assert_eq!(table.restriction(), Some(DomId::new(5)));
    assert!(table.known().eq(ports.map(|port| (port, Peer::Unknown))));
    assert_eq!(
        table,
        HandOver::new(ports.to_vec(), Some(DomId::new(5))).unwrap()
    );
}

#[test]
fn what_is_known_of_each_peer_survives_its_text() {
    let remote = RemotePort {
        domid: DomId::new(5),
        port: Port::new(17).unwrap(),
    };
    let peers = [Peer::Seen(remote), Peer::HadEvent, Peer::Unknown];
    let ports = [3, 4, 9].map(|raw| Port::new(raw).unwrap());
    let known: Vec<_> = ports.into_iter().zip(peers).collect();
    let table = HandOver::of(known.clone(), None).unwrap();
    assert_eq!(table.to_string(), "v2:-:3,4,9;peers=5:17,+,-.");
    let read: HandOver = table.to_string().parse().unwrap();
    assert_eq!(read, table);
    assert!(read.known().eq(known));
}

#[test]
fn a_program_that_reads_version_1_can_be_given_every_table() {
    for (text, v1) in [
        ("v2:5:3,4,9;peers=5:17,+,-.", "v1:5:3,4,9."),
        ("v2:-:;peers=.", "v1:-:."),
        ("v1:7:2.", "v1:7:2."),
    ] {
        let table: HandOver = text.parse().unwrap();
        assert_eq!(table.to_v1(), v1);
        assert_eq!(v1.parse::<HandOver>().unwrap().ports(), table.ports());
    }
}

#[test]
fn a_section_of_a_later_version_is_skipped() {
    let known = "v2:5:3;peers=5:17.".parse::<HandOver>();
    for text in [
        "v2:5:3;peers=5:17;later=.",
        "v2:5:3;a=b;peers=5:17;c=d=e,f.",
    ] {
        assert_eq!(text.parse(), known, "{text:?}");
    }
    let none = "v2:5:3;later=1.".parse::<HandOver>().unwrap();
    assert_eq!(none.to_string(), "v1:5:3.");
}
