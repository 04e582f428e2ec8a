//! The compact form of a structure, as a damaged database may hold it.

use posthorn_mime::{SectionPart, Structure, decoded_size, preview, section};

/// A message that is shorter than most damaged structures say.
const RAW: &[u8] = b"Subject: x\r\nContent-Type: text/plain\r\n\r\nHello.\r\n";

/// Reads the octets as a structure, and uses what comes out on a message that it does not belong to.
pub fn target(octets: &[u8]) {
    let Ok(structure) = Structure::from_bytes(octets) else { return };
    let again = Structure::from_bytes(&structure.to_bytes()).expect("what was written is read");
    assert_eq!(again, structure);
    for raw in [RAW, b""] {
        let _body = structure.body(raw);
        let _bodystructure = structure.bodystructure(raw);
        let _preview = preview(&structure, raw);
        for path in [&[][..], &[1], &[2], &[1, 1]] {
            for part in [SectionPart::Whole, SectionPart::Header, SectionPart::Text, SectionPart::Mime] {
                let _section = section(&structure, raw, path, part);
            }
            let _size = decoded_size(&structure, raw, path);
        }
    }
    for part in structure.parts().take(1000) {
        let (header, body) = (part.header_range(), part.body_range());
        assert!(header.start <= header.end && body.start <= body.end);
        let _name = part.file_name();
        let _children = part.children().chain(part.message()).take(1000).count();
    }
}
