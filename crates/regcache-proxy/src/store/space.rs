//! How much the file system has, and how much of it the store may use.

use std::path::Path;

/// What `statvfs` says, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) total: u64,
    /// Not in use by anybody.
    pub(super) free: u64,
    /// Free for this process: without what is reserved for root.
    pub(super) available: u64,
}

impl Space {
    /// A file system that cannot be asked counts as endless: writes will tell.
    const UNKNOWN: Self = Self {
        total: u64::MAX,
        free: u64::MAX,
        available: u64::MAX,
    };

    /// Asks the file system at `path`.
    pub(super) fn of(path: &Path) -> Self {
        rustix::fs::statvfs(path).map_or(Self::UNKNOWN, |found| Self {
            total: found.f_blocks.saturating_mul(found.f_frsize),
            free: found.f_bfree.saturating_mul(found.f_frsize),
            available: found.f_bavail.saturating_mul(found.f_frsize),
        })
    }

    /// Others write there too, when they have more than a twentieth of it.
    fn is_shared(self, ours: u64) -> bool {
        let others = self.total.saturating_sub(self.free).saturating_sub(ours);
        others > self.total / 20
    }

    /// What is to stay free for others.
    fn floor(self, max_bytes: Option<u64>, ours: u64) -> u64 {
        if max_bytes.is_none() && self.is_shared(ours) {
            self.total / 100 * 15
        } else {
            (self.total / 100).min(16 << 20)
        }
    }

    /// The store's budget, when `ours` is what it has now.
    pub(super) fn limit(self, max_bytes: Option<u64>, ours: u64) -> u64 {
        let most = self.total / 10 * 9;
        match max_bytes {
            Some(max_bytes) => max_bytes.min(most),
            None if self.is_shared(ours) => {
                let within_reach = ours.saturating_add(self.available);
                most.min(within_reach.saturating_sub(self.floor(None, ours)))
            }
            None => most,
        }
    }

    /// How many more bytes may be written now.
    pub(super) fn writable(self, max_bytes: Option<u64>, ours: u64) -> u64 {
        self.available.saturating_sub(self.floor(max_bytes, ours))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const GIB: u64 = 1 << 30;

    #[rstest]
    #[case::own_disk(None, 0, 0, 90)]
    #[case::own_disk_in_use(None, 50, 50, 90)]
    #[case::given(Some(20 * GIB), 0, 0, 20)]
    #[case::given_more_than_the_disk(Some(500 * GIB), 0, 0, 90)]
    #[case::given_on_a_shared_disk(Some(80 * GIB), 50, 0, 80)]
    #[case::shared(None, 30, 0, 55)]
    #[case::shared_and_in_use(None, 50, 20, 55)]
    #[case::shared_and_full(None, 95, 10, 0)]
    fn the_budget_is_what_is_asked_for_within_what_the_disk_can_give(
        #[case] max_bytes: Option<u64>,
        #[case] used: u64,
        #[case] ours: u64,
        #[case] expected: u64,
    ) {
        let space = Space {
            total: 100 * GIB,
            free: (100 - used) * GIB,
            available: (100 - used) * GIB,
        };
        let found = space.limit(max_bytes, ours * GIB);
        assert!(found.abs_diff(expected * GIB) < GIB / 100, "{found}");
    }

    #[test]
    fn a_file_system_that_does_not_answer_is_no_limit() {
        let space = Space::of(Path::new("/nowhere/at/all"));
        assert_eq!(space.limit(Some(GIB), 0), GIB);
        assert!(space.writable(Some(GIB), 0) > GIB);
    }
}
