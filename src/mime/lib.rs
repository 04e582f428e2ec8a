//! What a mail store needs to know of a message (RFC 5322, RFC 2045 to 2049): where its parts lie, how IMAP
//! writes them, what its header says, what text it holds, the few header lines that acceptance adds, and the same message
//! in seven bits.
//!
//! Words only: bytes in, values out. It is tolerant of every input (bare LF, missing blank lines, unterminated
//! multiparts, NUL, invalid UTF-8), never refuses a message and works in bounded space and linear time.
//!
//! Deliberately not here: building whole messages, reading or writing delivery reports, checking signatures,
//! cleaning HTML for display. Another crate's parser decodes charsets, entities and dates behind this one; none
//! of its types come out.

mod address;
mod attributes;
mod bodystructure;
mod charset;
mod codec;
mod content;
mod date;
mod envelope;
mod facts;
mod field;
mod fold;
mod html;
mod media;
mod received;
mod scan;
mod section;
mod seven_bit;
#[cfg(test)]
mod soundness;
#[cfg(test)]
mod speed;
mod structure;
mod subject;
mod text;
mod transfer;
mod wire;

pub use address::{Mailbox, authors};
pub use charset::charset_text;
pub use codec::CodecError;
pub use date::{date_day, date_header, date_text, parse_date};
pub use envelope::envelope;
pub use facts::Facts;
pub use field::{
    Field, Fields, HeaderFault, HeaderFaultKind, count_headers, fields, has_header, header_end, header_fault,
    header_fields, header_text,
};
pub use fold::{contains_fold, fold};
pub use html::character_references;
pub use received::{Received, ReceivedTls, delivered_to, message_id_header, received, return_path};
pub use section::{SectionPart, section};
pub use seven_bit::{Unconvertible, is_seven_bit, seven_bit};
pub use structure::{Disposition, Encoding, MAX_DEPTH, MAX_PARTS, Part, Structure};
pub use subject::{BaseSubject, base_subject};
pub use text::{body_text, preview};
pub use transfer::{DecodeError, decoded, decoded_size};
