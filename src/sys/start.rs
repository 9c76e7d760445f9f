//! The program's first instructions, before libc's, and what a Rust `main` would have found done.
//!
//! [`crate::exeseal`] executes this program a second time, and a static glibc takes 0.6 ms on a virtual machine before
//! it reaches `main`: it asks CPUID dozens of questions, each of which traps. So the first of the two runs gets no
//! further than here: the ELF entry point (set by build.rs) looks at the arguments, seals, and executes, with bare system
//! calls. Whatever goes wrong is left to `main`, which tries again and can say why.
//!
//! Nothing is set up at this point: no thread-local storage, no relocation applied, no IFUNC resolved. Hence code that
//! touches only its arguments, its stack and data relative to the program counter, and calls nothing of libc's, not even a
//! `memcmp` or `strlen` that the compiler might make out of a loop (which is what the volatile reads prevent).

use std::ffi::{CStr, c_char};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// Whether the executable was found to be on a read-only mount.
static SEALED: AtomicBool = AtomicBool::new(false);

/// Whether the first instructions have seen that this process's executable is on a read-only mount.
pub fn is_sealed() -> bool {
    SEALED.load(Ordering::Relaxed)
}

/// `argv` of `main`: the pointers to the arguments, NULL, those to the environment, NULL.
static ARGUMENTS: AtomicPtr<*mut c_char> = AtomicPtr::new(std::ptr::null_mut());

/// Notes where the arguments are. Called by `main`, with its own.
pub fn note_arguments(argv: *mut *mut c_char) {
    ARGUMENTS.store(argv, Ordering::Relaxed);
}

/// Overwrites the arguments and the environment of this process with its name and "init". For a child that a container may
/// look at: /proc/PID/cmdline is everybody's to read, and environ and mem are for CAP_SYS_PTRACE. They hold what the
/// caller was given, the secrets of its environment and `exec --env` among it.
pub fn conceal_arguments() {
    let argv = ARGUMENTS.load(Ordering::Relaxed);
    if argv.is_null() || crate::weaken::weakened("arguments") {
        return;
    }
    // SAFETY: both lists end with NULL and their strings lie in the pages that the kernel made for them before the first
    // instruction, which are writable and stay. No reference to them is held: std copies what it is asked for.
    unsafe {
        let mut title = [0u8; 32];
        let length = match argv.read().is_null() {
            true => 0,
            false => title_of(CStr::from_ptr(argv.read()).to_bytes(), &mut title),
        };
        let mut room = 0;
        let mut at = argv;
        for list in 0..2 {
            while !at.read().is_null() {
                let size = CStr::from_ptr(at.read()).count_bytes();
                std::ptr::write_bytes(at.read(), 0, size);
                // The strings follow each other: the title may run over the end of the first.
                room += if list == 0 { size + 1 } else { 0 };
                at = at.add(1);
            }
            at = at.add(1);
        }
        if length < room {
            std::ptr::copy_nonoverlapping(title.as_ptr(), argv.read().cast(), length);
        }
    }
}

/// The name of the program in `title`, and " init", as far as there is room. How much it is.
fn title_of(program: &[u8], title: &mut [u8; 32]) -> usize {
    let name = program.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let bytes = name.iter().chain(b" init");
    title.iter_mut().zip(bytes).map(|(to, from)| *to = *from).count()
}

/// Opens /dev/null for each of the standard descriptors that is closed: the next file we open would get its number, and
/// be read or written as if it were a stream of the container's.
pub fn fill_standard_descriptors() {
    let mut fds = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: an array of three of them, which lives through the call.
    let filled = unsafe { libc::poll(fds.as_mut_ptr(), 3, 0) } == 0;
    if filled {
        return;
    }
    for fd in fds.iter().filter(|fd| fd.revents & libc::POLLNVAL != 0) {
        // The lowest number that is free is this one.
        // SAFETY: a constant string; nobody owns the number.
        let opened = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        if opened != fd.fd {
            std::process::abort();
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod entry {
    use std::arch::{asm, global_asm};
    use std::mem::MaybeUninit;
    use std::sync::atomic::Ordering;

    // The stack pointer and rdx are what `_start` expects; rbx and r12 survive the call.
    global_asm!(
        ".pushsection .text.tare_start, \"ax\", @progbits",
        ".globl tare_start",
        ".type tare_start, @function",
        "tare_start:",
        "xor ebp, ebp",
        "mov rbx, rsp",
        "mov r12, rdx",
        "mov rdi, rsp",
        "and rsp, -16",
        "call {seal}",
        "mov rdx, r12",
        "mov rsp, rbx",
        "jmp _start",
        ".popsection",
        seal = sym seal,
    );

    /// The verbs whose process, or a child of it, comes within a container's reach. By value: a table of them would be
    /// a table of pointers, which are not relocated yet.
    const CREATE: [u8; 7] = *b"create\0";
    const RUN: [u8; 4] = *b"run\0";
    const EXEC: [u8; 5] = *b"exec\0";

    /// Where in the kernel's `struct statfs`, 15 words of 64 bits, the flags of the mount are; libc's does not show them.
    const F_FLAGS: usize = 10;

    /// Seals, if one of the arguments looks like a verb that needs it; one that is an id costs a little time.
    unsafe extern "C" fn seal(stack: *const usize) {
        // SAFETY: the kernel puts argc, the pointers to the arguments and NULL, and those to the environment and NULL
        // there; nobody has run yet who could have changed them.
        unsafe {
            if cfg!(feature = "weaken") {
                // Left to `exeseal`, which can be told not to.
                return;
            }
            let argc = stack.read();
            let argv = stack.add(1);
            let envp = argv.add(argc + 1);
            let mut wanted = false;
            for n in 1..argc {
                let arg = argv.add(n).read() as *const u8;
                wanted = wanted || is(arg, CREATE) || is(arg, RUN) || is(arg, EXEC);
            }
            if !wanted {
                return;
            }
            let exe = c"/proc/self/exe".as_ptr() as usize;
            let mut stat = MaybeUninit::<[u64; 15]>::uninit();
            let stat = stat.as_mut_ptr().cast::<u64>();
            if call(libc::SYS_statfs, [exe, stat as usize, 0, 0, 0]) != 0 {
                return;
            }
            if stat.add(F_FLAGS).read() & libc::ST_RDONLY != 0 {
                super::SEALED.store(true, Ordering::Relaxed);
            } else {
                execute(exe, argv, envp);
            }
        }
    }

    /// Executes the file once more through a read-only mount of it. Returns if that cannot be.
    unsafe fn execute(exe: usize, argv: *const usize, envp: *const usize) {
        let empty = c"".as_ptr() as usize;
        let flags = libc::OPEN_TREE_CLONE as usize | libc::OPEN_TREE_CLOEXEC as usize;
        let here = libc::AT_FDCWD as usize;
        // set, clear, propagation, userns_fd
        let attr: [u64; 4] = [libc::MOUNT_ATTR_RDONLY, 0, 0, 0];
        let (at, size) = (attr.as_ptr() as usize, size_of_val(&attr));
        // SAFETY: descriptors and strings of this frame, and the vectors that the kernel itself has made.
        unsafe {
            let tree = call(libc::SYS_open_tree, [here, exe, flags, 0, 0]);
            if tree < 0 {
                return;
            }
            let tree = tree as usize;
            let empty_path = libc::AT_EMPTY_PATH as usize;
            if call(libc::SYS_mount_setattr, [tree, empty, empty_path, at, size]) == 0 {
                call(libc::SYS_execveat, [tree, empty, argv as usize, envp as usize, empty_path]);
            }
            call(libc::SYS_close, [tree, 0, 0, 0, 0]);
        }
    }

    /// Is the C string this one, its NUL included?
    unsafe fn is<const N: usize>(text: *const u8, wanted: [u8; N]) -> bool {
        let mut n = 0;
        while n < N {
            // SAFETY: both have their NUL, where the comparison ends at the latest.
            let differ = unsafe { text.add(n).read_volatile() != wanted.as_ptr().add(n).read_volatile() };
            if differ {
                return false;
            }
            n += 1;
        }
        true
    }

    #[inline(always)]
    unsafe fn call(number: libc::c_long, args: [usize; 5]) -> isize {
        let result: isize;
        // SAFETY: the caller's arguments are right for the call; the instruction changes rax, rcx and r11 only.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") number as isize => result,
                in("rdi") args[0], in("rsi") args[1], in("rdx") args[2], in("r10") args[3], in("r8") args[4],
                lateout("rcx") _, lateout("r11") _,
                options(nostack),
            );
        }
        result
    }
}
