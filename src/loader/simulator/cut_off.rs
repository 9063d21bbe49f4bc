//! Work that is cut off: given up, lost with its connection or with its process.

use super::world::{Event, World};
use super::writer::Running;
use crate::loader::lane::{Refused, Told};

impl World {
    /// Cancels a task; now and then it is quicker than its cancelling, or cannot be reached.
    pub(super) fn give_up(&mut self, process: usize, work: u64) {
        let life = self.processes[process].life;
        let is_it = |running: &&Running| {
            (running.process, running.life, running.work.id) == (process, life, work) && !running.is_answered
        };
        let Some(number) = self.running.iter().find(is_it).map(|running| running.number) else { return };
        self.say(|_| format!("loader {process} gives up work {work}"));
        if self.random.percent(20) {
            let commits = self.random.percent(50);
            for open in self.server.open.iter_mut().filter(|open| open.number == number) {
                open.process = None;
            }
            self.after(2_000, Event::OrphanEnds { open: number, commits });
        } else {
            self.server.take(number);
        }
        self.lets_go(number, Told::PutBack);
    }

    pub(super) fn orphan_ends(&mut self, open: u64, commits: bool) {
        let Some(open) = self.server.take(open) else { return };
        self.say(|_| format!("a lost transaction of organization {} ends: {commits}", open.key));
        if commits {
            let committed = self.server.durable.commit(&self.log, open.place, open.key, open.transaction);
            self.must(committed, || format!("an orphan of organization {} of {:?}", open.key, open.place));
        }
    }

    /// The process is gone: the server ends what it had open, one way or the other.
    pub(super) fn writers_are_gone(&mut self, process: usize) {
        let (gone, stay): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.running).into_iter().partition(|running| running.process == process);
        self.running = stay;
        for running in gone {
            for draining in &mut self.server.draining {
                *draining = draining.filter(|by| *by != running.number);
            }
            let (commits, takes) = (self.random.percent(40), self.random.within(1, 1_500));
            for open in self.server.open.iter_mut().filter(|open| open.number == running.number) {
                open.process = None;
            }
            self.after(takes, Event::OrphanEnds { open: running.number, commits });
        }
    }

    /// Postgres ends what a frozen loader left open.
    pub(super) fn roll_back_those_of(&mut self, process: usize) {
        let numbers: Vec<u64> = self
            .server
            .open
            .iter()
            .filter(|open| open.process == Some(process))
            .map(|open| open.number)
            .collect();
        for number in numbers {
            self.server.take(number);
        }
        for running in self.running.iter_mut().filter(|running| running.process == process) {
            running.is_cut_off = true;
            let number = running.number;
            for draining in &mut self.server.draining {
                *draining = draining.filter(|by| *by != number);
            }
        }
    }

    pub(super) fn loses_connection(&mut self) {
        let Some(running) = self.running.iter().find(|running| !running.is_answered) else { return };
        let number = running.number;
        self.server.take(number);
        self.lets_go(number, Told::Refused(Refused::Server));
    }

    /// The server is away, or another life of it: what was open is rolled back.
    pub(super) fn connections_are_lost(&mut self) {
        (0..self.processes.len()).for_each(|process| self.roll_back_those_of(process));
        self.server.open.clear();
    }
}
