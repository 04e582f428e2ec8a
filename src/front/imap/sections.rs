//! The octets that FETCH shows: sections of a message, decoded parts, windows of either.

use bytes::Bytes;
use posthorn_imap::{Completion, Fetch, FetchAttribute, FetchWriter, Partial, ResponseCode, Section, SectionPart};
use posthorn_mail::selected::{Octets, structure};
use posthorn_mail::{Membership, Message, PART_SIZE, Reservation};
use posthorn_mime::{DecodeError, Structure};

use super::reading::{Contents, LARGE_OCTETS};
use super::{Session, Stop};

impl Session {
    /// Writes an attribute that shows octets of the message.
    pub(super) async fn write_content(
        &mut self,
        attribute: &FetchAttribute,
        message: &Membership,
        contents: &Contents,
    ) -> Result<(), Stop> {
        if let Some((section, partial)) = section_asked(attribute)
            && section.path.is_empty()
        {
            return self.write_top(attribute, message, contents, (&section, partial)).await;
        }
        let Some(row) = contents.rows.get(&message.message) else { return Err(gone()) };
        let structure = structure(row)?;
        let raw = match contents.octets.get(&message.message) {
            Some(octets) => octets.whole.clone(),
            None if needs_body(attribute, &structure) => self.whole(message).await?.whole,
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
                writer.section(section, origin, found.map(|octets| window(octets, *partial)).as_deref());
            }
            FetchAttribute::Binary { path, partial, .. } => match posthorn_mime::decoded(&structure, &raw, path) {
                Ok(octets) => {
                    let origin = partial.map(|partial| partial.offset);
                    writer.binary(path, origin, Some(&window(octets.into_owned().into(), *partial)));
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

    /// Writes a section of the message itself, for which its structure need not be known.
    async fn write_top(
        &mut self,
        attribute: &FetchAttribute,
        message: &Membership,
        contents: &Contents,
        (section, partial): (&Section, Option<Partial>),
    ) -> Result<(), Stop> {
        let octets = match contents.octets.get(&message.message) {
            Some(octets) => octets.clone(),
            None if matches!(section.part, SectionPart::Whole | SectionPart::Text) => {
                let row = self.mail.messages(&[message.message.0]).await?.remove(&message.message);
                return self.stream(attribute, &row.ok_or_else(gone)?, &section.part, partial).await;
            }
            None => self.mail.headers(&[message.message.0]).await?.remove(&message.message).ok_or_else(gone)?,
        };
        let found = match &section.part {
            SectionPart::Whole => Some(octets.whole.clone()),
            SectionPart::Text => Some(octets.text()),
            SectionPart::Header => Some(octets.header()),
            SectionPart::HeaderFields(wanted) => {
                Some(posthorn_mime::header_fields(&octets.header(), &names(wanted), false).into())
            }
            SectionPart::HeaderFieldsNot(wanted) => {
                Some(posthorn_mime::header_fields(&octets.header(), &names(wanted), true).into())
            }
            SectionPart::Mime => None,
        };
        let found = found.map(|octets| window(octets, partial));
        let mut writer = FetchWriter::resume(self.server.out());
        match (attribute, found) {
            (FetchAttribute::Rfc822(part), Some(octets)) => {
                writer.rfc822_start(*part, octets.len() as u64).raw_bytes(octets);
            }
            (FetchAttribute::Rfc822(part), None) => {
                writer.rfc822(*part, None);
            }
            (_, Some(octets)) => {
                let origin = partial.map(|partial| partial.offset);
                writer.section_start(section, origin, octets.len() as u64).raw_bytes(octets);
            }
            (_, None) => {
                writer.section(section, partial.map(|partial| partial.offset), None);
            }
        }
        Ok(())
    }

    /// Memory for a message that is too large for a batch and cannot be streamed, since a part of it is asked for.
    pub(super) fn reserve_large(&self, fetch: &Fetch, message: &Membership) -> Result<Option<Reservation>, Stop> {
        let inside = |attribute: &FetchAttribute| match attribute {
            FetchAttribute::Binary { .. } | FetchAttribute::BinarySize { .. } => true,
            attribute => section_asked(attribute).is_some_and(|(section, _)| !section.path.is_empty()),
        };
        if u64::from(message.size) <= LARGE_OCTETS || !fetch.attributes.iter().any(inside) {
            return Ok(None);
        }
        let mut held = self.mail.reserve();
        // The message and what is decoded from it.
        if held.grow(message.size as usize * 2) {
            return Ok(Some(held));
        }
        let text = "Too many large messages are read at the moment, try again later";
        Err(Stop::Answer(Completion::no(text).with(ResponseCode::Limit)))
    }

    async fn whole(&self, message: &Membership) -> Result<Octets, Stop> {
        self.mail.bodies(&[message.message.0]).await?.remove(&message.message).ok_or_else(gone)
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

/// The message vanished while its answer was written, which has no other end than hanging up.
fn gone() -> Stop {
    Stop::Ended(posthorn_net::Ended::Cut)
}

/// The section that an attribute shows.
fn section_asked(attribute: &FetchAttribute) -> Option<(Section, Option<Partial>)> {
    match attribute {
        FetchAttribute::BodySection { section, partial, .. } => Some((section.clone(), *partial)),
        FetchAttribute::Rfc822(part) => Some((part.section(), None)),
        _ => None,
    }
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

fn window(octets: Bytes, partial: Option<Partial>) -> Bytes {
    let Some(Partial { offset, length }) = partial else { return octets };
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(octets.len());
    let to = from.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(octets.len());
    octets.slice(from..to)
}

/// The response in progress is ended first, so that the answer stands on a line of its own.
fn unknown_encoding(mut writer: FetchWriter<'_>) -> Stop {
    writer.end();
    Stop::Answer(Completion::no("The part's transfer encoding is not known").with(ResponseCode::UnknownCte))
}
