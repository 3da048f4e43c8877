//! The budget holds and the oldest go first, whatever is done in whatever order.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use proptest::prelude::*;
use regcache_transfer::Digest;

use super::super::error::NotStored;
use super::super::key::Key;
use super::{Catalogue, Victim, on_disk};

const LIMIT: u64 = 100 * 4096;
const ENDLESS: u64 = u64::MAX;

#[derive(Clone, Debug)]
enum Step {
    /// A fill begins, and then it is committed, dropped with something left, or dropped with nothing.
    Fill {
        digest: u8,
        blocks: u64,
        end: u8,
    },
    Use(u8),
    Read(u8),
    Close(u8),
    Pin(u8, bool),
    Lose(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let digest = 0..12_u8;
    let step = prop_oneof![
        4 => (digest.clone(), 0..45_u64, 0..4_u8).prop_map(|(digest, blocks, end)| Step::Fill { digest, blocks, end }),
        2 => digest.clone().prop_map(Step::Use),
        2 => digest.clone().prop_map(Step::Read),
        1 => digest.clone().prop_map(Step::Close),
        1 => (digest.clone(), any::<bool>()).prop_map(|(digest, pinned)| Step::Pin(digest, pinned)),
        1 => digest.prop_map(Step::Lose),
    ];
    prop::collection::vec(step, 1..120)
}

fn key(digest: u8) -> Key {
    Digest::sha256(&[digest]).into()
}

fn handle() -> Arc<File> {
    Arc::new(File::open("/dev/null").unwrap())
}

#[derive(Default)]
struct Model {
    /// Size and order of use of what is stored.
    stored: BTreeMap<u8, (u64, u64)>,
    readers: BTreeMap<u8, Vec<Arc<File>>>,
    pinned: BTreeMap<u8, bool>,
    clock: u64,
    /// Not to go for its own sake.
    filled_anew: Option<u8>,
}

impl Model {
    fn may_go(&self, digest: u8) -> bool {
        !self.pinned.get(&digest).copied().unwrap_or_default() && self.readers.get(&digest).is_none_or(Vec::is_empty)
    }

    fn evicted(&mut self, victims: &[Victim]) {
        for victim in victims {
            let Victim::Blob(victim) = victim else { continue };
            let digest = *self.stored.keys().find(|digest| key(**digest) == *victim).unwrap();
            assert!(self.may_go(digest), "{digest} is in use");
            let (_, used) = self.stored.remove(&digest).unwrap();
            let older = self.stored.iter().find(|(other, (_, at))| {
                *at < used && self.may_go(**other) && !victims.contains(&Victim::Blob(key(**other)))
            });
            // The one that is filled anew is spared.
            assert!(
                older.is_none_or(|(other, _)| self.filled_anew == Some(*other)),
                "{older:?} is older than {digest}"
            );
        }
    }
}

proptest! {
    #[test]
    fn the_budget_holds_and_the_oldest_go_first(steps in steps()) {
        let mut catalogue = Catalogue::default();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Fill { digest, blocks, end } => {
                    let size = blocks * 4096;
                    model.filled_anew = Some(digest);
                    let room = catalogue.room_for(&key(digest), size, LIMIT, ENDLESS);
                    let Ok(victims) = room else {
                        prop_assert_eq!(room, Err(NotStored::Full));
                        continue;
                    };
                    let before = catalogue.used();
                    let bytes = catalogue.evict(&victims);
                    prop_assert_eq!(catalogue.used(), before - bytes);
                    model.evicted(&victims);
                    let gone = |victim: &Victim| {
                        let (Victim::Blob(victim) | Victim::Left(victim, _)) = victim;
                        victim.clone()
                    };
                    prop_assert!(victims.iter().map(gone).all(|victim| catalogue.is_busy(&victim)));
                    victims.iter().map(gone).for_each(|victim| catalogue.removed(&victim));
                    catalogue.reserve(&key(digest), size);
                    prop_assert!(catalogue.used() <= LIMIT, "{} is over the budget", catalogue.used());
                    let file = handle();
                    catalogue.filling(&key(digest), &file);
                    model.clock += 1;
                    match end {
                        0 => catalogue.release(&key(digest), None),
                        1 => catalogue.release(&key(digest), Some((size, size / 2))),
                        _ => {
                            catalogue.commit(&key(digest), size, None, &file);
                            model.readers.remove(&digest);
                            model.stored.insert(digest, (size, model.clock));
                        }
                    }
                }
                Step::Use(digest) => {
                    model.clock += 1;
                    let found = catalogue.touch(&key(digest));
                    prop_assert_eq!(found.is_some(), model.stored.contains_key(&digest));
                    if let Some((_, used)) = model.stored.get_mut(&digest) {
                        *used = model.clock;
                    }
                }
                Step::Read(digest) if model.stored.contains_key(&digest) => {
                    catalogue.opening(&key(digest));
                    let file = catalogue.opened(&key(digest), Some(handle())).unwrap();
                    let readers = model.readers.entry(digest).or_default();
                    prop_assert!(readers.iter().all(|reader| Arc::ptr_eq(reader, &file)));
                    readers.push(file);
                }
                Step::Read(_) => {}
                Step::Close(digest) => drop(model.readers.remove(&digest)),
                Step::Pin(digest, pinned) => {
                    catalogue.pin(&key(digest), pinned);
                    model.pinned.insert(digest, pinned);
                }
                Step::Lose(digest) => {
                    let before = catalogue.used();
                    catalogue.forget(&key(digest));
                    // What is read still takes its room.
                    if model.readers.contains_key(&digest) {
                        prop_assert_eq!(catalogue.used(), before);
                    }
                    model.readers.remove(&digest);
                    model.stored.remove(&digest);
                }
            }
            prop_assert_eq!(catalogue.len(), model.stored.len());
            let stored: u64 = model.stored.values().map(|(size, _)| on_disk(*size)).sum();
            prop_assert!(catalogue.used() >= stored);
            prop_assert!(catalogue.used() <= LIMIT);
        }
        // In the end everything can go, and then nothing is counted.
        model.readers.clear();
        for digest in 0..12 {
            catalogue.pin(&key(digest), false);
        }
        let victims = catalogue.surplus(0);
        catalogue.evict(&victims);
        prop_assert_eq!((catalogue.used(), catalogue.len()), (0, 0));
    }
}

#[test]
fn room_is_made_down_to_the_low_mark_and_only_when_it_is_needed() {
    let mut catalogue = Catalogue::default();
    for digest in 0..10 {
        catalogue.commit(&key(digest), 10 * 4096, None, &handle());
    }
    assert_eq!(catalogue.room_for(&key(100), 0, LIMIT + 4096, ENDLESS), Ok(Vec::new()));
    let victims: Vec<_> = [0, 1].map(|digest| Victim::Blob(key(digest))).into();
    assert_eq!(catalogue.room_for(&key(100), 1, LIMIT, ENDLESS), Ok(victims));
    assert_eq!(
        catalogue.room_for(&key(100), LIMIT + 1, LIMIT, ENDLESS),
        Err(NotStored::TooLarge)
    );
}

#[test]
fn a_file_system_without_room_makes_blobs_go_too() {
    let mut catalogue = Catalogue::default();
    catalogue.commit(&key(1), 10 * 4096, None, &handle());
    let room = |writable| catalogue.room_for(&key(2), 8 * 4096, LIMIT, writable);
    assert_eq!(room(8 * 4096), Ok(Vec::new()));
    assert_eq!(room(0), Ok(vec![Victim::Blob(key(1))]));
    assert_eq!(
        catalogue.room_for(&key(2), 11 * 4096, LIMIT, 0),
        Err(NotStored::NoSpace)
    );
}

#[test]
fn what_was_used_last_before_the_restart_is_known_after_it() {
    let mut catalogue = Catalogue::default();
    catalogue.load(key(1), 40 * 4096, 20, None);
    catalogue.load(key(2), 40 * 4096, 10, Some("text/plain"));
    let entry = *catalogue.get(&key(2)).unwrap();
    assert_eq!(catalogue.media(&entry), Some("text/plain"));
    let room = catalogue.room_for(&key(3), 30 * 4096, LIMIT, ENDLESS);
    assert_eq!(room, Ok(vec![Victim::Blob(key(2))]));
    // A clock that went back does not make what is used now look old.
    catalogue.load(key(4), 1, u64::MAX / 2, None);
    catalogue.touch(&key(2)).unwrap();
    assert!(catalogue.get(&key(2)).unwrap().used > u64::MAX / 2);
}
