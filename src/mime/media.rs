//! Well-known media types as codes.

/// The code of text/plain, the type of everything that says nothing (RFC 2045 §5.2).
pub(crate) const TEXT_PLAIN: u16 = 1;
/// The code of message/rfc822, the type of a digest's parts that say nothing (RFC 2046 §5.1.5).
pub(crate) const MESSAGE_RFC822: u16 = 2;

/// The media type of a code; `None` for 0 and for codes that nobody gave.
pub(crate) fn of_code(code: u16) -> Option<(&'static str, &'static str)> {
    KNOWN.get(usize::from(code).checked_sub(1)?).copied()
}

/// The code of a media type in lower case; 0 when it has none.
pub(crate) fn code(media: &str, subtype: &str) -> u16 {
    let place = KNOWN.iter().position(|known| known.1 == subtype && known.0 == media);
    place.and_then(|place| u16::try_from(place + 1).ok()).unwrap_or(0)
}

/// Stored codes count on the order: append only.
const KNOWN: &[(&str, &str)] = &[
    ("text", "plain"),
    ("message", "rfc822"),
    ("text", "html"),
    ("multipart", "alternative"),
    ("multipart", "mixed"),
    ("multipart", "related"),
    ("multipart", "signed"),
    ("multipart", "report"),
    ("multipart", "digest"),
    ("multipart", "encrypted"),
    ("multipart", "parallel"),
    ("multipart", "form-data"),
    ("message", "global"),
    ("message", "delivery-status"),
    ("message", "disposition-notification"),
    ("message", "feedback-report"),
    ("message", "partial"),
    ("message", "external-body"),
    ("text", "rfc822-headers"),
    ("text", "calendar"),
    ("text", "csv"),
    ("text", "enriched"),
    ("text", "markdown"),
    ("text", "rtf"),
    ("text", "vcard"),
    ("text", "x-amp-html"),
    ("text", "x-patch"),
    ("text", "xml"),
    ("image", "gif"),
    ("image", "jpeg"),
    ("image", "png"),
    ("image", "svg+xml"),
    ("image", "tiff"),
    ("image", "webp"),
    ("audio", "mpeg"),
    ("audio", "ogg"),
    ("audio", "wav"),
    ("video", "mp4"),
    ("video", "quicktime"),
    ("application", "octet-stream"),
    ("application", "pdf"),
    ("application", "pgp-signature"),
    ("application", "pgp-encrypted"),
    ("application", "pgp-keys"),
    ("application", "pkcs7-signature"),
    ("application", "x-pkcs7-signature"),
    ("application", "pkcs7-mime"),
    ("application", "x-pkcs7-mime"),
    ("application", "zip"),
    ("application", "gzip"),
    ("application", "json"),
    ("application", "xml"),
    ("application", "ics"),
    ("application", "rtf"),
    ("application", "ms-tnef"),
    ("application", "msword"),
    ("application", "vnd.ms-excel"),
    ("application", "vnd.ms-powerpoint"),
    ("application", "vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("application", "vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("application", "vnd.openxmlformats-officedocument.presentationml.presentation"),
    ("application", "vnd.oasis.opendocument.text"),
    ("application", "vnd.oasis.opendocument.spreadsheet"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_name_their_types() {
        assert_eq!(of_code(TEXT_PLAIN), Some(("text", "plain")));
        assert_eq!(of_code(MESSAGE_RFC822), Some(("message", "rfc822")));
        assert_eq!((of_code(0), of_code(u16::MAX)), (None, None));
        for (place, (media, subtype)) in KNOWN.iter().enumerate() {
            assert_eq!(usize::from(code(media, subtype)), place + 1, "{media}/{subtype} is there twice");
        }
        assert_eq!(code("text", "pdf"), 0);
    }
}
