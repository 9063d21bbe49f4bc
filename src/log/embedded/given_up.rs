//! Which damage a person has accepted: a small file beside the segments, a line for each stretch of offsets.

use std::fmt::Write as _;
use std::io;

use super::folder::{Folder, Patience, read_around_bad_places};
use super::format::as_index;
use super::gaps::{Damage, Gaps};

const NAME: &str = "given-up";
const NEW_NAME: &str = "given-up.new";
const HEAD: &str = "rollbook: records given up; partition, first offset, next offset";

/// Writes them down for good.
pub(super) fn write(folder: &dyn Folder, given_up: &Gaps) -> io::Result<()> {
    let mut text = format!("{HEAD}\n");
    for (partition, Damage { from, to }) in given_up.each() {
        let _infallible = writeln!(text, "{partition} {from} {to}");
    }
    let checksum = crc32fast::hash(text.as_bytes());
    let _infallible = writeln!(text, "checksum {checksum:08x}");
    let file = folder.create(NEW_NAME)?;
    file.write_all_at(text.as_bytes(), 0)?;
    file.sync()?;
    folder.rename(NEW_NAME, NAME)?;
    folder.sync()
}

/// Reads what was written. A file that is not as it was written says nothing: what it gave up is damage again.
pub(super) fn read(folder: &dyn Folder) -> io::Result<Option<Gaps>> {
    let file = match folder.open(NAME) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Gaps::default())),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; as_index(file.length()?)];
    let read = read_around_bad_places(&*file, &mut bytes, 0, &mut Patience::default())?;
    bytes.truncate(read);
    Ok(String::from_utf8(bytes).ok().and_then(|text| parse(&text)))
}

fn parse(text: &str) -> Option<Gaps> {
    let (checked, checksum) = text.rsplit_once("checksum ")?;
    let checksum = u32::from_str_radix(checksum.strip_suffix('\n')?, 16).ok()?;
    if checksum != crc32fast::hash(checked.as_bytes()) {
        return None;
    }
    let mut lines = checked.lines();
    if lines.next() != Some(HEAD) {
        return None;
    }
    let mut given_up = Gaps::default();
    for line in lines {
        let mut words = line.split(' ');
        let partition = words.next()?.parse().ok()?;
        let (from, to) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        given_up.add(partition, Damage { from, to });
    }
    Some(given_up)
}
