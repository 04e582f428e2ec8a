//! The octets that FETCH shows: sections of a message, decoded parts, windows of either.

use bytes::Bytes;
use posthorn_imap::{Completion, FetchAttribute, FetchWriter, Partial, ResponseCode, Rfc822, Section, SectionPart};
use posthorn_mail::selected::structure;
use posthorn_mail::{Membership, Message, PART_SIZE};
use posthorn_mime::{DecodeError, Structure};

use super::fetch::Contents;
use super::{Session, Stop};

/// Messages above this many octets are streamed from the store part by part.
const STREAM: u64 = 4 << 20;

impl Session {
    /// Writes an attribute that shows octets of the message.
    pub(super) async fn write_content(
        &mut self,
        attribute: &FetchAttribute,
        message: &Membership,
        contents: &Contents,
    ) -> Result<(), Stop> {
        let Some(row) = contents.rows.get(&message.message) else { return Ok(()) };
        if row.size > STREAM
            && let Some((section, partial)) = plain(attribute)
        {
            return self.stream(attribute, row, &section.part, partial).await;
        }
        let structure = structure(row)?;
        let raw = match contents.bodies.get(&message.message).or_else(|| contents.headers.get(&message.message)) {
            Some(raw) => raw.clone(),
            None if needs_body(attribute, &structure) => {
                self.mail.bodies(&[message.message.0]).await?.remove(&message.message).unwrap_or_default()
            }
            None => Bytes::new(),
        };
        let mut writer = FetchWriter::resume(self.server.out());
        match attribute {
            FetchAttribute::Body => {
                writer.body(&structure.body(&raw));
            }
            FetchAttribute::BodySection { section, partial, .. } => {
                let found = section_of(&structure, &raw, section);
                let origin = partial.map(|partial| partial.offset);
                writer.section(section, origin, found.as_deref().map(|octets| window(octets, *partial)));
            }
            FetchAttribute::Rfc822(part) => {
                let found = section_of(&structure, &raw, &part.section());
                writer.rfc822(*part, found.as_deref());
            }
            FetchAttribute::Binary { path, partial, .. } => match posthorn_mime::decoded(&structure, &raw, path) {
                Ok(octets) => {
                    let origin = partial.map(|partial| partial.offset);
                    writer.binary(path, origin, Some(window(&octets, *partial)));
                }
                Err(DecodeError::NoSuchPart) => {
                    writer.binary(path, partial.map(|partial| partial.offset), None);
                }
                Err(DecodeError::UnknownEncoding) => return Err(unknown_encoding(writer)),
            },
            FetchAttribute::BinarySize { path } => match posthorn_mime::decoded_size(&structure, &raw, path) {
                Ok(octets) => {
                    writer.binary_size(path, octets as u64);
                }
                Err(DecodeError::NoSuchPart) => {
                    writer.binary_size(path, 0);
                }
                Err(DecodeError::UnknownEncoding) => return Err(unknown_encoding(writer)),
            },
            _ => {}
        }
        Ok(())
    }

    /// Sends a large message (or its text) part by part, as the client takes it.
    async fn stream(
        &mut self,
        attribute: &FetchAttribute,
        row: &Message,
        part: &SectionPart,
        partial: Option<Partial>,
    ) -> Result<(), Stop> {
        let base = if *part == SectionPart::Text { row.header_size } else { 0 };
        let offset = partial.map_or(0, |partial| partial.offset);
        let start = base.saturating_add(offset).min(row.size);
        let length = partial.map_or(u64::MAX, |partial| partial.length).min(row.size - start);
        let mut writer = FetchWriter::resume(self.server.out());
        match attribute {
            FetchAttribute::Rfc822(part) => writer.rfc822_start(*part, length),
            FetchAttribute::BodySection { section, .. } => {
                writer.section_start(section, partial.map(|partial| partial.offset), length)
            }
            _ => return Ok(()),
        };
        let part_size = PART_SIZE as u64;
        let first_end = row.header_size + part_size;
        let (mut at, end) = (start, start + length);
        while at < end {
            let (number, begins) = if at < first_end {
                (0, 0)
            } else {
                let number = (at - first_end) / part_size + 1;
                (number, first_end + (number - 1) * part_size)
            };
            let number = i32::try_from(number).unwrap_or(i32::MAX);
            let octets = self.mail.body_part(row.id, number).await?;
            // The length is announced: a message that vanished in between can only be answered by hanging up.
            let Some(octets) = octets else { return Err(Stop::Ended(posthorn_net::Ended::Cut)) };
            let from = usize::try_from(at - begins).unwrap_or(usize::MAX).min(octets.len());
            let to = usize::try_from(end - begins).unwrap_or(usize::MAX).min(octets.len());
            if from >= to {
                return Err(Stop::Ended(posthorn_net::Ended::Cut));
            }
            at += (to - from) as u64;
            self.server.out().raw_bytes(octets.slice(from..to));
            self.connection.flush(&mut self.server).await?;
        }
        Ok(())
    }
}

/// The section of an attribute that shows the message, or its text, as it lies in the store.
fn plain(attribute: &FetchAttribute) -> Option<(Section, Option<Partial>)> {
    let (section, partial) = match attribute {
        FetchAttribute::BodySection { section, partial, .. } => (section.clone(), *partial),
        FetchAttribute::Rfc822(part @ (Rfc822::Message | Rfc822::Text)) => (part.section(), None),
        _ => return None,
    };
    let whole = section.path.is_empty() && matches!(section.part, SectionPart::Whole | SectionPart::Text);
    whole.then_some((section, partial))
}

/// Whether octets of the message are needed beyond those of a batch: for BODY only when a message lies inside, whose
/// envelope is shown.
fn needs_body(attribute: &FetchAttribute, structure: &Structure) -> bool {
    *attribute != FetchAttribute::Body || structure.parts().any(|part| part.message().is_some())
}

fn section_of(structure: &Structure, raw: &Bytes, section: &Section) -> Option<Bytes> {
    let listed;
    let part = match &section.part {
        SectionPart::Header => posthorn_mime::SectionPart::Header,
        SectionPart::HeaderFields(wanted) => {
            listed = names(wanted);
            posthorn_mime::SectionPart::HeaderFields { names: &listed, not: false }
        }
        SectionPart::HeaderFieldsNot(wanted) => {
            listed = names(wanted);
            posthorn_mime::SectionPart::HeaderFields { names: &listed, not: true }
        }
        SectionPart::Mime => posthorn_mime::SectionPart::Mime,
        SectionPart::Text => posthorn_mime::SectionPart::Text,
        SectionPart::Whole => posthorn_mime::SectionPart::Whole,
    };
    match posthorn_mime::section(structure, raw, &section.path, part)? {
        std::borrow::Cow::Borrowed(octets) => Some(raw.slice_ref(octets)),
        std::borrow::Cow::Owned(octets) => Some(octets.into()),
    }
}

fn names(wanted: &[String]) -> Vec<&str> {
    wanted.iter().map(String::as_str).collect()
}

fn window(octets: &[u8], partial: Option<Partial>) -> &[u8] {
    let Some(Partial { offset, length }) = partial else { return octets };
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(octets.len());
    let to = from.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(octets.len());
    &octets[from..to]
}

/// The response in progress is ended first, so that the answer stands on a line of its own.
fn unknown_encoding(mut writer: FetchWriter<'_>) -> Stop {
    writer.end();
    Stop::Answer(Completion::no("The part's transfer encoding is not known").with(ResponseCode::UnknownCte))
}
