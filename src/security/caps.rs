//! Capabilities.

use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::{Context, Result};
use crate::plan::process::Capabilities;

/// CAP_SYS_ADMIN: what loading a seccomp filter takes without no_new_privs.
pub const SYS_ADMIN: u64 = 1 << 21;
/// CAP_SYS_RESOURCE: what raising a resource limit takes.
pub const SYS_RESOURCE: u64 = 1 << 24;

/// Removes from the bounding set all that is not to be in it, those too that are newer than this program.
pub fn drop_bounding(keep: u64) -> Result<()> {
    for number in 0..64u32 {
        if keep >> number & 1 == 1 {
            continue;
        }
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Beyond the kernel's last capability.
            Err(rustix::io::Errno::INVAL) => break,
            Err(e) => {
                return Err(e).with_context(|| format!("drop capability {number} from the bounding set"));
            }
        }
    }
    Ok(())
}

/// The sets while the process waits to be executed: effective is final, so that paths are looked up with the rights of
/// the container's process; permitted keeps everything. `extra` is made effective as well, as far as it is permitted: it
/// must be nothing that looks at paths. Returns the final sets, as far as they can be granted.
pub fn set_waiting(caps: &Capabilities, extra: u64) -> Result<Capabilities> {
    let now = rustix::thread::capabilities(None).context("read the capabilities")?;
    let caps = grantable(caps, now.permitted.bits());
    let wanted = caps.effective | extra;
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(wanted) & now.permitted,
        permitted: now.permitted,
        inheritable: CapabilitySet::from_bits_retain(caps.inheritable),
    };
    rustix::thread::set_capabilities(None, sets).context("set the capabilities")?;
    Ok(caps)
}

/// What of the sets this process can be given. A capability that cannot be granted is no error (config.md, "Linux
/// Process"); it was warned about when config.json was judged.
fn grantable(caps: &Capabilities, permitted: u64) -> Capabilities {
    Capabilities {
        bounding: caps.bounding,
        effective: caps.effective & permitted,
        inheritable: caps.inheritable & permitted,
        permitted: caps.permitted & permitted,
        ambient: caps.ambient & permitted,
    }
}

/// The final sets. Must not need anything that a seccomp filter of the container's could deny but capset and prctl.
pub fn set_final(caps: &Capabilities) -> Result<()> {
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(caps.effective),
        permitted: CapabilitySet::from_bits_retain(caps.permitted),
        inheritable: CapabilitySet::from_bits_retain(caps.inheritable),
    };
    rustix::thread::set_capabilities(None, sets).context("set the capabilities")?;
    for number in 0..64u32 {
        if caps.ambient >> number & 1 == 1 {
            let capability = CapabilitySet::from_bits_retain(1 << number);
            rustix::thread::configure_capability_in_ambient_set(capability, true)
                .with_context(|| format!("raise capability {number} in the ambient set"))?;
        }
    }
    Ok(())
}
