//! The entry point of the program: `sys/start.rs` tells why it is not libc's.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = |key: &str| std::env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();
    if target("ARCH") == "x86_64" && target("ENV") == "gnu" {
        println!("cargo:rustc-link-arg-bin=tare=-Wl,--entry=tare_start");
    }
}
