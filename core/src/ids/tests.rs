use super::*;

#[test]
fn ports_are_1_to_31_bits() {
    assert_eq!(Port::try_from(0), Err(BadId::PortZero));
    assert_eq!(Port::try_from(1).map(Port::as_raw), Ok(1));
    assert_eq!(Port::try_from(0x7fff_ffff), Ok(Port::MAX));
    assert_eq!(
        Port::try_from(0x8000_0000),
        Err(BadId::PortTooLarge(0x8000_0000))
    );
}

#[test]
fn domids_are_16_bits() {
    assert_eq!(DomId::try_from(0x7ff0), Ok(DomId::SELF));
    assert_eq!(
        DomId::try_from(0x1_0000),
        Err(BadId::DomIdTooLarge(0x1_0000))
    );
}

#[test]
fn remote_ports_are_read_as_domid_colon_port() {
    let remote: RemotePort = "5:17".parse().unwrap();
    assert_eq!((remote.domid.as_raw(), remote.port.as_raw()), (5, 17));
    assert_eq!(remote.to_string(), "5:17");
    assert_eq!("5:0".parse::<RemotePort>(), Err(BadId::PortZero));
    assert_eq!("5".parse::<RemotePort>(), Err(BadId::Unreadable));
}

#[test]
fn virqs_are_read_by_name_or_number() {
    for text in ["DOM_EXC", "virq_dom_exc", "3"] {
        assert_eq!(text.parse(), Ok(Virq::DOM_EXC), "{text}");
    }
    assert_eq!("BOGUS".parse::<Virq>(), Err(BadId::Unreadable));
    assert_eq!(Virq::new(17).to_string(), "17");
    assert_eq!(Virq::new(17).name(), None);
    assert_eq!(Virq::DOM_EXC.name(), Some("DOM_EXC"));
    assert_eq!(Virq::DOM_EXC.as_raw(), 3);
}

#[test]
fn ids_say_what_they_are() {
    let port = Port::new(5).unwrap();
    let ids = (port, DomId::SELF, Virq::DOM_EXC);
    assert_eq!(format!("{ids:?}"), "(Port(5), DomId(self), Virq(DOM_EXC))");
}

#[test]
fn ids_become_the_integers_that_they_are() {
    assert_eq!(u32::from(Port::new(5).unwrap()), 5);
    assert_eq!(u16::from(DomId::new(6)), 6);
    assert_eq!(u32::from(Virq::new(7)), 7);
}
