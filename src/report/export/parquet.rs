//! Rows of `event` as Parquet's columns. The format is written column by column, so rows are gathered into groups.

use std::io::Write;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parquet::basic::Compression;
use parquet::column::writer::ColumnWriterImpl;
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, FloatType,
    Int32Type, Int64Type,
};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use tokio_postgres::Row;
use uuid::Uuid;

use super::super::interval::Intervals;

/// Rows, or bytes of text, that a group has at most, about: what readers like, and what memory is.
const GROUP_ROWS: usize = 50_000;
const GROUP_BYTES: usize = 64 * 1024 * 1024;

/// What [`File::push`] takes, in the schema's order.
pub(super) const COLUMNS: &str = "event_id, type, session_id, viewer_id, content_id, item_id, occurred_at, \
     client_occurred_at, received_at, seq, position_ms, rate, watched, played_ms, answer::text, correct, score, attempt, \
     elapsed_ms, details::text";

const SCHEMA: &str = "
message event {
    required fixed_len_byte_array(16) event_id (UUID);
    required binary type (STRING);
    required binary session_id (STRING);
    required binary viewer_id (STRING);
    required binary content_id (STRING);
    optional binary item_id (STRING);
    required int64 occurred_at (TIMESTAMP(MICROS, true));
    required int64 client_occurred_at (TIMESTAMP(MICROS, true));
    required int64 received_at (TIMESTAMP(MICROS, true));
    optional int64 seq;
    optional int32 position_ms;
    optional float rate;
    optional group watched (LIST) {
        repeated group list {
            required group element { required int32 start_ms; required int32 end_ms; }
        }
    }
    optional int32 played_ms;
    optional binary answer (JSON);
    optional boolean correct;
    optional float score;
    optional int32 attempt (INTEGER(16, true));
    optional int32 elapsed_ms;
    optional binary details (JSON);
}";

/// A file that is being written.
pub(super) struct File<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    group: Group,
}

impl<W: Write + Send> File<W> {
    pub(super) fn begin(out: W) -> Result<Self> {
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
        Ok(Self { writer, group: Group::default() })
    }

    pub(super) fn push(&mut self, row: &Row) -> std::result::Result<(), super::ExportError> {
        self.group.push(row)?;
        if self.group.rows >= GROUP_ROWS || self.group.bytes >= GROUP_BYTES {
            std::mem::take(&mut self.group).write(self.writer.next_row_group()?)?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<()> {
        if self.group.rows > 0 {
            self.group.write(self.writer.next_row_group()?)?;
        }
        self.writer.close()?;
        Ok(())
    }
}

/// One column's values, and where there are none.
#[derive(Debug)]
struct Column<T> {
    values: Vec<T>,
    /// 1: a value; 0: none.
    levels: Vec<i16>,
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self { values: Vec::new(), levels: Vec::new() }
    }
}

impl<T> Column<T> {
    fn push(&mut self, value: Option<T>) {
        self.levels.push(i16::from(value.is_some()));
        self.values.extend(value);
    }

    fn write<D: DataType<T = T>>(
        self,
        group: &mut SerializedRowGroupWriter<'_, impl Write + Send>,
    ) -> Result<()> {
        column::<D>(group, |column| column.write_batch(&self.values, Some(&self.levels), None).map(|_| ()))
    }
}

/// Writes the schema's next column.
fn column<D: DataType>(
    group: &mut SerializedRowGroupWriter<'_, impl Write + Send>,
    write: impl FnOnce(&mut ColumnWriterImpl<'_, D>) -> Result<()>,
) -> Result<()> {
    let next = group.next_column()?;
    let mut column =
        next.ok_or_else(|| ParquetError::General("more columns than the schema has".to_owned()))?;
    write(column.typed::<D>())?;
    column.close()
}

/// Intervals, in Dremel's form: of each whether it begins a row's list, and how much of it is there.
#[derive(Debug, Default)]
struct Watched {
    starts: Vec<i32>,
    ends: Vec<i32>,
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

impl Watched {
    fn push(&mut self, intervals: Option<Intervals>) {
        let depth = i16::from(intervals.is_some());
        let intervals = intervals.map(|Intervals(all)| all).unwrap_or_default();
        if intervals.is_empty() {
            self.definition.push(depth);
            self.repetition.push(0);
        }
        for (n, (start, end)) in intervals.into_iter().enumerate() {
            self.definition.push(2);
            self.repetition.push(i16::from(n > 0));
            self.starts.push(start);
            self.ends.push(end);
        }
    }

    fn write(self, group: &mut SerializedRowGroupWriter<'_, impl Write + Send>) -> Result<()> {
        for values in [&self.starts, &self.ends] {
            column::<Int32Type>(group, |column| {
                column.write_batch(values, Some(&self.definition), Some(&self.repetition)).map(|_| ())
            })?;
        }
        Ok(())
    }
}

/// Rows that are gathered.
#[derive(Debug, Default)]
struct Group {
    rows: usize,
    bytes: usize,
    ids: Vec<FixedLenByteArray>,
    /// `type`, `session_id`, `viewer_id`, `content_id`.
    names: [Vec<ByteArray>; 4],
    item_id: Column<ByteArray>,
    /// `occurred_at`, `client_occurred_at`, `received_at`.
    times: [Vec<i64>; 3],
    seq: Column<i64>,
    position_ms: Column<i32>,
    rate: Column<f32>,
    watched: Watched,
    played_ms: Column<i32>,
    answer: Column<ByteArray>,
    correct: Column<bool>,
    score: Column<f32>,
    attempt: Column<i32>,
    elapsed_ms: Column<i32>,
    details: Column<ByteArray>,
}

impl Group {
    fn push(&mut self, row: &Row) -> std::result::Result<(), tokio_postgres::Error> {
        self.rows += 1;
        self.ids.push(ByteArray::from(row.try_get::<_, Uuid>(0)?.as_bytes().to_vec()).into());
        for (n, names) in self.names.iter_mut().enumerate() {
            names.push(text(row.try_get(1 + n)?, &mut self.bytes));
        }
        let item: Option<&str> = row.try_get(5)?;
        self.item_id.push(item.map(|item| text(item, &mut self.bytes)));
        for (n, times) in self.times.iter_mut().enumerate() {
            times.push(micros(row.try_get(6 + n)?));
        }
        self.seq.push(row.try_get(9)?);
        self.position_ms.push(row.try_get(10)?);
        self.rate.push(row.try_get(11)?);
        self.watched.push(row.try_get(12)?);
        self.played_ms.push(row.try_get(13)?);
        let (answer, details): (Option<&str>, Option<&str>) = (row.try_get(14)?, row.try_get(19)?);
        self.answer.push(answer.map(|answer| text(answer, &mut self.bytes)));
        self.correct.push(row.try_get(15)?);
        self.score.push(row.try_get(16)?);
        self.attempt.push(row.try_get::<_, Option<i16>>(17)?.map(i32::from));
        self.elapsed_ms.push(row.try_get(18)?);
        self.details.push(details.map(|details| text(details, &mut self.bytes)));
        Ok(())
    }

    /// In the schema's order.
    fn write(self, mut writer: SerializedRowGroupWriter<'_, impl Write + Send>) -> Result<()> {
        let group = &mut writer;
        column::<FixedLenByteArrayType>(group, |column| {
            column.write_batch(&self.ids, None, None).map(|_| ())
        })?;
        for names in &self.names {
            column::<ByteArrayType>(group, |column| column.write_batch(names, None, None).map(|_| ()))?;
        }
        self.item_id.write::<ByteArrayType>(group)?;
        for times in &self.times {
            column::<Int64Type>(group, |column| column.write_batch(times, None, None).map(|_| ()))?;
        }
        self.seq.write::<Int64Type>(group)?;
        self.position_ms.write::<Int32Type>(group)?;
        self.rate.write::<FloatType>(group)?;
        self.watched.write(group)?;
        self.played_ms.write::<Int32Type>(group)?;
        self.answer.write::<ByteArrayType>(group)?;
        self.correct.write::<BoolType>(group)?;
        self.score.write::<FloatType>(group)?;
        self.attempt.write::<Int32Type>(group)?;
        self.elapsed_ms.write::<Int32Type>(group)?;
        self.details.write::<ByteArrayType>(group)?;
        writer.close()?;
        Ok(())
    }
}

fn text(text: &str, bytes: &mut usize) -> ByteArray {
    *bytes += text.len();
    ByteArray::from(text)
}

fn micros(at: SystemTime) -> i64 {
    let whole = |span: std::time::Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    match at.duration_since(UNIX_EPOCH) {
        Ok(after) => whole(after),
        Err(before) => -whole(before.duration()),
    }
}
