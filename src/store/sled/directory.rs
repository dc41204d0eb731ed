//! The state directory: what is in it, who owns it, and the files that are ours rather than sled's.
//!
//! ```text
//! state/            0700
//!   lock            held by the process that owns the directory; its pid
//!   sled/           0700, files 0600: the database
//!   settled         the number of the last commit that is on the disk
//!   ballast         space to give up when the disk is full
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::fault::{Error, ErrorKind, Result};

/// An open may come right after the last owner has gone.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

const LOCK: &str = "lock";
const SLED: &str = "sled";
const SETTLED: &str = "settled";
const BALLAST: &str = "ballast";

/// The directory, owned by this process for as long as this value lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Creates it where it is missing, and takes it.
    pub(super) fn take(path: &Path) -> Result<Self> {
        create(path)?;
        let lock = private(&path.join(LOCK)).map_err(|e| cannot("open", &path.join(LOCK), e))?;
        let begin = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if begin.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => return Err(busy(path, owner_in(&lock))),
                Err(TryLockError::Error(e)) => {
                    return Err(cannot("lock", &path.join(LOCK), e)
                        .remedy("put the state directory on a local disk (state.path)"));
                }
            }
        }
        let pid = format!("{}\n", std::process::id());
        lock.set_len(0)
            .and_then(|()| lock.write_all_at(pid.as_bytes(), 0))
            .map_err(|e| cannot("write", &path.join(LOCK), e))?;
        let directory = Directory {
            path: path.to_owned(),
            _lock: lock,
        };
        directory.restrict();
        Ok(directory)
    }

    /// Where sled's files are.
    pub(super) fn sled(&self) -> PathBuf {
        self.path.join(SLED)
    }

    /// sled's one large file.
    pub(super) fn db(&self) -> PathBuf {
        self.sled().join("db")
    }

    /// For messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes sled's directory. Answers whether it is new.
    pub(super) fn create_sled(&self) -> Result<bool> {
        match DirBuilder::new().mode(0o700).create(self.sled()) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(!self.db().exists()),
            Err(e) => Err(cannot("create", &self.sled(), e)),
        }
    }

    /// Names of new files are durable only when their directory is.
    pub(super) fn sync_names(&self) -> Result<()> {
        for path in [&self.sled(), &self.path, &parent(&self.path)] {
            File::open(path)
                .and_then(|directory| directory.sync_all())
                .map_err(|e| cannot("sync", path, e))?;
        }
        Ok(())
    }

    /// Only the owner reads rows. sled makes its files with the process's umask.
    pub(super) fn restrict(&self) {
        let files = fs::read_dir(self.sled()).into_iter().flatten().flatten();
        let files = files.filter(|f| f.file_type().is_ok_and(|t| t.is_file()));
        let all = files
            .map(|file| (file.path(), 0o600))
            .chain([(self.path.clone(), 0o700), (self.sled(), 0o700)]);
        for (path, mode) in all {
            if let Err(error) = fs::set_permissions(&path, Permissions::from_mode(mode))
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "cannot restrict access");
            }
        }
    }

    /// A crash while a snapshot is written leaves a file that sled then refuses to open.
    pub(super) fn remove_leftovers(&self) -> Result<()> {
        for path in self.snapshots()? {
            if path.extension().is_some_and(|e| e == "generating") {
                fs::remove_file(&path).map_err(|e| cannot("remove", &path, e))?;
            }
        }
        Ok(())
    }

    /// Moves sled's snapshots aside: it can do without, only slower. Answers whether there were any.
    pub(super) fn set_snapshots_aside(&self) -> Result<bool> {
        let snapshots = self.snapshots()?;
        if snapshots.is_empty() {
            return Ok(false);
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |d| d.as_secs());
        let aside = self.path.join(format!("snapshots.damaged.{now}"));
        DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(&aside)
            .map_err(|e| cannot("create", &aside, e))?;
        for path in snapshots {
            if let Some(name) = path.file_name() {
                fs::rename(&path, aside.join(name)).map_err(|e| cannot("move", &path, e))?;
            }
        }
        Ok(true)
    }

    fn snapshots(&self) -> Result<Vec<PathBuf>> {
        let sled = self.sled();
        let files = fs::read_dir(&sled).map_err(|e| cannot("list", &sled, e))?;
        Ok(files
            .flatten()
            .filter(|file| file.file_name().to_string_lossy().starts_with("snap."))
            .map(|file| file.path())
            .collect())
    }

    /// Files that sled made for long values. It never syncs them: there must be none.
    pub(super) fn blob_files(&self) -> u64 {
        let files = fs::read_dir(self.sled().join("blobs"));
        files.into_iter().flatten().flatten().count() as u64
    }

    /// Makes sure of the ballast; a disk with no room for it is told, not refused.
    pub(super) fn fill_ballast(&self, bytes: u64) {
        let path = self.path.join(BALLAST);
        if fs::metadata(&path).is_ok_and(|m| m.len() == bytes) {
            return;
        }
        if let Err(error) = write_zeros(&path, bytes) {
            let _ = fs::remove_file(&path);
            tracing::warn!(path = %path.display(), %error, "no room for the ballast file");
        }
    }

    /// Gives the ballast up. Answers whether there was any.
    pub(super) fn drop_ballast(&self) -> bool {
        fs::remove_file(self.path.join(BALLAST)).is_ok()
    }

    /// The mark of the last commit.
    pub(super) fn mark(&self) -> Result<Mark> {
        let path = self.path.join(SETTLED);
        let file = private(&path).map_err(|e| cannot("open", &path, e))?;
        Ok(Mark { file })
    }
}

/// The number of the last commit that is on the disk, in a file of its own.
///
/// sled opens a database whose end is missing without a word. This number tells: it is written
/// after a commit is durable, so the database can never be behind it, unless it lost something.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
}

impl Mark {
    /// The number; none when there is none or it cannot be read.
    pub(super) fn read(&self) -> Option<u64> {
        let mut bytes = [0; 12];
        self.file.read_exact_at(&mut bytes, 0).ok()?;
        let (number, crc) = bytes.split_first_chunk::<8>()?;
        (crc32c::crc32c(number).to_le_bytes() == *crc).then(|| u64::from_le_bytes(*number))
    }

    /// Writes the number; to the operating system, not to the disk: an older number misses a loss,
    /// but never makes one up.
    pub(super) fn write(&self, number: u64) -> io::Result<()> {
        let number = number.to_le_bytes();
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&number);
        bytes[8..].copy_from_slice(&crc32c::crc32c(&number).to_le_bytes());
        self.file.write_all_at(&bytes, 0)
    }

    /// To the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// The process that has the store at `path` open, if one has: its pid (0 while it has not said so).
///
/// # Errors
/// When the lock file cannot be read.
pub fn is_running(path: &Path) -> Result<Option<u32>> {
    let path = path.join(LOCK);
    let lock = match File::open(&path) {
        Ok(lock) => lock,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(cannot("open", &path, e)),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(owner_in(&lock).unwrap_or(0))),
        Err(TryLockError::Error(e)) => Err(cannot("lock", &path, e)),
    }
}

fn owner_in(mut lock: &File) -> Option<u32> {
    let mut text = String::new();
    lock.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn busy(path: &Path, owner: Option<u32>) -> Error {
    let owner = owner.map_or("another process".to_owned(), |pid| format!("process {pid}"));
    Error::new(
        ErrorKind::Busy,
        format!(
            "syncline is already running: {owner} has {}",
            path.display()
        ),
    )
    .remedy(
        "ask the running process over its admin interface, or end it first; never delete the lock \
         file",
    )
}

fn create(path: &Path) -> Result<()> {
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("{} is not a directory", path.display()),
            )
            .remedy("name a directory of its own in state.path"));
        }
        Ok(_) => return check_ours(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(cannot("read", path, e)),
    }
    fs::create_dir_all(parent(path))
        .and_then(|()| DirBuilder::new().mode(0o700).create(path))
        .or_else(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(cannot("create", path, e)),
        })
}

/// A directory that is full of other things is somebody else's.
fn check_ours(path: &Path) -> Result<()> {
    let files = fs::read_dir(path).map_err(|e| cannot("list", path, e))?;
    let mut foreign = None;
    for file in files.flatten() {
        let name = file.file_name();
        let name = name.to_string_lossy();
        match &*name {
            LOCK => return Ok(()),
            "lost+found" => {}
            _ if name.starts_with('.') => {}
            _ => foreign = Some(name.into_owned()),
        }
    }
    match foreign {
        None => Ok(()),
        Some(name) => Err(Error::new(
            ErrorKind::Usage,
            format!(
                "{} is not a state directory of syncline: it holds {name} and no lock file",
                path.display()
            ),
        )
        .remedy("name an empty or new directory in state.path")),
    }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// A file that only its owner reads.
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Zeros that take their space, which a length alone would not.
fn write_zeros(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = private(path)?;
    file.set_len(0)?;
    let zeros = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(zeros.len() as u64);
        file.write_all(zeros.get(..now as usize).unwrap_or(&zeros))?;
        left -= now;
    }
    Ok(())
}

pub(super) fn cannot(verb: &str, path: &Path, error: io::Error) -> Error {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "give the directory to the user syncline runs as, or name another one in state.path"
        }
        io::ErrorKind::StorageFull => "free space on that disk, then start again",
        _ => "name a directory on a healthy local disk in state.path",
    };
    Error::new(
        ErrorKind::Store,
        format!("cannot {verb} {}", path.display()),
    )
    .remedy(remedy)
    .source(error)
}
