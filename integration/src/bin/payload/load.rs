//! Verbs that use resources up: CPUs, memory, huge pages, disks, cgroups.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::{ForkResult, fork, pause};
use serde_json::{Value, json};

use crate::{Answer, arg, errno, number};

const MIB: usize = 1 << 20;

pub fn answer(verb: &str, args: &[&str]) -> Option<Answer> {
    Some(match verb {
        "burn-cpu" => burn_cpu(number(args, 0) as u64),
        "spend" => spend(number(args, 0) as u64),
        "cpus" => Ok(cpus(number(args, 0) as u64)),
        "hold" => hold(number(args, 0) as usize),
        "hugepages" => huge_pages(number(args, 0) as usize),
        "disk" => disk(args),
        "disk-for" => disk_for(arg(args, 0), number(args, 1) as u64),
        "cache" => cache(arg(args, 0), number(args, 1) as u64, number(args, 2) as u64),
        "churn" => churn(arg(args, 0), number(args, 1)),
        _ => return None,
    })
}

fn used() -> Result<Duration, Errno> {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from)
}

/// Wants all of a CPU for so many milliseconds; says how many it got.
fn burn_cpu(ms: u64) -> Answer {
    let (before, end) = (used()?, Instant::now() + Duration::from_millis(ms));
    while Instant::now() < end {}
    Ok(json!((used()? - before).as_millis() as u64))
}

/// Wants all of a CPU until it has got so many milliseconds of it.
fn spend(ms: u64) -> Answer {
    let end = used()? + Duration::from_millis(ms);
    while used()? < end {}
    Ok(Value::Null)
}

/// The CPUs that it ran on in so many milliseconds.
fn cpus(ms: u64) -> Value {
    let mut seen = BTreeSet::new();
    let end = Instant::now() + Duration::from_millis(ms);
    while Instant::now() < end {
        // SAFETY: takes no arguments.
        seen.insert(unsafe { libc::sched_getcpu() });
        std::thread::yield_now();
    }
    json!(seen)
}

/// So many MiB, every page touched. A page at a time: `resize` of a debug build goes byte by byte.
pub fn fill(mib: usize) -> Result<Vec<u8>, Errno> {
    let mut memory = Vec::<u8>::new();
    memory.try_reserve_exact(mib * MIB).map_err(|_| Errno::ENOMEM)?;
    for _ in 0..mib * MIB / 4096 {
        memory.extend_from_slice(&[1; 4096]);
    }
    Ok(memory)
}

/// The same, kept until the end.
fn hold(mib: usize) -> Answer {
    std::mem::forget(fill(mib)?);
    Ok(json!("ok"))
}

/// Maps and touches so many huge pages of 2 MiB, and keeps them.
fn huge_pages(count: usize) -> Answer {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB;
    let (len, rights) = (count * 2 * MIB, libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: a new mapping at an address of the kernel's choice.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), len, rights, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    for page in 0..count {
        // SAFETY: inside the mapping just made, which nobody else uses.
        unsafe { at.cast::<u8>().add(page * 2 * MIB).write_volatile(1) };
    }
    Ok(json!("ok"))
}

/// A block of memory that O_DIRECT accepts.
#[repr(align(4096))]
struct Block([u8; 65536]);

/// `disk read|write PATH BYTES BLOCK`: past all caches; how many milliseconds it took.
fn disk(args: &[&str]) -> Answer {
    let (total, size) = (number(args, 2) as usize, (number(args, 3) as usize).min(65536));
    let reads = arg(args, 0) == "read";
    let file = OpenOptions::new()
        .read(reads)
        .write(!reads)
        .custom_flags(libc::O_DIRECT)
        .open(arg(args, 1))
        .map_err(errno)?;
    let mut block = Box::new(Block([1; 65536]));
    let start = Instant::now();
    for at in (0..total).step_by(size) {
        match reads {
            true => file.read_exact_at(&mut block.0[..size], at as u64),
            false => file.write_all_at(&block.0[..size], at as u64),
        }
        .map_err(errno)?;
    }
    Ok(json!(start.elapsed().as_millis() as u64))
}

/// How many blocks of 64 KiB it can read in so many milliseconds, one after the other.
fn disk_for(path: &str, ms: u64) -> Answer {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path).map_err(errno)?;
    let len = (&file).seek(SeekFrom::End(0)).map_err(errno)?;
    let mut block = Box::new(Block([0; 65536]));
    let (mut count, end) = (0u64, Instant::now() + Duration::from_millis(ms));
    while Instant::now() < end {
        file.read_exact_at(&mut block.0, count * 65536 % len).map_err(errno)?;
        count += 1;
    }
    Ok(json!(count))
}

/// `cache PATH FROM MIB`: reads through the page cache, and keeps the file open, as a disk loses its pages with the last
/// who has it open.
fn cache(path: &str, from: u64, mib: u64) -> Answer {
    let mut file = File::open(path).map_err(errno)?;
    file.seek(SeekFrom::Start(from << 20)).map_err(errno)?;
    let mut buffer = vec![0; MIB];
    for _ in 0..mib {
        file.read_exact(&mut buffer).map_err(errno)?;
    }
    std::mem::forget(file);
    Ok(json!("ok"))
}

/// `churn FOLDER N`: N cgroups below the folder, each with one inside it, and in each of these a process that forks
/// children which end, for ever.
fn churn(folder: &str, count: i64) -> Answer {
    for n in 0..count {
        let inner = format!("{folder}/{n}/inner");
        fs::create_dir_all(&inner).map_err(errno)?;
        // SAFETY: this program is single-threaded.
        if unsafe { fork()? }.is_child() {
            if fs::write(format!("{inner}/cgroup.procs"), "0").is_err() {
                std::process::exit(1);
            }
            loop {
                // SAFETY: as above.
                match unsafe { fork() } {
                    Ok(ForkResult::Child) => std::process::exit(0),
                    Ok(ForkResult::Parent { child }) => {
                        let _ = nix::sys::wait::waitpid(child, None);
                    }
                    Err(_) => pause(),
                }
            }
        }
    }
    Ok(json!("ok"))
}
