//! `linux.seccomp`: what can be said without compiling it.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction as Action};

use super::Judge;

/// `SECCOMP_RET_DATA`: a larger return value would reach into the bits that say which action it is.
const LARGEST_RET: u32 = 0xffff;

impl Judge<'_> {
    pub(super) fn seccomp(&mut self, seccomp: &LinuxSeccomp) {
        let at = "linux.seccomp";
        let default = seccomp.default_action();
        self.errno_ret(format!("{at}.defaultErrnoRet"), default, seccomp.default_errno_ret());
        if default == Action::ScmpActNotify {
            // Our own message to the agent would have to wait for the agent.
            self.bad(format!("{at}.defaultAction"), "SCMP_ACT_NOTIFY cannot be used as default action");
        }
        let mut notify = None;
        for (i, rule) in seccomp.syscalls().iter().flatten().enumerate() {
            let at = || format!("{at}.syscalls[{i}]");
            if rule.names().is_empty() {
                self.bad(format!("{}.names", at()), "must contain at least one entry");
            }
            if rule.errno_ret().is_some() {
                self.errno_ret(format!("{}.errnoRet", at()), rule.action(), rule.errno_ret());
            }
            if rule.action() == Action::ScmpActNotify {
                notify.get_or_insert(i);
                if let Some(j) = rule.names().iter().position(|name| name == "write") {
                    let text = "SCMP_ACT_NOTIFY cannot be used for the write syscall";
                    self.bad(format!("{}.names[{j}]", at()), text);
                }
            }
            for (j, arg) in rule.args().iter().flatten().enumerate() {
                if arg.index() > 5 {
                    let text = format!("{} is not between 0 and 5", arg.index());
                    self.bad(format!("{}.args[{j}].index", at()), text);
                }
            }
        }
        match seccomp.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => self.absolute(|| format!("{at}.listenerPath"), &path.to_string_lossy()),
            None => {
                if let Some(i) = notify {
                    let text = format!("must be specified: syscalls[{i}] has the action SCMP_ACT_NOTIFY");
                    self.bad(format!("{at}.listenerPath"), text);
                }
                if seccomp.listener_metadata().as_ref().is_some_and(|text| !text.is_empty()) {
                    self.bad(format!("{at}.listenerMetadata"), "must not be set without listenerPath");
                }
            }
        }
    }

    fn errno_ret(&mut self, path: String, action: Action, ret: Option<u32>) {
        let Some(ret) = ret else { return };
        if !matches!(action, Action::ScmpActErrno | Action::ScmpActTrace) {
            self.bad(path, format!("the action {action} does not return a number"));
        } else if ret > LARGEST_RET {
            self.bad(path, format!("{ret} is larger than {LARGEST_RET}"));
        }
    }
}
