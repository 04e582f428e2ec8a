//! The whole terminal, drawn anew again and again, until somebody presses a key.

use std::io::{self, Write};
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{Event, KeyCode, KeyModifiers, poll, read};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};

/// A terminal that is ours until it is dropped, and then as it was.
pub struct Screen(io::Stdout);

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// When it is none.
    pub fn take() -> io::Result<Self> {
        enable_raw_mode()?;
        let mut screen = Self(io::stdout());
        execute!(screen.0, EnterAlternateScreen, Hide)?;
        Ok(screen)
    }

    /// Draws a page; what does not fit is cut off.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn draw(&mut self, page: &str) -> io::Result<()> {
        let (columns, rows) = size()?;
        queue!(self.0, MoveTo(0, 0))?;
        for line in page.lines().take(usize::from(rows).saturating_sub(1)) {
            let line: String = line.chars().take(usize::from(columns)).collect();
            write!(self.0, "{line}")?;
            queue!(self.0, Clear(ClearType::UntilNewLine))?;
            write!(self.0, "\r\n")?;
        }
        queue!(self.0, Clear(ClearType::FromCursorDown))?;
        self.0.flush()
    }

    /// Waits so long; whether somebody wants to leave.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn wait(&mut self, time: Duration) -> io::Result<bool> {
        let end = std::time::Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() || !poll(left)? {
                return Ok(false);
            }
            if let Event::Key(key) = read()?
                && (matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
                    || (key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL)))
            {
                return Ok(true);
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nothing to do about a terminal that does not listen any more.
        let _ = execute!(self.0, Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}
