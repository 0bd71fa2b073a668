//! Sees when a file of a configuration changes: the file itself, or one that it names.
//!
//! Files are looked at and not subscribed to. Kubernetes swaps a symbolic link above them, editors put a new file in
//! the place of the old one, network file systems tell nobody of anything; to a look through all links they are alike.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

/// The files of a configuration, as they were right before they were read.
///
/// `Debug` shows how many: what stands where a path belongs may be a key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<PathBuf, Option<Print>>);

/// By what a file is told from what it was before. `None` stands for one that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Print {
    device: u64,
    inode: u64,
    length: u64,
    /// In seconds and nanoseconds: of the content, and of whatever else.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Files({})", self.0.len())
    }
}

impl Files {
    /// This file is about to be read.
    pub(super) fn note(&mut self, path: &Path) {
        // Apps may name the same file: it is looked at once.
        self.0.entry(path.to_owned()).or_insert_with(|| Print::of(path));
    }

    /// Waits until a file is another one than it was, and all of them have stayed as they are for a moment: one that is
    /// still being written is not taken for whole.
    ///
    /// Cancel-safe: a change that was seen is seen again.
    pub async fn changed(&self) {
        let mut seen = None;
        loop {
            sleep(if seen.is_none() { LOOK_EVERY } else { LOOK_AGAIN_AFTER }).await;
            let now = self.differ().then(|| self.look());
            if now.is_some() && seen == now {
                return;
            }
            seen = now;
        }
    }

    /// Whether a file is another one than it was, and may still be being written.
    #[must_use]
    pub fn differ(&self) -> bool {
        self.0.iter().any(|(path, print)| Print::of(path) != *print)
    }

    fn look(&self) -> Self {
        Self(self.0.keys().map(|path| (path.clone(), Print::of(path))).collect())
    }
}

impl Print {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// A few metadata of a few files, which costs some microseconds, and waking up for it: twice, since timers are coarse.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// For how long a file that is another one must stay as it is.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tokio::time::{Instant, timeout};

    use super::*;

    const A_WHILE: Duration = Duration::from_secs(60);

    fn files(path: &Path) -> Files {
        let mut files = Files::default();
        files.note(path);
        files
    }

    #[test]
    fn a_file_that_is_named_twice_is_looked_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = files(&folder.path().join("a.toml"));
        files.note(&folder.path().join("a.toml"));
        files.note(&folder.path().join("b.toml"));
        assert_eq!(format!("{files:?}"), "Files(2)");
        assert!(!files.differ());
        fs::write(folder.path().join("b.toml"), "").unwrap();
        assert!(files.differ());
    }

    async fn stays(files: &Files) -> bool {
        timeout(A_WHILE, files.changed()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_written_replaced_removed_or_made_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        fs::write(&path, "one").unwrap();
        let before = files(&path);
        assert!(stays(&before).await);
        fs::write(&path, "three").unwrap();
        assert!(!stays(&before).await);

        let before = files(&path);
        fs::write(folder.path().join("new"), "three").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert!(!stays(&before).await);

        let before = files(&path);
        fs::remove_file(&path).unwrap();
        assert!(!stays(&before).await);

        let before = files(&path);
        assert!(stays(&before).await);
        fs::write(&path, "").unwrap();
        assert!(!stays(&before).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_is_swapped_above_the_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for version in ["one", "two"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("live.key"), version).unwrap();
        }
        symlink("one", at("..data")).unwrap();
        symlink("..data/live.key", at("live.key")).unwrap();
        let before = files(&at("live.key"));
        assert!(stays(&before).await);
        symlink("two", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert!(!stays(&before).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_still_being_written_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        fs::write(&path, "").unwrap();
        let before = files(&path);
        let began = Instant::now();
        let writing = async {
            for length in 1..20 {
                fs::write(&path, "x".repeat(length)).unwrap();
                sleep(LOOK_AGAIN_AFTER * 3 / 4).await;
            }
            began.elapsed()
        };
        let (written, ()) = tokio::join!(writing, before.changed());
        assert!(began.elapsed() > written);
    }
}
