//! What may be done to a school, to see that the others do not notice.

use tokio::time::timeout;
use tokio_postgres::Client;

use super::classroom::Controls;
use super::keyboard::Key;
use super::observe::PATIENCE;
use super::picture::Picture;
use crate::config::DatabaseUrl;
use crate::store;

/// Breaks and heals schemas.
pub(super) struct Troubles {
    database: Client,
}

impl Troubles {
    pub(super) async fn new(database: &DatabaseUrl) -> Result<Self, store::Error> {
        Ok(Self { database: store::connect(database).await? })
    }

    /// Does what a key asks for.
    pub(super) async fn pressed(&mut self, key: Key, picture: &mut Picture, controls: &Controls) {
        let schools = picture.names.len();
        match key {
            Key::Pause => controls.toggle_pause(),
            Key::Flood => controls.flood(),
            Key::Next => picture.selected = (picture.selected + 1) % schools,
            Key::Previous => picture.selected = (picture.selected + schools - 1) % schools,
            Key::Break => self.rename(picture, picture.selected, true).await,
            Key::Heal => self.rename(picture, picture.selected, false).await,
            Key::Redraw | Key::Quit => {}
        }
    }

    /// Nothing stays broken when the demo ends.
    pub(super) async fn heal_all(&mut self, picture: &mut Picture) {
        for school in 0..picture.names.len() {
            self.rename(picture, school, false).await;
        }
    }

    /// The table of events under another name is a schema that the loader cannot use. Pressed once more it changes nothing.
    async fn rename(&mut self, picture: &mut Picture, school: usize, is_broken: bool) {
        if picture.is_broken[school] == is_broken {
            return;
        }
        let schema = store::quoted(&format!("org_{}", picture.names[school]));
        let (from, to) = if is_broken { ("event", "event_away") } else { ("event_away", "event") };
        let rename = format!("ALTER TABLE {schema}.{from} RENAME TO {to}");
        let renamed = timeout(PATIENCE, self.database.execute(&rename, &[])).await;
        // Who is not answered in time has asked all the same: what is asked next is done after it.
        if !matches!(renamed, Ok(Err(_))) {
            picture.is_broken[school] = is_broken;
        }
    }
}
