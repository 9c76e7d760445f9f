//! Session keyrings.

use std::ffi::CStr;

use nix::errno::Errno;

use super::check;

const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
const KEYCTL_SETPERM: libc::c_long = 5;
const KEYCTL_DESCRIBE: libc::c_long = 6;

/// Joins the session keyring `name`, making it if need be; its serial number.
pub fn join_session_keyring(name: &CStr) -> Result<i32, Errno> {
    // SAFETY: `name` is a C string.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr(), 0, 0, 0) })
        .map(|serial| serial as i32)
}

/// The permission bits of a key: the fourth field of its description.
pub fn permissions(serial: i32) -> Result<u32, Errno> {
    let mut text = [0u8; 256];
    // SAFETY: the kernel writes at most the length it is given.
    let len = check(unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_DESCRIBE, serial, text.as_mut_ptr(), text.len(), 0)
    })?;
    let text = text.get(..(len as usize).saturating_sub(1)).unwrap_or(&text);
    let field = text.split(|&b| b == b';').nth(3).and_then(|field| std::str::from_utf8(field).ok());
    field.and_then(|field| u32::from_str_radix(field, 16).ok()).ok_or(Errno::EINVAL)
}

/// Sets the permission bits of a key.
pub fn set_permissions(serial: i32, bits: u32) -> Result<(), Errno> {
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, serial, bits, 0, 0) }).map(drop)
}
