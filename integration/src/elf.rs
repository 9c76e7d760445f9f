//! A program of a few bytes, made here: it says a word and ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What [`tiny_program`] ends with.
pub const TINY_CODE: i32 = 42;

const HEADER: usize = 64;
const SEGMENT: usize = 56;

/// Writes an executable that prints `word` and a newline and ends with [`TINY_CODE`], by write(2) and exit(2) alone. The
/// kernel takes it as a program, as the interpreter of a script and as the interpreter of an ELF program. With
/// `interpreter` it is one that needs that.
pub fn tiny_program(path: &Path, word: &str, interpreter: Option<&str>) {
    fs::write(path, bytes(word, interpreter)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn bytes(word: &str, interpreter: Option<&str>) -> Vec<u8> {
    let segments = 1 + usize::from(interpreter.is_some());
    let start = HEADER + segments * SEGMENT;
    let message = format!("{word}\n");
    let code = code(message.len() as u32);
    let interpreter_at = start + code.len() + message.len();
    let name = interpreter.map(|path| format!("{path}\0")).unwrap_or_default();
    let size = interpreter_at + name.len();
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |elf: &mut Vec<u8>, all: &[u16]| all.iter().for_each(|n| elf.extend(n.to_le_bytes()));
    let long =
        |elf: &mut Vec<u8>, all: &[usize]| all.iter().for_each(|n| elf.extend((*n as u64).to_le_bytes()));
    let word32 = |elf: &mut Vec<u8>, all: &[u32]| all.iter().for_each(|n| elf.extend(n.to_le_bytes()));
    // Position-independent, so that a program and its interpreter are not in each other's way.
    half(&mut elf, &[3, if cfg!(target_arch = "x86_64") { 62 } else { 183 }]);
    word32(&mut elf, &[1]);
    long(&mut elf, &[start, HEADER, 0]);
    word32(&mut elf, &[0]);
    half(&mut elf, &[HEADER as u16, SEGMENT as u16, segments as u16, 0, 0, 0]);
    if interpreter.is_some() {
        word32(&mut elf, &[3, 4]);
        long(&mut elf, &[interpreter_at, interpreter_at, interpreter_at, name.len(), name.len(), 1]);
    }
    word32(&mut elf, &[1, 5]);
    long(&mut elf, &[0, 0, 0, size, size, 4096]);
    elf.extend(code);
    elf.extend(message.as_bytes());
    elf.extend(name.as_bytes());
    elf
}

/// `write(1, message, len); exit(42)`, the message being right behind it.
#[cfg(target_arch = "x86_64")]
fn code(len: u32) -> Vec<u8> {
    let exit = [0xbf, TINY_CODE as u8, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    let mut code = vec![0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0xba];
    code.extend(len.to_le_bytes());
    code.extend([0x48, 0x8d, 0x35, 2 + exit.len() as u8, 0, 0, 0, 0x0f, 0x05]);
    code.extend(exit);
    code
}

#[cfg(target_arch = "aarch64")]
fn code(len: u32) -> Vec<u8> {
    let svc = 0xd400_0001_u32;
    // The message is seven instructions behind the second.
    let all = [
        0xd280_0020,
        0x1000_0001 | 7 << 5,
        0xd280_0002 | len << 5,
        0xd280_0808,
        svc,
        0xd280_0000 | (TINY_CODE as u32) << 5,
        0xd280_0ba8,
        svc,
    ];
    all.iter().flat_map(|n| n.to_le_bytes()).collect()
}
