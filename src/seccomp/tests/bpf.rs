//! An interpreter of the classic BPF that seccomp takes, strict about everything the kernel's checker refuses.

use crate::seccomp::Insn;

/// What the kernel shows a filter of one call.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub nr: u32,
    pub arch: u32,
    pub args: [u64; 6],
    pub big_endian: bool,
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.nr,
            4 => self.arch,
            16..64 if offset.is_multiple_of(4) => {
                let arg = self.args[(offset as usize - 16) / 8];
                let high = (offset % 8 == 4) != self.big_endian;
                if high { (arg >> 32) as u32 } else { arg as u32 }
            }
            _ => panic!("load of offset {offset}"),
        }
    }
}

/// The verdict and how many instructions it took.
pub fn run(program: &[Insn], call: &Call) -> (u32, usize) {
    let (mut acc, mut pc, mut steps) = (0u32, 0, 0);
    loop {
        let insn = &program[pc];
        pc += 1;
        steps += 1;
        let condition = match insn.code {
            0x06 => return (insn.k, steps),
            0x20 => {
                acc = call.word(insn.k);
                continue;
            }
            0x54 => {
                acc &= insn.k;
                continue;
            }
            0x05 => {
                pc += insn.k as usize;
                continue;
            }
            0x15 => acc == insn.k,
            0x25 => acc > insn.k,
            0x35 => acc >= insn.k,
            0x45 => acc & insn.k != 0,
            code => panic!("instruction {code:#x}"),
        };
        pc += usize::from(if condition { insn.jt } else { insn.jf });
    }
}
