//! Documents: what is in a ZIP or in a compound file, and whether a document is locked.

use crate::Kind;
use crate::binary::{le16, le32, size, slice};

/// What a ZIP is for, from the names of its first members.
pub(super) fn zip(octets: &[u8]) -> Kind {
    let mut at = memchr::memmem::find(&octets[..octets.len().min(16)], b"PK\x03\x04").unwrap_or(0);
    let mut kind = Kind::Zip;
    for step in 0..64 {
        if slice(octets, at, 4) != Some(b"PK\x03\x04") {
            break;
        }
        let (Some(packed), Some(name_len), Some(extra)) =
            (le32(octets, at + 18), le16(octets, at + 26), le16(octets, at + 28))
        else {
            break;
        };
        let name = slice(octets, at + 30, name_len.into()).unwrap_or_default();
        let data = at + 30 + usize::from(name_len) + usize::from(extra);
        match name {
            b"mimetype" if step == 0 => {
                let media = slice(octets, data, size(packed).min(64)).unwrap_or_default();
                if media.starts_with(b"application/vnd.oasis.opendocument")
                    || media.starts_with(b"application/epub+zip")
                {
                    return Kind::OpenDocument;
                }
            }
            b"[Content_Types].xml" | b"_rels/.rels" => return Kind::OfficeOpenXml,
            b"AndroidManifest.xml" | b"classes.dex" => return Kind::AppPackage,
            b"META-INF/MANIFEST.MF" => kind = Kind::Jar,
            _ if name.ends_with(b".class") => kind = Kind::Jar,
            _ => {}
        }
        // Sizes may follow the data; then the next header is looked for.
        let streamed = le16(octets, at + 6).is_some_and(|flags| flags & 8 != 0) && packed == 0;
        at = if streamed {
            match octets
                .get(data..)
                .and_then(|rest| memchr::memmem::find(&rest[..rest.len().min(1 << 20)], b"PK\x03\x04"))
            {
                Some(len) => data + len,
                None => break,
            }
        } else {
            data.saturating_add(size(packed))
        };
    }
    kind
}

/// What a compound file is: an installer has its class in the root entry.
pub(super) fn ole_kind(octets: &[u8]) -> Kind {
    const INSTALLER: &[u8] = b"\x84\x10\x0c\0\0\0\0\0\xc0\0\0\0\0\0\0\x46";
    let shift = le16(octets, 30).filter(|shift| (9..=12).contains(shift)).unwrap_or(9);
    let sector = le32(octets, 48).map_or(usize::MAX, size);
    let root = sector.saturating_add(1).saturating_mul(1 << shift);
    match slice(octets, root.saturating_add(80), 16) {
        Some(INSTALLER) => Kind::Msi,
        _ => Kind::Ole,
    }
}

/// Of a compound file: whether it is an encrypted document, and whether it has macros. Entries of its directory bear
/// names in UTF-16, which are looked for wherever they stand.
pub(crate) fn ole(octets: &[u8]) -> (bool, bool) {
    let has = |name: &str| {
        let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        memchr::memmem::find(octets, &wide).is_some()
    };
    (has("EncryptedPackage"), has("_VBA_PROJECT") || has("VBA\0") && has("dir\0"))
}

/// Whether a PDF is encrypted: its trailer says so.
pub(crate) fn is_encrypted_pdf(octets: &[u8]) -> bool {
    memchr::memmem::find_iter(octets, b"/Encrypt").any(|at| {
        let behind = octets.get(at + 8).copied().unwrap_or_default();
        !behind.is_ascii_alphanumeric()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(name: &str, data: &[u8]) -> Vec<u8> {
        let mut octets = b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        let length = u32::try_from(data.len()).expect("short").to_le_bytes();
        octets.extend_from_slice(&length);
        octets.extend_from_slice(&length);
        octets.extend_from_slice(&u16::try_from(name.len()).expect("short").to_le_bytes());
        octets.extend_from_slice(&[0, 0]);
        octets.extend_from_slice(name.as_bytes());
        octets.extend_from_slice(data);
        octets
    }

    #[test]
    fn a_zip_is_what_its_members_make_it() {
        for (members, kind) in [
            (&[("a.txt", "x")][..], Kind::Zip),
            (&[("[Content_Types].xml", "<x/>"), ("word/document.xml", "")], Kind::OfficeOpenXml),
            (&[("a", "PK"), ("META-INF/MANIFEST.MF", "x")], Kind::Jar),
            (&[("META-INF/MANIFEST.MF", "x"), ("AndroidManifest.xml", "")], Kind::AppPackage),
            (&[("mimetype", "application/vnd.oasis.opendocument.text")], Kind::OpenDocument),
        ] {
            let octets: Vec<u8> = members.iter().flat_map(|(name, data)| local(name, data.as_bytes())).collect();
            assert_eq!(zip(&octets), kind);
        }
    }

    #[test]
    fn locked_documents_say_so() {
        assert!(is_encrypted_pdf(b"%PDF-1.7 trailer << /Encrypt 5 0 R >>"));
        assert!(!is_encrypted_pdf(b"%PDF-1.7 /EncryptMetadata"));
        let wide: Vec<u8> = "EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(ole(&wide), (true, false));
    }
}
