//! How the demo shows itself: a live view where there is a terminal, else a line a second.

use std::io::{self, IsTerminal as _, stdout};
use std::panic;

use ratatui::DefaultTerminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, enable_raw_mode};

use super::keyboard::{Key, Keyboard};
use super::lines;
use super::picture::Picture;
use super::screen::{self, Colours};
use crate::cli::output;

/// See the module.
pub(super) enum Show {
    Screen(Screen, Keyboard, Colours),
    Lines { is_quiet: bool },
}

/// Why something was not shown.
#[derive(Debug)]
pub(super) enum Unseen {
    /// The terminal was closed, or the lines' reader went away.
    NobodyLooks,
    Failed(io::Error),
}

impl Show {
    pub(super) fn open(is_quiet: bool) -> Self {
        if is_quiet || !stdout().is_terminal() || !io::stdin().is_terminal() {
            return Self::Lines { is_quiet };
        }
        match Screen::open() {
            Ok(screen) => Self::Screen(screen, Keyboard::open(), Colours::of_environment()),
            Err(_) => Self::Lines { is_quiet },
        }
    }

    /// The next key that means something.
    ///
    /// # Cancel safety
    /// Dropping the future loses no key.
    pub(super) async fn key(&mut self) -> Key {
        match self {
            Self::Screen(_, keyboard, _) => keyboard.next().await,
            Self::Lines { .. } => std::future::pending().await,
        }
    }

    /// A line is written for each look, a screen drawn for each key too.
    pub(super) fn show(&mut self, picture: &Picture, is_look: bool) -> Result<(), Unseen> {
        match self {
            Self::Screen(screen, _, colours) => screen.draw(picture, *colours),
            Self::Lines { is_quiet: false } if is_look => {
                output::say(&lines::line(picture));
                if output::has_reader() { Ok(()) } else { Err(Unseen::NobodyLooks) }
            }
            Self::Lines { .. } => Ok(()),
        }
    }
}

/// A terminal that is ours, and given back in the end. Ratatui's own way to do that complains on standard error where the
/// terminal is gone; standard error is gone with it, and that is a panic.
pub(super) struct Screen {
    /// `None`: it was given back.
    terminal: Option<DefaultTerminal>,
}

impl Screen {
    fn open() -> io::Result<Self> {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            // Else what is said of it would be drawn over.
            let _gone = ratatui::try_restore();
            before(panic);
        }));
        let open = || {
            enable_raw_mode()?;
            execute!(stdout(), EnterAlternateScreen)?;
            DefaultTerminal::new(CrosstermBackend::new(stdout()))
        };
        match open() {
            Ok(terminal) => Ok(Self { terminal: Some(terminal) }),
            Err(error) => {
                let _gone = ratatui::try_restore();
                Err(error)
            }
        }
    }

    fn draw(&mut self, picture: &Picture, colours: Colours) -> Result<(), Unseen> {
        let Some(terminal) = &mut self.terminal else { return Ok(()) };
        match terminal.draw(|frame| screen::draw(frame, picture, colours)) {
            Ok(_) => Ok(()),
            // It was one when it was opened.
            Err(_) if !stdout().is_terminal() => Err(Unseen::NobodyLooks),
            Err(error) => Err(Unseen::Failed(error)),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let Some(mut terminal) = self.terminal.take() else { return };
        if terminal.show_cursor().is_err() {
            // It would try the same again, and complain.
            std::mem::forget(terminal);
        }
        let _gone = ratatui::try_restore();
    }
}
