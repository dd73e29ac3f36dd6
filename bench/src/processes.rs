//! A program and all processes that it starts: what they use together, and their end.
//!
//! Invariant: the program leads a process group of its own, and the group does not outlive its `Processes`.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use windlass_testkit::{Program, TICKS_PER_SECOND, poll};

/// Processes of this name run what is the user's and are not counted in a server's memory.
const APPLICATION: &str = "application";

/// A program with its children.
#[derive(Debug)]
pub struct Processes {
    program: Program,
}

/// What processes use together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    /// Resident memory of the server's processes, in bytes.
    pub memory_bytes: u64,
    /// The sum of the highest that each of them ever had.
    pub peak_bytes: u64,
    /// Resident memory of the processes named `application`.
    pub application_bytes: u64,
    /// Processor time of all of them.
    pub cpu: Duration,
}

impl Processes {
    /// Starts a program at the head of a process group.
    ///
    /// # Errors
    /// There is no such program.
    pub fn start(command: &mut Command) -> Result<Processes> {
        Ok(Processes { program: Program::start(command.process_group(0))? })
    }

    /// The program itself.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// What they use now.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub fn usage(&self) -> Result<Use> {
        let all = all()?;
        let members = members(&all, self.program.id());
        Ok(members.iter().fold(Use::default(), |sum, process| sum.plus(process)))
    }

    /// Asks all of them to end, and kills what has not ended within `patience`.
    ///
    /// # Errors
    /// There is no `/proc`, or a process cannot be killed.
    pub fn stop(mut self, patience: Duration) -> Result<()> {
        self.signal(Signal::TERM);
        let until = Instant::now() + patience;
        let ended = poll("the end of a process group", patience, || {
            // Its leader is a child of ours and stays in the table until it is waited for.
            let _ = self.program.ended()?;
            Ok(members(&all()?, self.program.id()).is_empty().then_some(()))
        });
        if ended.is_err() {
            eprintln!("  killed, {} s after it was asked to end", (until.elapsed() + patience).as_secs());
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        let group = i32::try_from(self.program.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // They may have ended by themselves.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

impl Use {
    fn plus(self, process: &Process) -> Use {
        let is_application = process.name == APPLICATION;
        let counted = |bytes: u64, counts: bool| if counts { bytes } else { 0 };
        let (memory_bytes, peak_bytes) = process.memory_bytes();
        Use {
            memory_bytes: self.memory_bytes + counted(memory_bytes, !is_application),
            peak_bytes: self.peak_bytes + counted(peak_bytes, !is_application),
            application_bytes: self.application_bytes + counted(memory_bytes, is_application),
            cpu: self.cpu + process.cpu,
        }
    }
}

/// A line of the table of processes.
#[derive(Debug)]
struct Process {
    id: u32,
    name: String,
    parent: u32,
    group: u32,
    cpu: Duration,
}

impl Process {
    /// Reads `/proc/…/stat`; the name in parentheses may hold anything, blanks and parentheses too.
    fn read(id: u32, stat: &str) -> Option<Process> {
        let name = stat.get(stat.find('(')? + 1..stat.rfind(')')?)?.to_owned();
        let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        // A zombie uses nothing.
        if fields.first() == Some(&"Z") {
            return None;
        }
        Some(Process {
            id,
            name,
            parent: u32::try_from(number(1)?).ok()?,
            group: u32::try_from(number(2)?).ok()?,
            // Of itself, and of its children that have ended.
            cpu: Duration::from_millis(
                (number(11)? + number(12)? + number(13)? + number(14)?) * 1_000 / TICKS_PER_SECOND,
            ),
        })
    }

    fn memory_bytes(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap_or_default();
        let bytes = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
        };
        let now = bytes("VmRSS:").unwrap_or(0);
        (now, bytes("VmHWM:").unwrap_or(now))
    }
}

/// All processes of the machine.
fn all() -> Result<Vec<Process>> {
    let entries = fs::read_dir("/proc").context("no /proc")?.flatten();
    let ids = entries.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
    Ok(ids.filter_map(|id| Process::read(id, &fs::read_to_string(format!("/proc/{id}/stat")).ok()?)).collect())
}

/// Those of a group, and what descends from it: a child may have begun a group of its own.
fn members(all: &[Process], leader: u32) -> Vec<&Process> {
    let mut members: Vec<&Process> = all.iter().filter(|it| it.group == leader || it.id == leader).collect();
    let mut next = 0;
    while let Some(parent) = members.get(next) {
        let known: Vec<u32> = members.iter().map(|it| it.id).collect();
        members.extend(all.iter().filter(|it| it.parent == parent.id && !known.contains(&it.id)));
        next += 1;
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_is_read_whatever_its_name() {
        let stat = "42 (a (b) c) S 7 40 40 0 -1 4194304 1 0 0 0 150 50 30 20 20 0 1 0 5 0 0";
        let process = Process::read(42, stat).unwrap();
        assert_eq!((process.id, process.name.as_str(), process.parent, process.group), (42, "a (b) c", 7, 40));
        assert_eq!(process.cpu, Duration::from_millis(2_500));
        assert!(Process::read(42, "42 (gone) Z 7 40 40 0 -1 4194304 1 0 0 0 150 50 30 20 20 0 1 0 5").is_none());
        assert!(Process::read(42, "42").is_none());
    }

    #[test]
    fn children_belong_to_a_group_even_when_they_began_their_own() {
        let process = |id, parent, group| Process { id, name: String::new(), parent, group, cpu: Duration::ZERO };
        let all = [process(1, 0, 1), process(10, 1, 10), process(11, 10, 10), process(12, 11, 12), process(20, 1, 20)];
        let ids: Vec<u32> = members(&all, 10).iter().map(|it| it.id).collect();
        assert_eq!(ids, [10, 11, 12]);
    }

    #[test]
    fn a_program_and_its_child_end_together() {
        let mut command = Command::new("sh");
        let mut processes = Processes::start(command.args(["-c", "sleep 600 & wait"])).unwrap();
        let leader = processes.program().id();
        poll("the child", Duration::from_secs(10), || Ok((members(&all()?, leader).len() == 2).then_some(()))).unwrap();
        assert!(processes.usage().unwrap().memory_bytes > 0);
        processes.stop(Duration::from_secs(10)).unwrap();
        assert!(members(&all().unwrap(), leader).is_empty());
    }
}
