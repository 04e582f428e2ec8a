//! What the appliance writes about its work, as long as the test runs on one thread.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::sync::Once;

thread_local! {
    static LISTENER: RefCell<Option<Rc<RefCell<Vec<u8>>>>> = const { RefCell::new(None) };
}

/// The log of this thread from now on, in plain text.
pub struct Trace {
    written: Rc<RefCell<Vec<u8>>>,
}

/// Writes for whoever listens to this thread.
struct Ear;

impl Write for Ear {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        LISTENER.with_borrow(|listener| {
            if let Some(written) = listener {
                written.borrow_mut().extend_from_slice(octets);
            }
        });
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Begins to hear all threads. Before the first server starts, or what it writes first is lost for all.
pub fn begin() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Ear).finish();
        // A test that has its own hears nothing here.
        let _own = tracing::subscriber::set_global_default(lines);
    });
}

impl Trace {
    /// Listens to this thread; `#[tokio::test]` runs everything on one.
    #[must_use]
    pub fn listen() -> Self {
        begin();
        let written = Rc::new(RefCell::new(Vec::new()));
        LISTENER.with_borrow_mut(|listener| *listener = Some(Rc::clone(&written)));
        Self { written }
    }

    /// Everything that was written so far.
    ///
    /// # Panics
    /// When it is not text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8(self.written.borrow().clone()).expect("UTF-8")
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

impl Drop for Trace {
    fn drop(&mut self) {
        LISTENER.with_borrow_mut(Option::take);
    }
}
