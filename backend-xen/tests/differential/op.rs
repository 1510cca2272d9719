//! A step of a script: one system call on an open device, the same on both sides.
//!
//! A script is printed as the Rust that it is, so a difference that was found can be pasted into
//! `cases.rs`.

/// How many files can be open at a time.
pub(crate) const FILES: usize = 4;

/// A descriptor: which file, and which of its descriptors, the oldest being 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fd(pub(crate) usize, pub(crate) usize);

/// The name that a script gives to what a bind returned, whatever the number is on each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) usize);

/// A word of an argument or of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Raw(u32),
    Port(Slot),
    /// The end of a static channel; an even one and the next are of one channel.
    End(usize),
}

/// How much of the memory that a call is given exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    There,
    /// The null pointer.
    Null,
    /// This many bytes, right before a page that is not mapped.
    Cut(usize),
}

/// The requests that bind a port. All but that for a static one return it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bind {
    Virq,
    Interdomain,
    Unbound,
    Static,
}

/// The other requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Unbind,
    Notify,
    Reset,
    Restrict,
    BindStatic,
    Unknown(u32),
}

/// The words of a write.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Words(pub(crate) Vec<Word>);

impl<const N: usize> From<[Word; N]> for Words {
    fn from(words: [Word; N]) -> Words {
        Words(words.into())
    }
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Words::from({:?})", self.0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Open(usize),
    Dup(usize),
    Close(Fd),
    Bind(Slot, Fd, Bind, [Word; 2], Memory),
    Ioctl(Fd, Request, [Word; 2], Memory),
    Read(Fd, usize, Memory),
    /// The words and this many odd bytes.
    Write(Fd, Words, usize, Memory),
}

/// What kind of call a step is, for the tally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Open,
    Dup,
    Close,
    BindVirq,
    BindInterdomain,
    BindUnbound,
    BindStatic,
    Unbind,
    Notify,
    Reset,
    Restrict,
    Unknown,
    Read,
    Write,
}

impl Kind {
    pub(crate) const ALL: [Kind; 14] = [
        Kind::Open,
        Kind::Dup,
        Kind::Close,
        Kind::BindVirq,
        Kind::BindInterdomain,
        Kind::BindUnbound,
        Kind::BindStatic,
        Kind::Unbind,
        Kind::Notify,
        Kind::Reset,
        Kind::Restrict,
        Kind::Unknown,
        Kind::Read,
        Kind::Write,
    ];
}

impl Bind {
    pub(crate) const fn code(self) -> u32 {
        match self {
            Bind::Virq => evtchn_sim::abi::BIND_VIRQ,
            Bind::Interdomain => evtchn_sim::abi::BIND_INTERDOMAIN,
            Bind::Unbound => evtchn_sim::abi::BIND_UNBOUND_PORT,
            Bind::Static => evtchn_sim::abi::BIND_STATIC,
        }
    }
}

impl Request {
    pub(crate) const fn code(self) -> u32 {
        match self {
            Request::Unbind => evtchn_sim::abi::UNBIND,
            Request::Notify => evtchn_sim::abi::NOTIFY,
            Request::Reset => evtchn_sim::abi::RESET,
            Request::Restrict => evtchn_sim::abi::RESTRICT_DOMID,
            Request::BindStatic => evtchn_sim::abi::BIND_STATIC,
            Request::Unknown(code) => code,
        }
    }
}

impl Memory {
    /// Whether a call can read or write so many bytes.
    pub(crate) const fn has(self, bytes: usize) -> bool {
        match self {
            Memory::There => true,
            Memory::Null => false,
            Memory::Cut(there) => there >= bytes,
        }
    }
}

impl Op {
    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Op::Open(_) => Kind::Open,
            Op::Dup(_) => Kind::Dup,
            Op::Close(_) => Kind::Close,
            Op::Bind(_, _, Bind::Virq, ..) => Kind::BindVirq,
            Op::Bind(_, _, Bind::Interdomain, ..) => Kind::BindInterdomain,
            Op::Bind(_, _, Bind::Unbound, ..) => Kind::BindUnbound,
            Op::Bind(_, _, Bind::Static, ..) => Kind::BindStatic,
            Op::Ioctl(_, Request::Unbind, ..) => Kind::Unbind,
            Op::Ioctl(_, Request::Notify, ..) => Kind::Notify,
            Op::Ioctl(_, Request::Reset, ..) => Kind::Reset,
            Op::Ioctl(_, Request::Restrict, ..) => Kind::Restrict,
            Op::Ioctl(_, Request::BindStatic, ..) => Kind::BindStatic,
            Op::Ioctl(_, Request::Unknown(_), ..) => Kind::Unknown,
            Op::Read(..) => Kind::Read,
            Op::Write(..) => Kind::Write,
        }
    }

    /// The file that the call is on.
    pub(crate) const fn file(&self) -> usize {
        match *self {
            Op::Open(file) | Op::Dup(file) => file,
            Op::Close(fd)
            | Op::Bind(_, fd, ..)
            | Op::Ioctl(fd, ..)
            | Op::Read(fd, ..)
            | Op::Write(fd, ..) => fd.0,
        }
    }
}

/// How many bytes the kernel reads for a request: the size stands in its code.
pub(crate) const fn argument_size(code: u32) -> usize {
    (code >> 16 & 0x3fff) as usize
}
