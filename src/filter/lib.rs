//! The filter: judges a message while its sender is still connected, and rules what becomes of each recipient's copy.
//!
//! A [`Case`] is a message with everything that is known of it. [`Filter::look`] looks into it (`posthorn_contents`),
//! hears what was found out about its origin (SPF, DKIM, DMARC, ARC), asks the scanners, adds up the points, and holds the
//! result against what each recipient wants: a [`Judgement`] with one [`Ruling`] per recipient. What is held lies in the
//! [`Quarantine`](quarantine::Quarantine).
//!
//! No ruling drops mail in silence: a copy is delivered, put into Junk, held, or refused so that its sender hears of it.
//! Nobody gets it twice because its sender must come again for another: [`Served`] knows who has it.
//! Trouble of the filter's own is a finding, and what follows from it is configured.
//!
//! What it deliberately is not: a protocol, a socket, a mail store. Scanners of others are behind [`Scanner`] and given at
//! assembly; copies are stored by `posthorn_mail`.

mod case;
mod disclaimer;
mod dmarc;
mod engine;
mod fields;
mod files;
pub mod import;
mod judgement;
mod keeping;
mod notices;
mod point;
pub mod quarantine;
pub mod recipient;
mod redirect;
mod rulings;
mod scanner;
pub mod score;
mod served;
mod teaching;
mod verdict;

pub use case::{Case, Evidence, Way};
pub use engine::{Filter, Settings};
pub use files::file_rule_faults;
pub use judgement::{Judgement, Ruling, Settled};
pub use notices::Notices;
pub use point::Point;
pub use posthorn_mail::copies::{Change, Edit, Fate, Hold, Treatment};
pub use redirect::Redirect;
pub use scanner::{Fault, Scan, Scanned, Scanner};
pub use served::{Errand, Served};
pub use verdict::{Category, Level, Verdict};
