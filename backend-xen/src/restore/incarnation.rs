//! The incarnation of this domain: how often it was created or restored, counted by Xen.
//!
//! Xen reports it in its CPUID leaves (xen/arch/x86/cpuid.c, `cpuid_hypervisor_leaves`; the time leaf in
//! xen/arch/x86/time.c, `tsc_get_info`). A new domain has 1, and each restore and each migration adds 1.
//! A PV domain 0 has 0. A PVH domain 0 has another number, so the kernel is asked whether this is domain 0:
//! there a watch of xenstore must not be set, because it sleeps until xenstored runs.

/// The incarnation, or `None` in domain 0, on Arm, and outside Xen. It makes no system call after the
/// first time.
#[inline]
pub(super) fn now() -> Option<u32> {
    leaf::now().filter(|incarnation| *incarnation > 0)
}

#[cfg(not(target_arch = "x86_64"))]
mod leaf {
    pub(super) fn now() -> Option<u32> {
        None
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the instruction cpuid")]
mod leaf {
    use std::arch::asm;
    use std::fs;
    use std::sync::OnceLock;

    /// How this domain reads Xen's leaves, and where they begin.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Leaves {
        /// With the prefix that lets Xen emulate the instruction, because a PV domain runs on the real
        /// processor.
        Pv(u32),
        /// The instruction leaves a PVH or HVM domain.
        Hvm(u32),
    }

    /// The registers after the instruction.
    #[derive(Debug, Clone, Copy)]
    struct Answer {
        eax: u32,
        ebx: u32,
        ecx: u32,
        edx: u32,
    }

    /// The instruction after a prefix (Xen's is ud2 and "xen"), for sub-leaf 0. It writes four registers;
    /// rbx, which the compiler reserves, is restored.
    macro_rules! cpuid {
        ($leaf:expr, $prefix:literal) => {{
            let (eax, ebx, ecx, edx): (u32, u32, u32, u32);
            asm!(
                "mov {saved:r}, rbx",
                $prefix,
                "cpuid",
                "xchg {saved:r}, rbx",
                saved = out(reg) ebx,
                inout("eax") $leaf => eax,
                inout("ecx") 0_u32 => ecx,
                out("edx") edx,
                options(nostack, preserves_flags),
            );
            Answer { eax, ebx, ecx, edx }
        }};
    }

    pub(super) fn now() -> Option<u32> {
        static LEAVES: OnceLock<Option<Leaves>> = OnceLock::new();
        LEAVES
            .get_or_init(Leaves::find)
            .map(|leaves| leaves.time().edx)
    }

    impl Leaves {
        fn find() -> Option<Leaves> {
            let read = |name| fs::read_to_string(format!("/sys/hypervisor/{name}")).ok();
            let make = Leaves::kind(&read("type")?, &read("guest_type")?)?;
            if is_dom0(&read("properties/features")?) {
                return None;
            }
            // Another hypervisor's leaves may come first (xen/arch/x86/cpuid.c).
            let bases = (0x4000_0000..0x4001_0000).step_by(0x100);
            bases.map(make).find(|leaves| leaves.are_xens())
        }

        /// What the kernel says in `/sys/hypervisor/type` and `guest_type`.
        fn kind(hypervisor: &str, guest_type: &str) -> Option<fn(u32) -> Leaves> {
            match (hypervisor.trim_end(), guest_type.trim_end()) {
                ("xen", "PV") => Some(Leaves::Pv),
                ("xen", "PVH" | "HVM") => Some(Leaves::Hvm),
                _ => None,
            }
        }

        /// Whether Xen's signature is there, and a time leaf.
        fn are_xens(self) -> bool {
            let Answer { eax, ebx, ecx, edx } = self.ask(0);
            let signature = [ebx, ecx, edx].map(u32::to_le_bytes);
            signature.as_flattened() == b"XenVMMXenVMM" && eax >= self.base() + TIME
        }

        fn time(self) -> Answer {
            self.ask(TIME)
        }

        const fn base(self) -> u32 {
            match self {
                Leaves::Pv(base) | Leaves::Hvm(base) => base,
            }
        }

        /// Sub-leaf 0 of a leaf.
        fn ask(self, leaf: u32) -> Answer {
            let leaf = self.base() + leaf;
            match self {
                // SAFETY: the kernel says that this is a PV domain of Xen, which emulates the
                // instruction after this prefix.
                Leaves::Pv(_) => unsafe { cpuid!(leaf, ".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e") },
                // SAFETY: each x86-64 processor has the instruction.
                Leaves::Hvm(_) => unsafe { cpuid!(leaf, "") },
            }
        }
    }

    /// Whether the kernel says so in `/sys/hypervisor/properties/features` (`XENFEAT_dom0`, Xen
    /// xen/include/public/features.h).
    fn is_dom0(features: &str) -> bool {
        const DOM0: u32 = 1 << 11;
        u32::from_str_radix(features.trim_end(), 16).is_ok_and(|features| features & DOM0 != 0)
    }

    /// The leaf with the incarnation.
    const TIME: u32 = 3;

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn only_a_domain_of_xen_has_leaves_of_xen() {
            let kind = |hypervisor, guest_type| {
                Leaves::kind(hypervisor, guest_type).map(|make| make(0x4000_0000))
            };
            assert_eq!(kind("xen\n", "PV\n"), Some(Leaves::Pv(0x4000_0000)));
            assert_eq!(kind("xen\n", "PVH\n"), Some(Leaves::Hvm(0x4000_0000)));
            assert_eq!(kind("xen\n", "HVM\n"), Some(Leaves::Hvm(0x4000_0000)));
            assert_eq!(kind("xen\n", "Xen\n"), None);
            assert_eq!(kind("kvm\n", "PV\n"), None);
        }

        #[test]
        fn domain_0_has_a_feature_of_its_own() {
            let of = ["001d2b05\n", "001d2305\n", "", "x"];
            assert_eq!(of.map(is_dom0), [true, false, false, false]);
        }

        #[test]
        fn cpuid_answers_and_leaves_the_program_as_it_was() {
            // Leaf 0 of the processor itself, which begins with the highest leaf and a vendor.
            let Answer { eax, ebx, ecx, edx } = Leaves::Hvm(0).ask(0);
            let vendor = [ebx, edx, ecx].map(u32::to_le_bytes);
            assert!(eax >= 1);
            assert!(vendor.as_flattened().iter().all(u8::is_ascii));
        }
    }
}
