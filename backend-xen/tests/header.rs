//! The table of requests against the kernel header of this machine, where there is one.
#![expect(clippy::unwrap_used, reason = "functions that only tests call")]

use std::fs;

use evtchn_xen::abi::REQUESTS;

const HEADER: &str = "/usr/include/xen/evtchn.h";

/// The `_IOC` numbers in the header, by the name after `IOCTL_EVTCHN_`.
fn numbers(header: &str) -> Vec<(String, u32)> {
    header
        .split("#define IOCTL_EVTCHN_")
        .skip(1)
        .map(|definition| {
            let name = definition.split_whitespace().next().unwrap();
            let (_, arguments) = definition.split_once("_IOC(_IOC_NONE, 'E', ").unwrap();
            let (number, _) = arguments.split_once(',').unwrap();
            (name.to_owned(), number.parse().unwrap())
        })
        .collect()
}

#[test]
fn request_numbers_are_those_of_the_installed_header() {
    let Ok(header) = fs::read_to_string(HEADER) else {
        eprintln!("skipped: there is no {HEADER}");
        return;
    };
    let numbers = numbers(&header);
    assert!(numbers.len() >= 7, "{numbers:?}");
    for (name, number) in numbers {
        let (_, code) = REQUESTS.iter().find(|(row, _)| *row == name).unwrap();
        assert_eq!(code & 0xff, number, "{name}");
        assert_eq!(code >> 8 & 0xff, u32::from(b'E'), "{name}");
    }
}
