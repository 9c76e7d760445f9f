//! A disk of the test's own, to be slowed down and filled: a loop device over a file in memory.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::Bundle;

const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LOOP_CLR_FD: libc::c_ulong = 0x4C01;
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;

/// linux/loop.h; what is not named here stays zero.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: [u8; 232],
    reserved: [u64; 8],
}

/// A block device; gone when dropped.
pub struct Disk {
    device: File,
    path: PathBuf,
    backing: PathBuf,
}

impl Disk {
    /// One of so many MiB. `None`, and noted as skipped, where there are no loop devices.
    pub fn new(mib: u64) -> Option<Disk> {
        let open = |path: &str| OpenOptions::new().read(true).write(true).open(path);
        let Ok(control) = open("/dev/loop-control") else {
            crate::skip("no loop devices");
            return None;
        };
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let backing = std::env::temp_dir().join(format!("disk-{number}"));
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&backing).unwrap();
        // Written, not a hole: nothing is allocated, and charged to anybody, later.
        std::io::copy(&mut std::io::Read::take(std::io::repeat(1), mib << 20), &mut &file).unwrap();
        for _ in 0..50 {
            // SAFETY: takes no pointer.
            let free = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) };
            assert!(free >= 0, "LOOP_CTL_GET_FREE: {}", std::io::Error::last_os_error());
            let path = PathBuf::from(format!("/dev/loop{free}"));
            let Ok(device) = open(path.to_str().unwrap()) else { continue };
            let config = LoopConfig {
                fd: file.as_raw_fd() as u32,
                block_size: 4096,
                info: [0; 232],
                reserved: [0; 8],
            };
            // SAFETY: the kernel reads one loop_config, whose size this is.
            if unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE as _, &config) } == 0 {
                return Some(Disk { device, path, backing });
            }
            // Somebody else was quicker.
        }
        panic!("no loop device can be had");
    }

    /// Major and minor number.
    pub fn numbers(&self) -> (u64, u64) {
        use std::os::unix::fs::MetadataExt;
        let rdev = self.device.metadata().unwrap().rdev();
        (nix::sys::stat::major(rdev), nix::sys::stat::minor(rdev))
    }

    /// `{"major": …, "minor": …}` with one more member, as the limits of block devices have it.
    pub fn limit(&self, name: &str, value: u64) -> Value {
        let (major, minor) = self.numbers();
        json!({"major": major, "minor": minor, name: value})
    }

    /// Gives the disk to a container, as /dev/disk.
    #[must_use]
    pub fn give_to(&self, bundle: Bundle) -> Bundle {
        let (major, minor) = self.numbers();
        let node =
            json!({"path": "/dev/disk", "type": "b", "major": major, "minor": minor, "fileMode": 0o666});
        let rule = json!({"allow": true, "type": "b", "major": major, "minor": minor, "access": "rwm"});
        bundle.push("/linux/devices", node).push("/linux/resources/devices", rule)
    }

    /// Its scheduler; false if the kernel has no such one.
    pub fn set_scheduler(&self, name: &str) -> bool {
        self.set("scheduler", name)
    }

    /// Writes to a file of the disk's queue. False where there is no such thing.
    pub fn set(&self, file: &str, value: &str) -> bool {
        let device = self.path.file_name().unwrap().to_str().unwrap();
        write_sys(&format!("block/{device}/queue/{file}"), value)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // SAFETY: takes no pointer. While others have it open it goes with the last of them.
        unsafe { libc::ioctl(self.device.as_raw_fd(), LOOP_CLR_FD as _) };
        let _ = std::fs::remove_file(&self.backing);
    }
}

/// Writes to a file below /sys, which is read-only in the sandbox; a mount of one's own is not.
fn write_sys(file: &str, text: &str) -> bool {
    let sys = std::env::temp_dir().join(format!("sys-{:?}", std::thread::current().id()));
    let _ = std::fs::create_dir(&sys);
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("sysfs"), &sys, Some("sysfs"), flags, None::<&str>).unwrap();
    let written = std::fs::write(sys.join(file), text).is_ok();
    nix::mount::umount2(&sys, nix::mount::MntFlags::MNT_DETACH).unwrap();
    std::fs::remove_dir(&sys).unwrap();
    written
}

/// Lets the machine swap, to compressed memory. Only to be done to a machine of the tests' own.
pub fn make_swap(mib: u64) -> bool {
    let path = "/dev/zram0";
    let _ = crate::Cmd::new("modprobe", ["zram"]).run();
    if !write_sys("block/zram0/disksize", &(mib << 20).to_string()) {
        return false;
    }
    let mut header = [0u8; 4096];
    header[1024] = 1;
    header[1028..1032].copy_from_slice(&(((mib << 20) / 4096 - 1) as u32).to_le_bytes());
    header[4086..].copy_from_slice(b"SWAPSPACE2");
    let device = OpenOptions::new().write(true).open(path).unwrap();
    std::io::Write::write_all(&mut &device, &header).unwrap();
    device.sync_all().unwrap();
    let path = std::ffi::CString::new(path).unwrap();
    // SAFETY: a NUL-terminated path.
    unsafe { libc::swapon(path.as_ptr(), 0) == 0 }
}
