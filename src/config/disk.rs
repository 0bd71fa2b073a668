//! Reading the files that a configuration names, with a bound on each.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

/// Reads a file of at most `most` bytes. What was read is wiped when dropped, since most of these files hold secrets.
///
/// # Errors
/// When the file cannot be read, or is longer.
pub(super) fn read(path: &Path, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all of it from the start: a buffer that grows leaves copies behind that nobody wipes.
    let file = File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.min(most) + 1));
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(io::Error::other(format!("longer than {most} bytes")));
    }
    Ok(bytes)
}

/// What every user of this machine may do with the file, if anything: a word for it.
pub(super) fn open_to_all(path: &Path) -> Option<&'static str> {
    match path.metadata().ok()?.permissions().mode() & 0o006 {
        0o006 => Some("read and write"),
        0o004 => Some("read"),
        0o002 => Some("write"),
        _ => None,
    }
}

/// Whether every user of this machine may change the file.
pub(super) fn is_world_writable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o002 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_be_as_long_as_its_bound() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "12345").unwrap();
        assert_eq!(*read(file.path(), 5).unwrap(), b"12345");
        assert_eq!(read(file.path(), 4).unwrap_err().to_string(), "longer than 4 bytes");
        assert!(read(Path::new("/"), 4).is_err());
    }
}
