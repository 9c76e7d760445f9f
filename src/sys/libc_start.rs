//! The start of a static glibc 2.36 without its questions to CPUID.
//!
//! glibc asks the processor more than forty times what it can do, to choose the fastest `memcpy` and to size its caches.
//! On a virtual machine each question traps to the hypervisor: 0.16 to 0.6 ms, a tenth of all that `run` takes, for a
//! program that copies no more than some kilobytes. So `__libc_start_main` is ours. It is the original, in the same order,
//! without the questions (every resolver then takes its baseline, SSE2), without `GLIBC_TUNABLES` (nothing in the
//! environment has to tune a program of root's), and without what only dlopen needs.
//!
//! build.rs puts it in only where the library is the one that it was written after; elsewhere glibc starts itself.
//! Of another version the linker would complain: the variables below stand in the object that is replaced, and to define
//! one of them too few or too many is an error.
//!
//! Until the relocations are applied the same restrictions hold as in `sys/start.rs`.

use std::arch::asm;
use std::ffi::{c_char, c_int, c_long, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

/// What glibc's string functions go by, as it defines them where it knows nothing of the processor: sizes in bytes.
#[allow(non_upper_case_globals, missing_docs)]
mod sizes {
    use super::{c_int, c_long};

    const DATA: c_long = 32 << 10;
    const SHARED: c_long = 1 << 20;

    #[unsafe(no_mangle)]
    static __x86_data_cache_size: c_long = DATA;
    #[unsafe(no_mangle)]
    static __x86_data_cache_size_half: c_long = DATA / 2;
    #[unsafe(no_mangle)]
    static __x86_shared_cache_size: c_long = SHARED;
    #[unsafe(no_mangle)]
    static __x86_shared_cache_size_half: c_long = SHARED / 2;
    #[unsafe(no_mangle)]
    static __x86_shared_non_temporal_threshold: c_long = SHARED * 3 / 4;
    #[unsafe(no_mangle)]
    static __x86_rep_movsb_threshold: c_long = 2 << 10;
    #[unsafe(no_mangle)]
    static __x86_rep_stosb_threshold: c_long = 2 << 10;
    #[unsafe(no_mangle)]
    static __x86_rep_movsb_stop_threshold: c_long = SHARED * 3 / 4;
    #[unsafe(no_mangle)]
    static __x86_string_control: c_int = 0;
}

/// Of x86-64.
const PAGE: usize = 4096;

type Main = extern "C" fn(c_int, *const *const c_char, *const *const c_char) -> c_int;
type Init = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

// SAFETY: the names and types of glibc 2.36 and of the linker's own symbols.
unsafe extern "C" {
    static __environ: AtomicPtr<*const c_char>;
    static __libc_stack_end: AtomicPtr<c_void>;
    static _dl_random: AtomicPtr<usize>;
    static __ehdr_start: libc::Elf64_Ehdr;
    static __init_array_start: [Init; 0];
    static __init_array_end: [Init; 0];
    static __preinit_array_start: [Init; 0];
    static __preinit_array_end: [Init; 0];
    fn _dl_aux_init(auxv: *const usize);
    fn _dl_relocate_static_pie();
    fn __libc_setup_tls();
    fn __libc_early_init(initial: bool);
    fn _init();
    fn exit(code: c_int) -> !;
}

/// glibc's, but for what the module tells.
///
/// Up to the relocations: an address that the compiler takes, be it a function's to call it, may come from a table that is
/// not filled yet. So what is called here is named in assembly.
///
/// # Safety
/// For crt1.o's `_start`, as the first thing that happens in the process.
#[unsafe(no_mangle)]
unsafe extern "C" fn __libc_start_main(
    main: Main,
    argc: c_int,
    argv: *const *const c_char,
    _init_of_old: *const c_void,
    _fini_of_old: *const c_void,
    _fini_of_rtld: *const c_void,
    stack_end: *mut c_void,
) -> ! {
    // SAFETY: one thread, and the kernel's layout of the stack: arguments, NULL, environment, NULL, auxiliary vector.
    // Each of glibc's functions is called once and in glibc's order. _dl_aux_init also sets __libc_enable_secure and
    // _dl_random; _dl_relocate_static_pie applies R_X86_64_RELATIVE, and IRELATIVE with the resolvers' choices.
    unsafe {
        let envp = argv.offset(argc as isize + 1);
        let mut end = envp;
        while !end.read_volatile().is_null() {
            end = end.add(1);
        }
        asm!("call {}", sym _dl_aux_init, in("rdi") end.add(1), clobber_abi("C"));
        asm!("call {}", sym _dl_relocate_static_pie, clobber_abi("C"));
        asm!(
            "call {}", sym go_on,
            in("rdi") main as usize, in("rsi") argc, in("rdx") argv, in("rcx") envp, in("r8") stack_end,
            options(noreturn)
        );
    }
}

/// What follows the relocations.
unsafe extern "C" fn go_on(
    main: Main,
    argc: c_int,
    argv: *const *const c_char,
    envp: *const *const c_char,
    stack_end: *mut c_void,
) -> ! {
    // SAFETY: as above.
    unsafe {
        __environ.store(envp.cast_mut(), Ordering::Relaxed);
        __libc_stack_end.store(stack_end, Ordering::Relaxed);
        __libc_setup_tls();
        guard();
        __libc_early_init(true);
        protect();
        let call = |start: *const [Init; 0], end: *const [Init; 0]| {
            let (mut at, end) = (start.cast::<Init>(), end.cast::<Init>());
            while at < end {
                at.read()(argc, argv, envp);
                at = at.add(1);
            }
        };
        call(&raw const __preinit_array_start, &raw const __preinit_array_end);
        _init();
        call(&raw const __init_array_start, &raw const __init_array_end);
        exit(main(argc, argv, envp))
    }
}

/// Makes what only the relocations, and libc until here, had to write read-only (RELRO).
unsafe fn protect() {
    // SAFETY: the linker puts the file's header at the start of the image, with the program headers in the same segment.
    // The part is page-aligned at its end by the linker, and nothing writes to it any more.
    unsafe {
        let base = &raw const __ehdr_start;
        let headers = base.byte_add((*base).e_phoff as usize).cast::<libc::Elf64_Phdr>();
        for n in 0..usize::from((*base).e_phnum) {
            let header = headers.add(n);
            if (*header).p_type == libc::PT_GNU_RELRO {
                let start = (base as usize + (*header).p_vaddr as usize) & !(PAGE - 1);
                let end = (base as usize + ((*header).p_vaddr + (*header).p_memsz) as usize) & !(PAGE - 1);
                libc::mprotect(start as *mut c_void, end - start, libc::PROT_READ);
            }
        }
    }
}

/// Sets the stack protector's canary, whose first byte is NUL so that no string can carry it, and the key that pointers
/// in libc's memory are mangled with: both from the kernel's random bytes.
unsafe fn guard() {
    // SAFETY: the kernel gives sixteen bytes; the thread's control block, to which fs points by now, has both fields
    // there (tcbhead_t).
    unsafe {
        let random = _dl_random.load(Ordering::Relaxed);
        let (canary, key) = (random.read_unaligned() & !0xff, random.add(1).read_unaligned());
        asm!("mov fs:0x28, {}", "mov fs:0x30, {}", in(reg) canary, in(reg) key, options(nostack));
    }
}
