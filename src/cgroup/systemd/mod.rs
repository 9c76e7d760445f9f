//! The cgroup of a container as a unit of systemd: a transient scope, made by D-Bus.
//!
//! A scope is made around a process, so the container's first process is there before its cgroup is. It does nothing
//! until it is in: its first act is to ask the parent (`NeedCgroup`), which starts the scope with its pid, writes what
//! systemd has no word for, puts the device policy in force, and only then answers. The other way round, a placeholder
//! in the scope and `CLONE_INTO_CGROUP` past it, would take a process more to make, kill and reap for the same call of
//! systemd, and fails without root: the caller may not move a process from its own session into the scope, as nobody
//! but root may write to the cgroup that both are in. systemd can. What is charged to the caller this way is the making
//! of one process, as in runc and crun.
//!
//! Whatever runs later needs no D-Bus: `exec`, `kill`, `pause` use the files, since the scope is delegated. `update` says
//! everything twice, to systemd (which would undo at its next reload what it does not know) and to the files (which
//! have more words). `delete` stops the unit.

mod bus;
mod wire;

use std::cell::{Cell, RefCell};

use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::{Manager, V1};
use crate::error::{Error, Kind, Result};
use crate::plan::cgroup::systemd::{self as plan, Property, Value};
use crate::plan::cgroup::{CgroupPlan, Place, Write};
use bus::{Bus, Failure};

/// Which unit a container has: what has to be known of it later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// It is of the systemd of a user.
    pub user: bool,
}

/// A cgroup that systemd has made.
#[derive(Debug)]
pub struct Systemd {
    /// Its unit.
    pub(super) unit: Unit,
    /// Its directories.
    pub(super) files: Box<Manager>,
}

/// A unit that is to be started.
#[derive(Debug)]
pub struct Maker {
    bus: RefCell<Bus>,
    unit: plan::Unit,
    user: bool,
    accepted: Cell<bool>,
}

impl Maker {
    /// Connects to systemd, before anything is made.
    ///
    /// # Errors
    /// There is none, or it does not answer.
    pub fn connect(unit: plan::Unit, user: bool) -> Result<Maker> {
        let bus = RefCell::new(Bus::connect(user)?);
        Ok(Maker { bus, unit, user, accepted: Cell::new(false) })
    }

    /// Where the unit's cgroup will be.
    pub fn place(&self) -> Place {
        Place::Absolute(match self.bus.borrow().root.as_str() {
            "" => self.unit.path(),
            root => format!("{root}/{}", self.unit.path()),
        })
    }

    /// Whether the unit is a slice, which processes are put into once it is there.
    pub fn is_slice(&self) -> bool {
        self.unit.is_slice()
    }

    /// Whether the unit is ours: not before systemd has agreed to make it, since one of that name may be somebody else's.
    pub fn is_ours(&self) -> bool {
        self.accepted.get()
    }

    /// The cgroup as it will be, for the record. The place of `plan` is [`Maker::place`].
    ///
    /// # Errors
    /// A user's systemd has no cgroup v1 to give ([`Kind::Unsupported`]).
    pub fn planned(&self, layout: &Layout, plan: &CgroupPlan) -> Result<Manager> {
        if self.user && !layout.is_v2() {
            let what = "cannot use the systemd cgroup driver without root on cgroup v1";
            return Err(Error::new(Kind::Unsupported, what));
        }
        let unit = Unit { name: self.unit.name.clone(), user: self.user };
        let files = Box::new(Manager::planned(layout, plan)?);
        Ok(Manager::Systemd(Systemd { unit, files }))
    }

    /// Starts the unit around a process (a scope) or without one (a slice), and completes its cgroup: afterwards all
    /// limits and the device policy are in force.
    ///
    /// # Errors
    /// systemd refuses; a limit has no controller or is refused. What is made is left to [`Manager::delete`].
    pub fn start(
        &self,
        manager: &Manager,
        layout: &Layout,
        plan: &CgroupPlan,
        pid: Option<i32>,
    ) -> Result<()> {
        let v2 = layout.is_v2();
        let writes = writes(plan, v2)?;
        let mut properties = self.base(pid, v2);
        properties.extend(self.unit.properties.iter().cloned());
        let mut optional = plan::limits(writes, v2);
        if v2 {
            optional.extend(plan::memory_oom_policy(writes));
        }
        properties.extend(plan::devices(&plan.devices, v2));
        let name = &self.unit.name;
        self.start_unit(&properties, optional).map_err(|e| e.context(format!("systemd: start {name}")))?;
        manager.complete(layout, plan)?;
        if let Some(weight) = writes.iter().find_map(plan::in_file)
            && manager.unified().is_some_and(|dir| v2 && dir.read("io.bfq.weight").is_err())
        {
            let arguments = set_arguments(name, &[weight]);
            self.bus.borrow_mut().call("SetUnitProperties", &arguments).map_err(Failure::into_error)?;
        }
        Ok(())
    }

    fn base(&self, pid: Option<i32>, v2: bool) -> Vec<Property> {
        let slice = Value::str(&self.unit.slice);
        let mut properties =
            vec![("Description", Value::str(format!("tare container {}", self.unit.container)))];
        if self.unit.is_slice() {
            // Where a slice is follows from its name.
            properties.push(("Wants", Value::strings([&self.unit.slice])));
        } else {
            properties.push(("Slice", slice));
            properties.push(("Delegate", Value::Bool(true)));
        }
        if let Some(pid) = pid.and_then(|pid| u32::try_from(pid).ok()) {
            properties.push(("PIDs", Value::Array("u".into(), vec![Value::U32(pid)])));
        }
        let io = if v2 { "IOAccounting" } else { "BlockIOAccounting" };
        for accounting in ["CPUAccounting", "MemoryAccounting", io, "TasksAccounting"] {
            properties.push((accounting, Value::Bool(true)));
        }
        // Those would order the container after the whole boot, and have it stopped by a shutdown before its engine is.
        properties.push(("DefaultDependencies", Value::Bool(false)));
        properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Starts the unit. A leftover of the same name that has failed is forgotten first. What this systemd has no
    /// property for is left out, as it will not touch the file either; the file is written all the same.
    fn start_unit(&self, properties: &[Property], mut optional: Vec<Property>) -> Result<()> {
        let name = &self.unit.name;
        let mut bus = self.bus.borrow_mut();
        let mut reset = false;
        loop {
            let all = properties.iter().chain(&optional).map(pair).collect();
            let arguments = [
                Value::str(name),
                Value::str("replace"),
                Value::Array("(sv)".into(), all),
                Value::Array("(sa(sv))".into(), Vec::new()),
            ];
            match bus.call("StartTransientUnit", &arguments) {
                Ok(answer) => {
                    self.accepted.set(true);
                    return bus.finish(&answer);
                }
                Err(failure) if failure.is("UnitExists") && !reset => {
                    reset = true;
                    let _ = bus.call("ResetFailedUnit", &[Value::str(name)]);
                }
                Err(failure) if failure.is("UnitExists") => {
                    let what = "there is a unit of this name already, which is not the container's";
                    return Err(Error::new(Kind::State, what));
                }
                Err(failure) => match unknown(&failure, &optional) {
                    Some(at) => {
                        let (property, _) = optional.swap_remove(at);
                        crate::log::debug(|| format!("systemd has no property {property} like this"));
                    }
                    None => return Err(failure.into_error()),
                },
            }
        }
    }
}

/// Which of the properties systemd does not know, or not with such a value.
fn unknown(failure: &Failure, optional: &[Property]) -> Option<usize> {
    let Failure::Refused(name, text) = failure else { return None };
    if !["PropertyReadOnly", "InvalidArgs"].iter().any(|end| name.ends_with(end)) {
        return None;
    }
    let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    optional.iter().position(|(name, _)| words.contains(&name.as_str()))
}

/// The limits in the dialect of the host. Beside v1, controllers that live in v2 have no property.
fn writes(plan: &CgroupPlan, v2: bool) -> Result<&[Write]> {
    if v2 { plan.v2.writes() } else { plan.v1.writes() }
}

fn pair((name, value): &Property) -> Value {
    Value::Struct(vec![Value::str(name), Value::Variant(Box::new(value.clone()))])
}

fn set_arguments(unit: &str, properties: &[Property]) -> [Value; 3] {
    let pairs = properties.iter().map(pair).collect();
    // Only until the unit is gone: nothing is written to a disk.
    [Value::str(unit), Value::Bool(true), Value::Array("(sv)".into(), pairs)]
}

impl Systemd {
    /// Tells systemd the new limits, and waits until it has written them.
    pub(super) fn set(&self, plan: &CgroupPlan) -> Result<()> {
        let v2 = matches!(*self.files, Manager::V2(_));
        let mut properties = plan::limits(writes(plan, v2)?, v2);
        if properties.is_empty() {
            return Ok(());
        }
        let mut bus = Bus::connect(self.unit.user)?;
        let mut set = || loop {
            let arguments = set_arguments(&self.unit.name, &properties);
            match bus.call_and_settle("SetUnitProperties", &arguments) {
                Ok(()) => return Ok(()),
                Err(failure) => match unknown(&failure, &properties) {
                    Some(at) => drop(properties.swap_remove(at)),
                    None => return Err(failure.into_error()),
                },
            }
        };
        match &*self.files {
            Manager::V1(v1) => self.with_devices_kept(v1, plan, set),
            _ => set(),
        }
        .map_err(|e| e.context(format!("systemd: set properties of {}", self.unit.name)))
    }

    /// On v1 systemd applies the devices of its unit with any other property, from none up, to processes that run: they
    /// are held still, and get back what they had, with what others have added to it.
    fn with_devices_kept(&self, v1: &V1, plan: &CgroupPlan, set: impl FnOnce() -> Result<()>) -> Result<()> {
        let files = &self.files;
        let Some(devices) = v1.devices() else { return set() };
        let read = |errno| Error::os(errno, format!("read {}/devices.list", devices.path));
        let before = devices.read("devices.list").map_err(read)?;
        let frozen = !files.is_frozen()? && files.freeze().is_ok();
        let mut result = set();
        if devices.read("devices.list").map_err(read)? != before {
            result = result.and(files.restore_devices(&before, &plan.devices));
        }
        if frozen { result.and(files.thaw()) } else { result }
    }

    /// Has systemd put a process into the cgroup, when the caller may not.
    pub(super) fn attach(&self, pid: i32) -> Result<()> {
        let pids = u32::try_from(pid).into_iter().map(Value::U32).collect();
        let arguments = [Value::str(&self.unit.name), Value::str("/"), Value::Array("u".into(), pids)];
        let attached = Bus::connect(self.unit.user)
            .and_then(|mut bus| bus.call("AttachProcessesToUnit", &arguments).map_err(Failure::into_error));
        attached.map(drop).map_err(|e| e.context(format!("systemd: attach a process to {}", self.unit.name)))
    }

    /// Stops the unit, which nobody is in any more, and sees to it that systemd forgets it. It has mostly done so itself.
    pub(super) fn stop(&self) -> Result<()> {
        let name = Value::str(&self.unit.name);
        let stop = || -> Result<(), Failure> {
            let mut bus = Bus::connect(self.unit.user)?;
            let answer = bus.call("StopUnit", &[name.clone(), Value::str("replace")])?;
            let finished = bus.finish(&answer);
            // One that has failed would stay, for somebody to look at.
            let _ = bus.call("ResetFailedUnit", &[name]);
            Ok(finished?)
        };
        match stop() {
            Err(failure) if failure.is("NoSuchUnit") => Ok(()),
            result => result
                .map_err(|failure| failure.into_error().context(format!("systemd: stop {}", self.unit.name))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_limits_that_systemd_does_not_know_are_left_out() {
        let optional =
            [("CPUWeight".to_owned(), Value::U64(0)), ("MemoryZSwapMax".to_owned(), Value::U64(1))];
        let failure = |name: &str, text: &str| Failure::Refused(name.into(), text.into());
        let read_only = "org.freedesktop.DBus.Error.PropertyReadOnly";
        let invalid = "org.freedesktop.DBus.Error.InvalidArgs";
        for (failure, want) in [
            (failure(read_only, "Cannot set property MemoryZSwapMax, or unknown property."), Some(1)),
            (failure(invalid, "Value specified in CPUWeight is out of range"), Some(0)),
            (failure(read_only, "Cannot set property Foo, or unknown property."), None),
            (failure(read_only, "Cannot set property XCPUWeight, or unknown property."), None),
            (failure("org.freedesktop.systemd1.UnitExists", "CPUWeight"), None),
            (Failure::Broken(Error::new(Kind::System, "CPUWeight")), None),
        ] {
            assert_eq!(unknown(&failure, &optional), want, "{failure:?}");
        }
    }

    #[test]
    fn the_record_of_a_unit() {
        let json = r#"{"name":"a-b.scope","user":true}"#;
        let unit: Unit = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&unit).unwrap(), json);
    }
}
