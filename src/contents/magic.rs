//! Types by content. What decides is at the beginning, for a few kinds near the end or inside; names and claims are never
//! looked at.

mod office;
mod prose;

use crate::Kind;
use crate::binary::{le16, le32, slice};

pub(crate) use office::{is_encrypted_pdf, ole};

/// What octets are.
#[must_use]
pub fn recognize(octets: &[u8]) -> Kind {
    if octets.is_empty() {
        return Kind::Empty;
    }
    by_signature(octets).or_else(|| by_structure(octets)).unwrap_or_else(|| prose::recognize(octets))
}

/// Octets that files begin with. Where one is the beginning of another, the longer comes first.
const SIGNATURES: &[(&[u8], Kind)] = &[
    (b"\x7fELF", Kind::Elf),
    (b"\xfe\xed\xfa\xce", Kind::MachO),
    (b"\xfe\xed\xfa\xcf", Kind::MachO),
    (b"\xce\xfa\xed\xfe", Kind::MachO),
    (b"\xcf\xfa\xed\xfe", Kind::MachO),
    (b"\0asm", Kind::WebAssembly),
    (b"dex\n03", Kind::Dex),
    (b"\x4c\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46", Kind::Shortcut),
    (b"ITSF\x03\0\0\0", Kind::CompiledHelp),
    (b"!<arch>\ndebian-binary", Kind::DebPackage),
    (b"!<arch>\n", Kind::Ar),
    (b"\xed\xab\xee\xdb", Kind::RpmPackage),
    (b"PK\x03\x04", Kind::Zip),
    (b"PK\x05\x06", Kind::Zip),
    (b"PK\x07\x08PK\x03\x04", Kind::Zip),
    (b"PK00PK\x03\x04", Kind::Zip),
    (b"\x1f\x8b\x08", Kind::Gzip),
    (b"BZh", Kind::Bzip2),
    (b"\xfd7zXZ\0", Kind::Xz),
    (b"\x28\xb5\x2f\xfd", Kind::Zstd),
    (b"\x1f\x9d", Kind::UnixCompress),
    (b"7z\xbc\xaf\x27\x1c", Kind::SevenZip),
    (b"Rar!\x1a\x07", Kind::Rar),
    (b"MSCF\0\0\0\0", Kind::Cabinet),
    (b"ISc(", Kind::Cabinet),
    (b"\x60\xea", Kind::Arj),
    (b"07070", Kind::Cpio),
    (b"\xc7\x71", Kind::Cpio),
    (b"\x78\x9f\x3e\x22", Kind::Tnef),
    (b"conectix", Kind::Vhd),
    (b"vhdxfile", Kind::Vhdx),
    (b"KDMV", Kind::Vmdk),
    (b"# Disk DescriptorFile", Kind::Vmdk),
    (b"QFI\xfb", Kind::Qcow),
    (b"hsqs", Kind::SquashFs),
    (b"%!PS", Kind::PostScript),
    (b"\xc5\xd0\xd3\xc6", Kind::PostScript),
    (b"{\\rt", Kind::Rtf),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Kind::Ole),
    (b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d\xae\xb1\x53\x78\xd0\x29\x96\xd3", Kind::OneNote),
    (b"\xff\xd8\xff", Kind::Jpeg),
    (b"\x89PNG\r\n\x1a\n", Kind::Png),
    (b"GIF87a", Kind::Gif),
    (b"GIF89a", Kind::Gif),
    (b"II*\0", Kind::Tiff),
    (b"MM\0*", Kind::Tiff),
    (b"\0\0\x01\0", Kind::Icon),
    (b"\xd7\xcd\xc6\x9a", Kind::Metafile),
    (b"ID3", Kind::Audio),
    (b"fLaC", Kind::Audio),
    (b"OggS", Kind::Audio),
    (b"MThd", Kind::Audio),
    (b"#!AMR", Kind::Audio),
    (b"\x1a\x45\xdf\xa3", Kind::Video),
    (b"\0\0\x01\xba", Kind::Video),
    (b"FLV\x01", Kind::Video),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Kind::Video),
    (b"wOFF", Kind::Font),
    (b"wOF2", Kind::Font),
    (b"OTTO", Kind::Font),
    (b"\0\x01\0\0\0", Kind::Font),
    (b"-----BEGIN PGP", Kind::Pgp),
    (b"-----BEGIN PKCS7", Kind::Pkcs7),
];

fn by_signature(octets: &[u8]) -> Option<Kind> {
    let kind = SIGNATURES.iter().find(|(signature, _)| octets.starts_with(signature)).map(|(_, kind)| *kind)?;
    match kind {
        Kind::Zip => Some(office::zip(octets)),
        Kind::Ole => Some(office::ole_kind(octets)),
        Kind::Bzip2 => octets.get(3).is_some_and(u8::is_ascii_digit).then_some(kind),
        Kind::Arj => (10..=2600).contains(&le16(octets, 2)?).then_some(kind),
        Kind::Cpio if octets[0] == b'0' => matches!(octets.get(5), Some(b'1' | b'2' | b'7')).then_some(kind),
        Kind::Icon => (1..=512).contains(&le16(octets, 4)?).then_some(kind),
        _ => Some(kind),
    }
}

/// Kinds that one fixed beginning does not tell.
fn by_structure(octets: &[u8]) -> Option<Kind> {
    let at = |place: usize, text: &[u8]| slice(octets, place, text.len()) == Some(text);
    if octets.starts_with(b"MZ") || octets.starts_with(b"ZM") {
        return Some(program(octets));
    }
    if octets.starts_with(b"\xca\xfe\xba\xbe") {
        // Java has its version here, a universal binary the number of its parts.
        let java =
            octets.get(4..8).is_some_and(|version| version[..2] == [0, 0] && version[3] >= 40 || version[0] != 0);
        return Some(if java { Kind::JavaClass } else { Kind::MachO });
    }
    // Readers of PDF look for its mark in the first KiB.
    if memchr::memmem::find(&octets[..octets.len().min(1024)], b"%PDF-").is_some() {
        return Some(Kind::Pdf);
    }
    if at(0, b"RIFF") {
        return Some(match octets.get(8..12) {
            Some(b"WEBP") => Kind::Webp,
            Some(b"WAVE") => Kind::Audio,
            Some(b"ACON") => Kind::Icon,
            _ => Kind::Video,
        });
    }
    if at(4, b"ftyp") {
        return Some(if at(8, b"M4A") {
            Kind::Audio
        } else if at(8, b"hei") || at(8, b"avif") {
            Kind::Jpeg
        } else {
            Kind::Video
        });
    }
    if at(0, b"BM") && le32(octets, 2).is_some_and(|size| size as usize >= 26) && le16(octets, 8) == Some(0) {
        return Some(Kind::Bmp);
    }
    if at(2, b"-lh") && at(6, b"-") || at(2, b"-lz") && at(6, b"-") {
        return Some(Kind::Lha);
    }
    if at(7, b"**ACE**") {
        return Some(Kind::Ace);
    }
    if crate::archive::tar::is_tar(octets) {
        return Some(Kind::Tar);
    }
    if at(0x8001, b"CD001") || at(0x8801, b"CD001") {
        return Some(Kind::Iso9660);
    }
    if at(0x8001, b"BEA01") || at(0x8801, b"NSR0") {
        return Some(Kind::Udf);
    }
    if octets.len() > 512 && at(octets.len() - 512, b"koly") {
        return Some(Kind::Dmg);
    }
    if octets.len() > 512 && at(octets.len() - 512, b"conectix") {
        return Some(Kind::Vhd);
    }
    if at(510, b"\x55\xaa") && (octets[0] == 0xeb || octets[0] == 0xe9 || at(0x1be, b"\x80")) {
        return Some(Kind::FatImage);
    }
    if is_lzma(octets) {
        return Some(Kind::Lzma);
    }
    if is_mpeg_audio(octets) {
        return Some(Kind::Audio);
    }
    if is_pkcs7(octets) {
        return Some(Kind::Pkcs7);
    }
    is_pgp(octets).then_some(Kind::Pgp)
}

fn program(octets: &[u8]) -> Kind {
    let place = le32(octets, 0x3c).and_then(|place| usize::try_from(place).ok());
    match place.and_then(|place| slice(octets, place, 2)) {
        Some(b"PE" | b"NE" | b"LE" | b"LX") => Kind::WindowsProgram,
        // Text may begin with these two letters as well.
        _ if octets.len() < 28 || prose::is_text(&octets[..octets.len().min(512)]) => prose::recognize(octets),
        _ => Kind::MsDosProgram,
    }
}

fn is_lzma(octets: &[u8]) -> bool {
    let size = crate::binary::le64(octets, 5);
    octets.first() == Some(&0x5d)
        && le32(octets, 1).is_some_and(|dictionary| dictionary >= 4096 && dictionary.count_ones() <= 2)
        && octets.get(13) == Some(&0)
        && size.is_some_and(|size| size == u64::MAX || size < 1 << 40)
}

fn is_mpeg_audio(octets: &[u8]) -> bool {
    matches!(octets, [0xff, 0xfa | 0xfb | 0xf2 | 0xf3, rate, ..] if rate >> 4 != 0 && rate >> 4 != 15 && rate & 0xc != 0xc)
}

/// `SEQUENCE { OBJECT IDENTIFIER pkcs7 …` in DER or BER.
fn is_pkcs7(octets: &[u8]) -> bool {
    const OID: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01";
    octets.first() == Some(&0x30)
        && octets[..octets.len().min(24)].windows(OID.len() + 2).any(|window| window[0] == 0x06 && window[2..] == *OID)
}

/// A packet of OpenPGP (RFC 9580 §4.2) that a file begins with: an encrypted session key or compressed or literal data.
fn is_pgp(octets: &[u8]) -> bool {
    match octets {
        // Version and algorithm of an encrypted session key, in the old and in the new form of headers.
        [0x84..=0x86, _, _, 3, rest @ ..] => rest.len() > 8 && rest[8] <= 27,
        [0x84, _, 3, rest @ ..] | [0xc1, 0..=191, 3, rest @ ..] => rest.len() > 8 && rest[8] <= 27,
        [0xc1, 192..=223, _, 3, rest @ ..] => rest.len() > 8 && rest[8] <= 27,
        [0x8c | 0xc3, length, 4, cipher, 0 | 1 | 3, ..] => *length < 64 && *cipher <= 13,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_content() {
        let mut windows = b"MZ".to_vec();
        windows.resize(0x3c, 0);
        windows.extend_from_slice(&0x40_u32.to_le_bytes());
        windows.extend_from_slice(b"PE\0\0");
        let mut dos = b"MZ\x90\0\x03\0\0\0\x04".to_vec();
        dos.resize(200, 0);
        let mut iso = vec![0; 0x8001];
        iso.extend_from_slice(b"CD001");
        let mut vhd = vec![0; 4096];
        vhd.extend_from_slice(b"conectix");
        vhd.resize(4096 + 512, 0);
        for (octets, kind) in [
            (&windows[..], Kind::WindowsProgram),
            (&dos, Kind::MsDosProgram),
            (b"MZ is how this text begins, and it is long enough to be no program at all.", Kind::Text),
            (b"\x7fELF\x02", Kind::Elf),
            (b"\xca\xfe\xba\xbe\0\0\0\x34", Kind::JavaClass),
            (b"\xca\xfe\xba\xbe\0\0\0\x02", Kind::MachO),
            (b"garbage %PDF-1.7", Kind::Pdf),
            (b"{\\rtf1", Kind::Rtf),
            (b"RIFF1234WEBP", Kind::Webp),
            (b"BZh91AY", Kind::Bzip2),
            (b"BZhello", Kind::Text),
            (b"Rar!\x1a\x07\0", Kind::Rar),
            (&iso, Kind::Iso9660),
            (&vhd, Kind::Vhd),
            (b"\0\0\x01\0\x01\0", Kind::Icon),
            (b"\x30\x82\x01\x02\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02", Kind::Pkcs7),
            (b"", Kind::Empty),
            (b"\x01\x02\x03\xff\0", Kind::Unknown),
        ] {
            assert_eq!(recognize(octets), kind, "{:?}", &octets[..octets.len().min(20)]);
        }
    }
}
