//! Says which of the program's first instructions are ours: `sys/start.rs` and `sys/libc_start.rs` tell why.

use std::process::Command;

/// The one whose start `sys/libc_start.rs` repeats; of another, the internals may be others.
const GLIBC: &[u8] = b" stable release version 2.36.";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(own_libc_start)");
    let var = |key: &str| std::env::var(key).unwrap_or_default();
    let target = |key: &str| var(&format!("CARGO_CFG_TARGET_{key}"));
    // Unoptimised code calls even the step of a range through a table of addresses, which nobody has relocated yet.
    if target("ARCH") != "x86_64" || target("ENV") != "gnu" || var("OPT_LEVEL") == "0" {
        return;
    }
    println!("cargo:rustc-link-arg-bin=tare=-Wl,--entry=tare_start");
    if target("FEATURE").split(',').any(|feature| feature == "crt-static") && is_known_glibc() {
        println!("cargo:rustc-cfg=own_libc_start");
        // An older one could not apply them.
        println!("cargo:rustc-link-arg-bin=tare=-Wl,-z,pack-relative-relocs");
    }
}

fn is_known_glibc() -> bool {
    let path = Command::new("cc").arg("-print-file-name=libc.a").output().map(|output| output.stdout);
    let path = path.ok().and_then(|path| String::from_utf8(path).ok()).unwrap_or_default();
    println!("cargo:rerun-if-changed={}", path.trim());
    let library = std::fs::read(path.trim()).unwrap_or_default();
    library.windows(GLIBC.len()).any(|window| window == GLIBC)
}
