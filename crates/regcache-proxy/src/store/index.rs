//! The index: facts in one redb file. What it says of a blob is only written once the blob's bytes are safe, so that
//! after any crash an indexed file of the right length is what its digest says.

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{Builder, Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use super::facts::{Name, Value};
use super::key::Key;

type Bytes = TableDefinition<'static, &'static [u8], &'static [u8]>;

const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("regcache");
const FORMAT: u64 = 1;
const BLOBS: Bytes = TableDefinition::new("blobs");

/// Pages kept in memory, bytes: the maps of the store are in memory anyway.
const CACHE: usize = 2 << 20;

/// The kinds of facts beside blobs, each a table. A value begins with its time, eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Table {
    /// Which repository has which digest.
    Holds,
    /// What tags are.
    Tags,
    /// What is never evicted.
    Pins,
}

impl Table {
    const ALL: [Self; 3] = [Self::Holds, Self::Tags, Self::Pins];

    const fn definition(self) -> Bytes {
        TableDefinition::new(match self {
            Self::Holds => "holds",
            Self::Tags => "tags",
            Self::Pins => "pins",
        })
    }

    /// The most facts of this kind; above it the tenth that is oldest goes.
    const fn most(self) -> u64 {
        match self {
            Self::Holds => 250_000,
            Self::Tags => 50_000,
            Self::Pins => 10_000,
        }
    }
}

/// A blob as the index knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) size: u64,
    pub(super) used: u64,
    pub(super) media: Option<String>,
}

/// What is to be written at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) blobs: Vec<(Key, Option<Record>)>,
    pub(super) facts: Vec<(Name, Value)>,
}

/// Why the index does not do its work.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    /// Not an index of ours, or not whole: to be set aside.
    #[error("the index is broken: {0}")]
    Broken(String),
    /// The disk, or somebody else: to be tried again.
    #[error("the index cannot be used")]
    Io(#[source] io::Error),
}

/// The open index.
#[derive(Debug)]
pub(super) struct Index {
    database: Database,
}

impl Index {
    /// Opens the index, or makes one where there is none.
    pub(super) fn open(path: &Path) -> Result<Self, IndexError> {
        guarded(|| {
            let database = Builder::new().set_cache_size(CACHE).create(path)?;
            let transaction = database.begin_write()?;
            let is_new = transaction.list_tables()?.next().is_none();
            let format = {
                let mut meta = transaction.open_table(META)?;
                if is_new {
                    meta.insert("format", FORMAT)?;
                }
                meta.get("format")?.map(|found| found.value())
            };
            if format != Some(FORMAT) {
                transaction.abort()?;
                return Err(redb::Error::Corrupted("made by another program or version".to_owned()));
            }
            // Types are checked on opening: a table of ours in another shape shows here.
            transaction.open_table(BLOBS)?;
            for table in Table::ALL {
                transaction.open_table(table.definition())?;
            }
            transaction.commit()?;
            Ok(Self { database })
        })
    }

    /// How many blobs there are.
    pub(super) fn blobs(&self) -> Result<usize, IndexError> {
        guarded(|| {
            let count = self.database.begin_read()?.open_table(BLOBS)?.len()?;
            Ok(usize::try_from(count).unwrap_or(usize::MAX))
        })
    }

    /// Hands out every blob.
    pub(super) fn load(&self, mut each: impl FnMut(Key, Record)) -> Result<(), IndexError> {
        guarded(|| {
            let blobs = self.database.begin_read()?.open_table(BLOBS)?;
            for row in blobs.iter()? {
                let (key, value) = row?;
                // What cannot be read is unknown: its file will be met by the scan.
                if let (Some(key), Some(record)) = (Key::from_bytes(key.value()), decode(value.value())) {
                    each(key, record);
                }
            }
            Ok(())
        })
    }

    /// All pinned digests.
    pub(super) fn pins(&self) -> Result<HashSet<Key>, IndexError> {
        guarded(|| {
            let pins = self.database.begin_read()?.open_table(Table::Pins.definition())?;
            let mut found = HashSet::new();
            for row in pins.iter()? {
                found.extend(Key::from_bytes(row?.0.value()));
            }
            Ok(found)
        })
    }

    /// One fact.
    pub(super) fn get(&self, table: Table, name: &[u8]) -> Result<Value, IndexError> {
        guarded(|| {
            let table = self.database.begin_read()?.open_table(table.definition())?;
            Ok(table.get(name)?.map(|found| found.value().into()))
        })
    }

    /// Writes a batch, all of it or nothing, and waits until it would outlive a power failure.
    pub(super) fn write(&self, batch: &Batch) -> Result<(), IndexError> {
        guarded(|| {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            {
                let mut blobs = transaction.open_table(BLOBS)?;
                for (key, record) in &batch.blobs {
                    match record {
                        Some(record) => drop(blobs.insert(key.bytes(), encode(record).as_slice())?),
                        None => drop(blobs.remove(key.bytes())?),
                    }
                }
            }
            for kind in Table::ALL {
                let mut table = transaction.open_table(kind.definition())?;
                for ((_, name), value) in batch.facts.iter().filter(|((of, _), _)| *of == kind) {
                    match value {
                        Some(value) => drop(table.insert(&**name, &**value)?),
                        None => drop(table.remove(&**name)?),
                    }
                }
                if table.len()? > kind.most() {
                    prune(&mut table, kind.most())?;
                }
            }
            transaction.commit()?;
            Ok(())
        })
    }
}

/// Leaves nine tenths of `most`, those with the latest times.
fn prune(table: &mut redb::Table<'_, &'static [u8], &'static [u8]>, most: u64) -> Result<(), redb::Error> {
    let mut times = Vec::new();
    for row in table.iter()? {
        times.push(time(row?.1.value()));
    }
    times.sort_unstable();
    let keep = usize::try_from(most / 10 * 9).unwrap_or(usize::MAX);
    let Some(oldest) = times.len().checked_sub(keep).and_then(|at| times.get(at)) else {
        return Ok(());
    };
    table.retain(|_, value| time(value) > *oldest)?;
    Ok(())
}

/// The time that a fact begins with.
pub(super) fn time(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |time| u64::from_le_bytes(*time))
}

fn encode(record: &Record) -> Vec<u8> {
    let mut value = record.size.to_le_bytes().to_vec();
    value.extend(record.used.to_le_bytes());
    value.extend(record.media.as_deref().unwrap_or_default().as_bytes());
    value
}

fn decode(value: &[u8]) -> Option<Record> {
    let (size, rest) = value.split_first_chunk()?;
    let (used, media) = rest.split_first_chunk()?;
    let media = std::str::from_utf8(media).ok()?;
    Some(Record {
        size: u64::from_le_bytes(*size),
        used: u64::from_le_bytes(*used),
        media: (!media.is_empty()).then(|| media.to_owned()),
    })
}

/// Sorts errors, and takes a panic for one: on pages that are not what it wrote redb may do either.
fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, IndexError> {
    let error = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(error)) => error,
        Err(_) => return Err(IndexError::Broken("it makes no sense".to_owned())),
    };
    Err(match error {
        redb::Error::Io(error) => match error.kind() {
            // A file that cannot even be opened is foreign as well.
            ErrorKind::InvalidData
            | ErrorKind::UnexpectedEof
            | ErrorKind::InvalidInput
            | ErrorKind::IsADirectory
            | ErrorKind::PermissionDenied => IndexError::Broken(error.to_string()),
            _ => IndexError::Io(error),
        },
        // After an error of the disk nothing goes until it is opened anew.
        redb::Error::PreviousIo => IndexError::Io(ErrorKind::BrokenPipe.into()),
        redb::Error::DatabaseAlreadyOpen => IndexError::Io(ErrorKind::WouldBlock.into()),
        other => IndexError::Broken(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use regcache_transfer::Digest;

    use super::*;

    fn key(text: &str) -> Key {
        Digest::sha256(text.as_bytes()).into()
    }

    fn record(size: u64) -> Record {
        Record {
            size,
            used: 7,
            media: Some("text/plain".to_owned()),
        }
    }

    fn loaded(index: &Index) -> Vec<(Key, Record)> {
        let mut found = Vec::new();
        index.load(|key, record| found.push((key, record))).unwrap();
        found
    }

    #[test]
    fn what_was_written_is_there_after_opening_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index");
        let index = Index::open(&path).unwrap();
        let mut batch = Batch::default();
        batch.blobs.push((key("a"), Some(record(1))));
        batch.blobs.push((
            key("b"),
            Some(Record {
                media: None,
                ..record(2)
            }),
        ));
        batch
            .facts
            .push(((Table::Tags, (*b"name").into()), Some((*b"12345678fact").into())));
        index.write(&batch).unwrap();
        let gone = vec![(key("a"), None)];
        index
            .write(&Batch {
                blobs: gone,
                facts: Vec::new(),
            })
            .unwrap();
        drop(index);

        let index = Index::open(&path).unwrap();
        assert_eq!(
            loaded(&index),
            [(
                key("b"),
                Record {
                    media: None,
                    ..record(2)
                }
            )]
        );
        assert_eq!(
            index.get(Table::Tags, b"name").unwrap().as_deref(),
            Some(&b"12345678fact"[..])
        );
        assert_eq!(index.get(Table::Holds, b"name").unwrap(), None);
    }

    #[test]
    fn too_many_facts_lose_their_oldest_tenth() {
        let directory = tempfile::tempdir().unwrap();
        let index = Index::open(&directory.path().join("index")).unwrap();
        let mut batch = Batch::default();
        for time in 0..=Table::Pins.most() {
            let name: Box<[u8]> = time.to_be_bytes().into();
            batch.facts.push(((Table::Pins, name), Some(time.to_le_bytes().into())));
        }
        index.write(&batch).unwrap();
        let get = |time: u64| index.get(Table::Pins, &time.to_be_bytes()).unwrap();
        assert_eq!((get(0), get(1000)), (None, None));
        assert!(get(1002).is_some() && get(10_000).is_some());
    }

    #[test]
    fn a_foreign_file_is_broken_and_not_an_error_of_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index");
        for content in [&b"x"[..], &[0; 5000], b"SQLite format 3\0and more"] {
            fs::write(&path, content).unwrap();
            assert!(matches!(Index::open(&path), Err(IndexError::Broken(_))), "{content:?}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(Index::open(&path), Err(IndexError::Broken(_))));
        fs::remove_dir(&path).unwrap();
        let other = Database::create(&path).unwrap();
        let transaction = other.begin_write().unwrap();
        let table: TableDefinition<'_, &str, u64> = TableDefinition::new("other");
        transaction.open_table(table).unwrap();
        transaction.commit().unwrap();
        drop(other);
        assert!(matches!(Index::open(&path), Err(IndexError::Broken(_))));
    }
}
