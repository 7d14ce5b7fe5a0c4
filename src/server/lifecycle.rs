//! The end of an entry: its slot is freed, and the access log gets its line.

use std::rc::Rc;

use super::Server;
use super::owner::Owner;
use crate::client::access_record::{AccessRecord, BackEnd, Target};
use crate::log::Escaped;
use crate::source::{ClientId, ProcessId};
use crate::system::System;

/// The state of the access log besides the records of the clients.
pub(super) struct AccessLog {
    /// Records of clients that left before their command exited, by the command's slot. The line
    /// includes the exit status, so it is written when the process is freed.
    await_exit: Vec<Option<Box<AccessRecord>>>,
    /// The target of the latest client. Most clients ask for the same one and share it.
    last_target: Rc<Target>,
}

impl AccessLog {
    pub(super) fn new() -> Self {
        Self {
            await_exit: Vec::new(),
            last_target: Rc::new(Target {
                path: "".into(),
                back_end: BackEnd::Echo,
            }),
        }
    }

    /// Keeps a client's record until its command has exited.
    fn keep(&mut self, process: ProcessId, record: AccessRecord) {
        let slot = process.key() as usize;
        if slot >= self.await_exit.len() {
            self.await_exit.resize_with(slot + 1, || None);
        }
        self.await_exit[slot] = Some(Box::new(record));
    }

    /// The record that was kept until now.
    fn take(&mut self, process: ProcessId) -> Option<Box<AccessRecord>> {
        self.await_exit.get_mut(process.key() as usize)?.take()
    }

    pub(super) fn shrink_to_fit(&mut self) {
        let used = self.await_exit.iter().rposition(Option::is_some);
        self.await_exit.truncate(used.map_or(0, |last| last + 1));
        self.await_exit.shrink_to_fit();
    }

    /// The target of a client. It is shared with the previous client if the two are equal. Of a long
    /// path, only what the log shows is kept: each client may ask for a path of its own.
    pub(super) fn target(&mut self, path: &str, back_end: BackEnd) -> Rc<Target> {
        let path = Escaped::needed_of(path);
        if *self.last_target.path != *path || self.last_target.back_end != back_end {
            let path = path.into();
            self.last_target = Rc::new(Target { path, back_end });
        }
        Rc::clone(&self.last_target)
    }
}

impl<S: System> Server<S> {
    /// Frees the entries that ended in this turn.
    pub(super) fn free_gone(&mut self) {
        while let Some(owner) = self.gone.pop() {
            match owner {
                Owner::Client(id) => self.free_client(id),
                Owner::Process(id) => self.free_process(id),
                _ => {}
            }
        }
    }

    /// The server stops before all entries have ended: frees them, so that each has its line in the
    /// log.
    pub(super) fn free_all(&mut self) {
        let clients: Vec<_> = self.clients.iter().map(|(id, _)| id).collect();
        clients.into_iter().for_each(|id| self.free_client(id));
        let processes: Vec<_> = self.processes.iter().map(|(id, _)| id).collect();
        processes.into_iter().for_each(|id| self.free_process(id));
    }

    fn free_client(&mut self, id: ClientId) {
        if self.clients.is_outlier(id) {
            self.trim.outlier_left();
        }
        let Some(mut client) = self.clients.remove(id) else {
            return;
        };
        self.timers.disarm(Owner::Client(id), &mut client.wake_at);
        let process_id = client.process();
        let has_place = client.has_place;
        let Some(record) = client.into_record(&mut self.cx) else {
            return;
        };
        match has_place {
            true => self.admission.left(record.ip()),
            false => self.admission.freed(),
        }
        let process = process_id.and_then(|it| Some((it, self.processes.get(it)?)));
        match process {
            Some((process_id, process))
                if record.exit.is_none() && process.started_for() == Some(id) =>
            {
                self.access_log.keep(process_id, record);
            }
            _ => self.log_access(&record),
        }
    }

    /// A client that is no longer open gives up its place under the limits on clients. Its connection
    /// may take longer. One that is still a member of its session keeps its place: if it is lost
    /// before it answers, the session waits for it.
    pub(super) fn release_place(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if client.is_open() || !client.has_place {
            return;
        }
        let process = client.process().and_then(|it| self.processes.get(it));
        let session = process.and_then(|it| it.audience.session());
        if !session.is_some_and(|it| it.fan_out.members.contains(&id)) {
            client.has_place = false;
            self.admission.closed(client.ip());
        }
    }

    fn free_process(&mut self, id: ProcessId) {
        self.release_awaited(id);
        if self.processes.is_outlier(id) {
            self.trim.outlier_left();
        }
        let Some(mut process) = self.processes.remove(id) else {
            return;
        };
        self.timers.disarm(Owner::Process(id), &mut process.wake_at);
        process.discard_buffers(&mut self.cx);
        if self.children.freed(process.pid(), id, process.exit()) {
            self.system.release_group(process.pid());
        }
        let client = process.started_for();
        if let Some(mut record) = self.access_log.take(id) {
            record.exit = process.exit();
            self.log_access(&record);
        } else if let Some(client) = client.and_then(|it| self.clients.get_mut(it)) {
            client.note_exit(process.exit());
        } else if client.is_none()
            && let Some(exit) = process.exit()
        {
            // The clients of a session or shared command have lines of their own, which may have
            // been written long before.
            let pid = process.pid();
            let log = &self.cx.log;
            log.info(format_args!("ended pid={pid} exit=\"{exit}\""));
        }
    }

    fn log_access(&self, record: &AccessRecord) {
        let log = &self.cx.log;
        log.info(format_args!("{}", record.line(self.cx.now)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_path_only_what_the_log_shows_is_kept() {
        let mut log = AccessLog::new();
        let long = format!("/{}", "a".repeat(8191));
        let target = log.target(&long, BackEnd::Echo);
        assert!(target.path.len() < 300, "{} bytes", target.path.len());
        let shown = |path: &str| Escaped(path.as_bytes()).to_string();
        assert_eq!(shown(&target.path), shown(&long));
        // A longer one has the same line, so it needs no other target.
        let again = log.target(&(long + "b"), BackEnd::Echo);
        assert!(Rc::ptr_eq(&target, &again));
        let other = log.target("/b", BackEnd::Echo);
        assert_eq!(*other.path, *"/b");
    }
}
