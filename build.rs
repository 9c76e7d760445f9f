//! The entry point of the program: `sys/start.rs` tells why it is not libc's.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let var = |key: &str| std::env::var(key).unwrap_or_default();
    let target = |key: &str| var(&format!("CARGO_CFG_TARGET_{key}"));
    // Unoptimised code calls even the step of a range through a table of addresses, which nobody has relocated yet.
    if target("ARCH") == "x86_64" && target("ENV") == "gnu" && var("OPT_LEVEL") != "0" {
        println!("cargo:rustc-link-arg-bin=tare=-Wl,--entry=tare_start");
    }
}
