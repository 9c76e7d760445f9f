//! Says which of the program's first instructions are ours (`sys/start.rs` and `sys/libc_start.rs` tell why), and how the
//! program lies in its file.

use std::process::Command;

/// The one whose start `sys/libc_start.rs` repeats; of another, the internals may be others.
const GLIBC: &[u8] = b" stable release version 2.36.";

/// Written by hack/order.
const START: &str = include_str!("hack/order.d/start");

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=hack/order.d/start");
    println!("cargo:rustc-check-cfg=cfg(own_libc_start)");
    let var = |key: &str| std::env::var(key).unwrap_or_default();
    let target = |key: &str| var(&format!("CARGO_CFG_TARGET_{key}"));
    // Unoptimised code calls even the step of a range through a table of addresses, which nobody has relocated yet.
    if target("ARCH") != "x86_64" || target("ENV") != "gnu" || var("OPT_LEVEL") == "0" {
        return;
    }
    println!("cargo:rustc-link-arg-bin=tare=-Wl,--entry=tare_start");
    let sections = format!("{}/sections.ld", var("OUT_DIR"));
    if std::fs::write(&sections, sections_of(START)).is_ok() {
        println!("cargo:rustc-link-arg-bin=tare=-Wl,-T,{sections}");
        // What came to lie where, for hack/order: the program has no symbols, and with some it would be another one.
        println!("cargo:rustc-link-arg-bin=tare=-Wl,-Map,{}/tare.map", var("OUT_DIR"));
    }
    if target("FEATURE").split(',').any(|feature| feature == "crt-static") && is_known_glibc() {
        println!("cargo:rustc-cfg=own_libc_start");
        // An older one could not apply them.
        println!("cargo:rustc-link-arg-bin=tare=-Wl,-z,pack-relative-relocs");
    }
}

/// Additions to the linker's own script. What a start executes lies together, so that it takes few page faults and little
/// memory; and there are no tables for unwinding, a tenth of the file, since a panic aborts.
fn sections_of(start: &str) -> String {
    let mut script = String::from("SECTIONS\n{\n  .text.start_path :\n  {\n");
    for line in start.lines().filter(|line| !line.starts_with('#')) {
        script += &match line.ends_with(".o") {
            true => format!("    {line}(.text .text.*)\n"),
            false => format!("    *(.text.{line} .text.unlikely.{line})\n"),
        };
    }
    // The frames of crt*.o have a reference to them.
    script
        + "  }\n}\nINSERT BEFORE .text;\nSECTIONS { /DISCARD/ : { *(EXCLUDE_FILE(*crt*.o) .eh_frame) } }\nINSERT AFTER .text;\n"
}

fn is_known_glibc() -> bool {
    let path = Command::new("cc").arg("-print-file-name=libc.a").output().map(|output| output.stdout);
    let path = path.ok().and_then(|path| String::from_utf8(path).ok()).unwrap_or_default();
    println!("cargo:rerun-if-changed={}", path.trim());
    let library = std::fs::read(path.trim()).unwrap_or_default();
    library.windows(GLIBC.len()).any(|window| window == GLIBC)
}
