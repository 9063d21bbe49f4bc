//! The lines of a file, plain or compressed, in bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::ReplayError;

/// Far above what intake takes; a file without line ends must not be read into memory.
const MAX_LINE_BYTES: u64 = 1 << 20;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Reads line by line; blank lines are skipped.
pub(super) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    line: u64,
    bytes: Vec<u8>,
}

impl Lines {
    /// Gzip is known by its first bytes, whatever the file is called.
    pub(super) fn open(path: &Path) -> Result<Self, ReplayError> {
        let unreadable = |source| ReplayError::Unreadable { path: path.to_owned(), source };
        let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
        let is_gzip = file.fill_buf().map_err(unreadable)?.starts_with(&GZIP_MAGIC);
        let reader: Box<dyn BufRead + Send> =
            if is_gzip { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(file) };
        Ok(Self { path: path.to_owned(), reader, line: 0, bytes: Vec::new() })
    }

    /// Gives the next line to `read`, whose complaint gets the line's number. `None` at the end of the file.
    pub(super) fn next_line<T>(
        &mut self,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ReplayError> {
        while self.fill().map_err(|source| ReplayError::Unreadable { path: self.path.clone(), source })? {
            if self.bytes.len() as u64 > MAX_LINE_BYTES {
                return Err(self.bad_line("is longer than 1 MiB"));
            }
            let text = std::str::from_utf8(&self.bytes).map_err(|_| self.bad_line("is not UTF-8"))?.trim();
            if !text.is_empty() {
                return read(text).map(Some).map_err(|why| self.bad_line(&why));
            }
        }
        Ok(None)
    }

    /// Whether there was another line, or as much of one as is ever read.
    fn fill(&mut self) -> io::Result<bool> {
        self.bytes.clear();
        self.line += 1;
        let read = (&mut self.reader).take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut self.bytes)?;
        Ok(read > 0)
    }

    fn bad_line(&self, why: &str) -> ReplayError {
        ReplayError::BadLine { path: self.path.clone(), line: self.line, why: why.to_owned() }
    }
}
