//! `rollbook export`.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use clap::error::ErrorKind;
use serde::Serialize;
use tempfile::NamedTempFile;

use super::admin::AdminArguments;
use super::{Failure, output};
use crate::event::UnixMillis;
use crate::ops::chain;
use crate::report::{ExportError, Span, export_csv, export_parquet};
use crate::store::organizations;
use crate::tenant::Slug;

/// What `export` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The organization.
    slug: Slug,
    /// Events received then and later: milliseconds since 1970 UTC, or RFC 3339 with an offset. Default: from the first on.
    #[arg(long, value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    since: Option<i64>,
    /// Events received before then. Default: to the last.
    #[arg(long, value_name = "TIME", value_parser = time, allow_negative_numbers = true)]
    until: Option<i64>,
    /// How they are written.
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    /// The file to write, which is there when it is whole, and then what was written is said on standard output; a device or
    /// a pipe is written to as it comes. Default: standard output; with --json, what was written is then said on standard
    /// error.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) admin: AdminArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// With a header, as Postgres reads it again.
    Csv,
    /// Typed columns with statistics.
    Parquet,
}

fn time(text: &str) -> Result<i64, String> {
    let time = UnixMillis::parse(text);
    time.map(|time| time.0)
        .ok_or_else(|| "a time is milliseconds since 1970 UTC, or RFC 3339 with an offset".to_owned())
}

impl Arguments {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if self.format == Format::Parquet && self.out.is_none() && output::is_terminal() {
            return Err(Failure::new(
                "terminal",
                "Parquet is nothing for a terminal: name a file with --out",
            ));
        }
        if self.since.zip(self.until).is_some_and(|(since, until)| since > until) {
            let why = "--since is later than --until: no event was received between them\n";
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, why).into());
        }
        let (mut admin, _) = self.admin.open().await?;
        let organization = organizations::standing(&admin, &self.slug).await?.organization;
        let span = Span { since_ms: self.since, until_ms: self.until };
        let (client, schema) = (admin.client(), &organization.schema_name);
        let written: Result<Written, ExportError> = match &self.out {
            None => {
                let out = BufWriter::new(io::stdout());
                let mut out = Counted::new(Harmless { out, is_terminal: output::is_terminal() });
                let rows = self.write(client, schema, span, &mut out).await;
                rows.map(|rows| Written { rows, bytes: out.bytes, to: To::Stream })
            }
            Some(file) => {
                async {
                    let destination = Destination::open(file)?;
                    let to = destination.kind();
                    let mut out = Counted::new(BufWriter::new(destination));
                    let rows = self.write(client, schema, span, &mut out).await?;
                    let Counted { out, bytes } = out;
                    out.into_inner().map_err(io::IntoInnerError::into_error)?.close()?;
                    Ok(Written { rows, bytes, to })
                }
                .await
            }
        };
        match written {
            Err(error) if error.is_broken_pipe() => Ok(()),
            Err(error) => Err(failure(&error)),
            Ok(written) => {
                self.tell(&written);
                Ok(())
            }
        }
    }

    /// Says what was written: on standard output, unless the events are there, or may be.
    fn tell(&self, written: &Written) {
        let answer = Answer {
            organization: self.slug.to_string(),
            format: self.format.name(),
            file: self.out.as_ref().map(|file| file.display().to_string()),
            rows: written.rows,
            bytes: written.bytes,
            since: self.since.map(|ms| UnixMillis(ms).to_string()),
            until: self.until.map(|ms| UnixMillis(ms).to_string()),
        };
        match written.to {
            To::File => output::one(self.admin.output, &answer, Answer::text),
            To::Stream if self.admin.output.json => output::beside_the_answer(&answer),
            To::Stream => {}
        }
    }

    async fn write(
        &self,
        client: &mut tokio_postgres::Client,
        schema: &str,
        span: Span,
        out: &mut (impl Write + Send),
    ) -> Result<u64, ExportError> {
        let template = match self.format {
            Format::Csv => "{spinner} {bytes} {elapsed} ({bytes_per_sec})",
            Format::Parquet => "{spinner} {human_pos} events {elapsed} ({per_sec})",
        };
        let bar = output::progress_bar(None, template);
        let written = match self.format {
            Format::Csv => export_csv(client, schema, span, out, |bytes| bar.inc(bytes)).await,
            Format::Parquet => export_parquet(client, schema, span, &mut *out, |rows| bar.inc(rows)).await,
        };
        bar.finish_and_clear();
        let rows = written?;
        out.flush()?;
        Ok(rows)
    }
}

/// What was written, and whereto.
struct Written {
    rows: u64,
    bytes: u64,
    to: To,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// It is whole, and has its name.
    File,
    /// Standard output, a device or a pipe, which may lead there.
    Stream,
}

#[derive(Serialize)]
struct Answer {
    organization: String,
    format: &'static str,
    /// As it was named; none: standard output.
    file: Option<String>,
    rows: u64,
    bytes: u64,
    /// None: from the first event on.
    since: Option<String>,
    /// None: to the last.
    until: Option<String>,
}

impl Answer {
    fn text(&self) -> String {
        let Self { organization, file, rows, bytes, .. } = self;
        format!("{organization}: {rows} events, {bytes} bytes, in {}", file.as_deref().unwrap_or_default())
    }
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

/// Counts what goes through.
struct Counted<W> {
    out: W,
    bytes: u64,
}

impl<W> Counted<W> {
    fn new(out: W) -> Self {
        Self { out, bytes: 0 }
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Where `--out` says.
enum Destination {
    /// It has its name only once it is whole.
    File { part: NamedTempFile, name: PathBuf },
    /// A device or a pipe: it is written to as it comes, and stays what it is.
    Stream(File),
}

impl Destination {
    fn open(file: &Path) -> io::Result<Self> {
        // What a link leads to, not the link, is written anew.
        let name = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        if std::fs::metadata(&name).is_ok_and(|there| !there.is_file()) {
            return Ok(Self::Stream(File::options().write(true).open(&name)?));
        }
        let folder = name.parent().filter(|folder| !folder.as_os_str().is_empty());
        let part = tempfile::Builder::new()
            .prefix(&name.file_name().unwrap_or_default().to_owned())
            .suffix(".part")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder.unwrap_or(Path::new(".")))
            // Of the file that was asked for, not of the one that is written first.
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {}", file.display(), error.kind())))?;
        Ok(Self::File { part, name })
    }

    fn kind(&self) -> To {
        match self {
            Self::File { .. } => To::File,
            Self::Stream(_) => To::Stream,
        }
    }

    fn close(self) -> io::Result<()> {
        let Self::File { part, name } = self else { return Ok(()) };
        part.as_file().sync_all()?;
        part.persist(name)?;
        Ok(())
    }
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File { part, .. } => part.write(bytes),
            Self::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File { part, .. } => part.flush(),
            Self::Stream(stream) => stream.flush(),
        }
    }
}

fn failure(error: &ExportError) -> Failure {
    let code = match error {
        ExportError::Postgres(_) => "database_error",
        ExportError::Io(_) | ExportError::Parquet(_) => "export_not_written",
    };
    Failure::new(code, chain(error))
}

/// Standard output: where it is a terminal, what comes from events is shown and not obeyed.
struct Harmless<W> {
    out: W,
    is_terminal: bool,
}

impl<W: Write> Write for Harmless<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_terminal {
            return self.out.write(bytes);
        }
        // Postgres sends whole rows.
        let text = String::from_utf8_lossy(bytes);
        self.out.write_all(output::harmless(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
