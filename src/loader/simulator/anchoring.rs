//! Anchors that are moved: `receive/anchors.rs` and `anchor.rs`.

use super::log::{KEYS, Place};
use super::world::{OfProcess, World};
use crate::loader::anchor::{AnchorMove, Moved};
use crate::loader::receive::Ended;

/// Anchors on their way, and the partitions that go back to the group with them.
#[derive(Debug)]
pub(super) struct Moves {
    moves: Vec<AnchorMove>,
    revocation: Option<Vec<i32>>,
    tries: u32,
}

impl World {
    pub(super) fn anchor(&mut self, process: usize) {
        let state = &mut self.processes[process];
        if state.anchoring.is_writing() || state.is_closing() || state.ending == Some(Ended::Rewound) {
            return;
        }
        let moves = state.anchoring.moves(&mut state.dispatcher, None);
        if !moves.is_empty() {
            self.write_anchors(process, moves, None);
        }
    }

    pub(super) fn write_anchors(
        &mut self,
        process: usize,
        mut moves: Vec<AnchorMove>,
        revocation: Option<Vec<i32>>,
    ) {
        moves.sort_unstable_by_key(|one| one.partition);
        self.processes[process].anchoring.begin_to_write();
        let takes = self.random.within(1, 8);
        self.of_process(process, takes, OfProcess::MovesAnchors(Moves { moves, revocation, tries: 3 }));
    }

    /// The transaction that moves anchors, as the server sees it.
    pub(super) fn moves_anchors(&mut self, process: usize, mut moves: Moves) {
        if moves.moves.is_empty() {
            return self.of_process(process, 0, OfProcess::Anchored(moves, Some(Moved::All)));
        }
        if self.server.is_away {
            moves.tries -= 1;
            return match moves.revocation.is_some() && moves.tries > 0 {
                true => self.of_process(process, 500, OfProcess::MovesAnchors(moves)),
                false => self.of_process(process, 1, OfProcess::Anchored(moves, None)),
            };
        }
        let (identity, mut durable) =
            (self.processes[process].identity, self.server.durable.database.clone());
        let generation = self.processes[process].generation;
        let places: Vec<Place> = moves.moves.iter().map(|one| self.place(process, one.partition)).collect();
        let are_moved = moves.moves.iter().zip(&places).all(|(one, place)| {
            let from = one.from.map(|from| from.next_offset);
            durable.move_anchor(place.number(), identity, from, one.to.next_offset)
        });
        if are_moved {
            self.server.durable.database = durable;
            self.say(|_| {
                let to: Vec<_> = moves.moves.iter().map(|one| (one.partition, one.to.next_offset)).collect();
                format!("loader {process}: anchors of generation {generation} are moved: {to:?}")
            });
            for place in places {
                for key in 0..KEYS {
                    let checked = self.server.durable.check(&self.log, place, key);
                    self.must(checked, || format!("organization {key} below the anchor of {place:?}"));
                }
            }
        }
        let is_lost = self.random.percent(self.plan.lost_answers) && !self.is_healed;
        let moved = if are_moved { Moved::All } else { Moved::None };
        self.of_process(process, 1, OfProcess::Anchored(moves, (!is_lost).then_some(moved)));
    }

    pub(super) fn anchored(&mut self, process: usize, moves: Moves, moved: Option<Moved>) {
        self.processes[process].anchoring.written(&moves.moves, moved);
        for partition in moves.revocation.into_iter().flatten() {
            let partition = usize::try_from(partition).unwrap_or(0);
            self.processes[process].has[partition] = false;
            self.grant(partition);
        }
        if moved == Some(Moved::None) {
            self.end(process, Ended::Rewound);
        }
    }
}
