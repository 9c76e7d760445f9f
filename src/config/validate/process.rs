//! `process`.

use std::collections::HashSet;

use oci_spec::runtime::{
    Capability, LinuxCapabilities, LinuxSchedulerPolicy as Policy, PosixRlimitType, Process, Scheduler, User,
};

use super::Judge;
use crate::config::access::ProcessExt;
use crate::config::capability;
use crate::config::problems::quote;

impl Judge<'_> {
    /// `at` is `process.` in config.json and empty in a document of its own.
    pub(super) fn process(&mut self, at: &str, process: &Process) {
        let path = |key: &str| format!("{at}{key}");
        if process.argv().is_empty() {
            self.bad(path("args"), "must not be empty");
        }
        for (i, text) in process.argv().iter().enumerate() {
            self.no_nul(|| format!("{at}args[{i}]"), text);
        }
        self.absolute(|| path("cwd"), &process.cwd().to_string_lossy());
        for (i, text) in process.environment().iter().enumerate() {
            // The texts are runc's, which refuses these as well.
            let wrong = match text.find('=') {
                None => Some("invalid environment variable: missing '='"),
                Some(0) => Some("invalid environment variable: name cannot be empty"),
                Some(_) => None,
            };
            if let Some(wrong) = wrong {
                self.bad(format!("{at}env[{i}]"), wrong);
            }
            self.no_nul(|| format!("{at}env[{i}]"), text);
        }
        self.user(at, process.user());
        if let Some(umask) = process.user().umask().filter(|umask| *umask > 0o777) {
            self.bad(path("user.umask"), format!("{umask} is larger than 511 (0777)"));
        }
        // Without a terminal it MUST be ignored (config.md, "Process").
        if let Some(size) = process.console_size().filter(|_| process.wants_terminal())
            && size.height().max(size.width()) > u64::from(u16::MAX)
        {
            self.bad(path("consoleSize"), "height and width must not be larger than 65535");
        }
        self.rlimits(at, process);
        if let Some(adj) = process.oom_score_adj().filter(|adj| !(-1000..=1000).contains(adj)) {
            self.bad(path("oomScoreAdj"), format!("{adj} is not between -1000 and 1000"));
        }
        if let Some(caps) = process.capabilities() {
            self.capabilities(at, caps);
        }
        if let Some(scheduler) = process.scheduler() {
            self.scheduler(at, scheduler);
        }
        if let Some(io) = process.io_priority()
            && !(0..=7).contains(&io.priority())
        {
            self.bad(path("ioPriority.priority"), format!("{} is not between 0 and 7", io.priority()));
        }
        if let Some(affinity) = process.exec_cpu_affinity() {
            for (key, list) in [("initial", affinity.initial()), ("final", affinity.cpu_affinity_final())] {
                if let Some(Err(why)) = list.as_deref().map(crate::config::cpu_list) {
                    self.bad(format!("{at}execCPUAffinity.{key}"), why);
                }
            }
        }
        self.labels(at, process);
    }

    fn user(&mut self, at: &str, user: &User) {
        let groups = user.additional_gids().iter().flatten().enumerate();
        let groups = groups.map(|(i, gid)| (format!("additionalGids[{i}]"), *gid));
        let all = [("uid".to_owned(), user.uid()), ("gid".to_owned(), user.gid())].into_iter().chain(groups);
        for (key, id) in all {
            self.id(|| format!("{at}user.{key}"), id);
        }
    }

    fn rlimits(&mut self, at: &str, process: &Process) {
        let mut seen: Vec<PosixRlimitType> = Vec::new();
        for (i, limit) in process.rlimits().iter().flatten().enumerate() {
            if seen.contains(&limit.typ()) {
                self.bad(format!("{at}rlimits[{i}].type"), format!("{} is given twice", limit.typ()));
            }
            seen.push(limit.typ());
            if limit.soft() > limit.hard() {
                let text =
                    format!("soft limit {} is larger than the hard limit {}", limit.soft(), limit.hard());
                self.bad(format!("{at}rlimits[{i}]"), text);
            }
        }
    }

    /// A capability that cannot be granted is logged, not an error (config.md, "Linux Process").
    fn capabilities(&mut self, at: &str, caps: &LinuxCapabilities) {
        let none = HashSet::new();
        let permitted = caps.permitted().as_ref().unwrap_or(&none);
        let inheritable = caps.inheritable().as_ref().unwrap_or(&none);
        let effective = caps.effective().iter().flatten().filter(|cap| !permitted.contains(cap));
        self.lost(format!("{at}capabilities.effective"), effective, "permitted");
        let both = |cap: &Capability| permitted.contains(cap) && inheritable.contains(cap);
        let ambient = caps.ambient().iter().flatten().filter(|cap| !both(cap));
        self.lost(format!("{at}capabilities.ambient"), ambient, "permitted and inheritable");
    }

    /// Likewise one that this runtime has not got itself, as in a container with few of them: its init can get no more.
    /// In a user namespace it has all.
    pub(super) fn grantable(&mut self, caps: &LinuxCapabilities) {
        let missing = self.host.missing_capabilities();
        let sets = [("permitted", caps.permitted()), ("inheritable", caps.inheritable())];
        for (name, set) in sets {
            let set = set.iter().flatten().filter(|cap| missing >> capability::number(**cap) & 1 == 1);
            self.lost(format!("process.capabilities.{name}"), set, "the capabilities of this process");
        }
    }

    fn lost<'a>(&mut self, path: String, caps: impl Iterator<Item = &'a Capability>, not_in: &str) {
        let mut names: Vec<String> = caps.map(|cap| format!("CAP_{cap}")).collect();
        names.sort_unstable();
        if !names.is_empty() {
            self.warn(format!("{path}: {} ignored: not in {not_in}", names.join(", ")));
        }
    }

    fn scheduler(&mut self, at: &str, s: &Scheduler) {
        let path = |key: &str| format!("{at}scheduler.{key}");
        let policy = *s.policy();
        if let Some(nice) = s.nice().filter(|nice| !(-20..=19).contains(nice)) {
            self.bad(path("nice"), format!("{nice} is not between -20 and 19"));
        }
        let priority = s.priority().unwrap_or(0);
        if matches!(policy, Policy::SchedFifo | Policy::SchedRr) {
            if !(1..=99).contains(&priority) {
                self.bad(path("priority"), format!("{priority} is not between 1 and 99, as {policy} needs"));
            }
        } else if priority != 0 {
            self.bad(path("priority"), "can only be specified for SCHED_FIFO or SCHED_RR policy");
        }
        let times = [s.runtime().unwrap_or(0), s.deadline().unwrap_or(0), s.period().unwrap_or(0)];
        let [runtime, deadline, period] = times;
        if policy != Policy::SchedDeadline {
            if times != [0; 3] {
                let text = "runtime, deadline and period can only be specified for SCHED_DEADLINE policy";
                self.bad(format!("{at}scheduler"), text);
            }
        } else if runtime == 0 || runtime > deadline || (period != 0 && deadline > period) {
            // A period of 0 stands for the deadline (sched(7)).
            self.bad(format!("{at}scheduler"), "SCHED_DEADLINE needs 0 < runtime <= deadline <= period");
        }
    }

    fn labels(&mut self, at: &str, process: &Process) {
        if let Some(profile) = process.apparmor() {
            // What "unconfined" asks for is so anyway without AppArmor.
            if profile != "unconfined" && !self.host.apparmor() {
                self.unsupported(format!("{at}apparmorProfile"), "apparmor is not enabled on this host");
            }
            if profile.contains(['\0', '\n']) {
                self.bad(format!("{at}apparmorProfile"), format!("{} is not a profile name", quote(profile)));
            }
        }
        if let Some(label) = process.selinux() {
            if !self.host.selinux() {
                self.unsupported(
                    format!("{at}selinuxLabel"),
                    "selinux label is specified in config, but selinux is disabled or not supported",
                );
            }
            self.no_nul(|| format!("{at}selinuxLabel"), label);
        }
    }
}
