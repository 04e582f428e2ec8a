//! What the appliance writes about its work, as long as the test runs on one thread.

use std::io::Write;
use std::sync::{Arc, Mutex};

use tracing::subscriber::DefaultGuard;

/// The log of this thread from now on, in plain text.
pub struct Trace {
    written: Written,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics while writing").extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Trace {
    /// Listens to this thread; `#[tokio::test]` runs everything on one.
    #[must_use]
    pub fn listen() -> Self {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        Self { written, _guard: tracing::subscriber::set_default(lines) }
    }

    /// Everything that was written so far.
    ///
    /// # Panics
    /// When it is not text.
    #[must_use]
    pub fn text(&self) -> String {
        let written = self.written.0.lock().expect("nobody panics while writing");
        String::from_utf8(written.clone()).expect("UTF-8")
    }

    /// The first line that holds this text.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn line(&self, text: &str) -> String {
        let all = self.text();
        let found = all.lines().find(|line| line.contains(text)).map(str::to_owned);
        found.unwrap_or_else(|| panic!("no line with {text:?} in\n{all}"))
    }
}
