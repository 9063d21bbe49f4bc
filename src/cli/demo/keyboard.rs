//! What is pressed, read on a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

/// How long the thread waits for a key before it looks whether it is still wanted.
const WAIT: Duration = Duration::from_millis(100);

/// A key that means something, or a terminal of another size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Pause,
    Break,
    Heal,
    Flood,
    Next,
    Previous,
    Redraw,
    Quit,
}

/// See the module.
pub(super) struct Keyboard {
    keys: mpsc::UnboundedReceiver<Key>,
    stop: Arc<AtomicBool>,
}

impl Keyboard {
    pub(super) fn open() -> Self {
        let (sender, keys) = mpsc::unbounded_channel();
        let stop = Arc::new(AtomicBool::new(false));
        let ours = Arc::clone(&stop);
        std::thread::spawn(move || {
            while !ours.load(Ordering::Relaxed) {
                let key = match event::poll(WAIT) {
                    Ok(true) => event::read().map(|event| meaning(&event)),
                    Ok(false) => Ok(None),
                    Err(error) => Err(error),
                };
                // No keys: then Ctrl-C ends the demo as it ends everything.
                let Ok(key) = key else { return };
                if key.is_some_and(|key| sender.send(key).is_err()) {
                    return;
                }
            }
        });
        Self { keys, stop }
    }

    /// The next one.
    ///
    /// # Cancel safety
    /// Dropping the future loses no key.
    pub(super) async fn next(&mut self) -> Key {
        match self.keys.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn meaning(event: &Event) -> Option<Key> {
    let key = match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => key,
        Event::Resize(..) => return Some(Key::Redraw),
        _ => return None,
    };
    match key.code {
        KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(Key::Quit),
        KeyCode::Char('p' | 'P' | ' ') => Some(Key::Pause),
        KeyCode::Char('b' | 'B') => Some(Key::Break),
        KeyCode::Char('h' | 'H') => Some(Key::Heal),
        KeyCode::Char('f' | 'F') => Some(Key::Flood),
        KeyCode::Down | KeyCode::Tab | KeyCode::Char('j') => Some(Key::Next),
        KeyCode::Up | KeyCode::BackTab | KeyCode::Char('k') => Some(Key::Previous),
        _ => None,
    }
}
