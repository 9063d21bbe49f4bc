//! The events of one request.

/// Below intake's 512 KiB on the wire, with room for the envelope.
const MAX_BYTES: usize = 500_000;

/// Events of one organization, as JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Batch {
    /// Whose they are, as an index.
    pub(in crate::cli) organization: usize,
    /// Joined by commas, as they stand in the list of an envelope.
    joined: String,
    /// Where each ends in `joined`.
    ends: Vec<usize>,
}

impl Batch {
    pub(in crate::cli) fn new(organization: usize) -> Self {
        Self { organization, joined: String::new(), ends: Vec::new() }
    }

    /// How many events.
    pub(in crate::cli) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(in crate::cli) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// What stands between `[` and `]` of an envelope.
    pub(in crate::cli) fn joined(&self) -> &str {
        &self.joined
    }

    /// The events at these places alone; places that do not exist are left out.
    pub(in crate::cli) fn only(&self, places: &[usize]) -> Self {
        let mut some = Self::new(self.organization);
        for event in places.iter().filter_map(|place| self.event(*place)) {
            some.push(event);
        }
        some
    }

    fn event(&self, place: usize) -> Option<&str> {
        let end = *self.ends.get(place)?;
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before] + 1);
        self.joined.get(start..end)
    }

    pub(in crate::cli) fn push(&mut self, event: &str) {
        if !self.is_empty() {
            self.joined.push(',');
        }
        self.joined.push_str(event);
        self.ends.push(self.joined.len());
    }
}

/// Gathers events by organization until there are enough for a request.
#[derive(Debug)]
pub(in crate::cli) struct Batcher {
    max_events: usize,
    open: Vec<Batch>,
}

impl Batcher {
    pub(in crate::cli) fn new(organizations: usize, max_events: usize) -> Self {
        Self { max_events, open: (0..organizations).map(Batch::new).collect() }
    }

    /// Adds an event, and gives a batch that is full: by its number of events, or because one more would not fit.
    pub(in crate::cli) fn push(&mut self, organization: usize, event: &str) -> Option<Batch> {
        let open = &mut self.open[organization];
        let no_longer_fits = !open.is_empty() && open.joined.len() + event.len() > MAX_BYTES;
        let closed = no_longer_fits.then(|| std::mem::replace(open, Batch::new(organization)));
        open.push(event);
        if closed.is_none() && open.len() >= self.max_events {
            return Some(std::mem::replace(open, Batch::new(organization)));
        }
        closed
    }

    /// What is left over.
    pub(in crate::cli) fn finish(self) -> impl Iterator<Item = Batch> {
        self.open.into_iter().filter(|batch| !batch.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_full_by_events_and_holds_one_organization() {
        let mut batcher = Batcher::new(2, 2);
        assert_eq!(batcher.push(0, "{}"), None);
        assert_eq!(batcher.push(1, "[]"), None);
        let full = batcher.push(0, "{1}").expect("full");
        assert_eq!((full.organization, full.joined(), full.len()), (0, "{},{1}", 2));
        let rest: Vec<_> = batcher.finish().collect();
        assert_eq!(rest.len(), 1);
        assert_eq!((rest[0].organization, rest[0].joined()), (1, "[]"));
    }

    #[test]
    fn a_batch_is_full_by_bytes_before_intake_would_refuse_it() {
        let large = "x".repeat(MAX_BYTES / 2);
        let mut batcher = Batcher::new(1, 500);
        assert_eq!(batcher.push(0, &large), None);
        let full = batcher.push(0, &format!("{large}y")).expect("full");
        assert_eq!(full.len(), 1);
        assert_eq!(batcher.finish().map(|batch| batch.len()).sum::<usize>(), 1);
    }

    #[test]
    fn some_events_can_be_sent_alone() {
        let mut batch = Batch::new(3);
        ["a", "bb", "ccc"].into_iter().for_each(|event| batch.push(event));
        assert_eq!(batch.only(&[0, 2]).joined(), "a,ccc");
        assert_eq!(batch.only(&[1]).organization, 3);
        assert!(batch.only(&[3]).is_empty());
    }
}
