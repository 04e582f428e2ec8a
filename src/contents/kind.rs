//! What something is by its content.

/// Groups of kinds, for rules that do not care which of them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Family {
    /// Runs on some machine when it is opened: programs, scripts, shortcuts, installers, HTML applications.
    Executable,
    /// Holds files.
    Archive,
    /// Holds a file system.
    DiskImage,
    /// For an office program or a reader.
    Document,
    /// Text, marked up or not.
    Text,
    /// Picture, sound, film or font.
    Media,
    /// A signature or what is encrypted as a whole.
    Sealed,
    /// None of these.
    Other,
}

macro_rules! kinds {
    ($($kind:ident $word:literal $family:ident [$($short:literal)*] $doc:literal,)*) => {
        /// What something is by its content, never by its name or by what is claimed.
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
        pub enum Kind {
            $(#[doc = $doc] $kind,)*
            /// Octets that nothing is known of.
            #[default]
            Unknown,
        }

        impl Kind {
            /// Every kind that has a word.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)* Self::Unknown];

            /// The word of configurations and traces, such as `windows-program`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $word,)*
                    Self::Unknown => "unknown",
                }
            }

            /// The group that it belongs to.
            #[must_use]
            pub fn family(self) -> Family {
                match self {
                    $(Self::$kind => Family::$family,)*
                    Self::Unknown => Family::Other,
                }
            }

            /// The short types that Amavis' rules know it by, the general one first, such as `exe` and `exe-ms`.
            #[must_use]
            pub fn short_names(self) -> &'static [&'static str] {
                match self {
                    $(Self::$kind => &[$($short),*],)*
                    Self::Unknown => &["dat"],
                }
            }
        }
    };
}

kinds! {
    Multipart "multipart" Other [] "A multipart of a message.",
    Empty "empty" Other ["empty"] "No octets at all.",
    MsDosProgram "ms-dos-program" Executable ["exe" "exe-ms"] "A program for MS-DOS (MZ).",
    WindowsProgram "windows-program" Executable ["exe" "exe-ms"] "A program or library for Windows (PE, NE, LE).",
    Elf "elf" Executable ["exe" "exe-unix"] "A program or library for Unix (ELF).",
    MachO "mach-o" Executable ["exe" "exe-mac"] "A program or library for macOS (Mach-O).",
    JavaClass "java-class" Executable ["java"] "A compiled class for Java.",
    WebAssembly "web-assembly" Executable ["wasm"] "A WebAssembly module.",
    Dex "dex" Executable ["dex"] "A program for Android.",
    Shortcut "shortcut" Executable ["lnk"] "A shortcut for Windows (LNK).",
    InternetShortcut "internet-shortcut" Executable ["url"] "A text that makes Windows open an address.",
    UnixScript "unix-script" Executable ["txt" "asc" "script"] "A text that begins with `#!` and an interpreter.",
    BatchFile "batch-file" Executable ["txt" "asc" "bat"] "A text of commands for Windows.",
    WindowsScript "windows-script" Executable ["txt" "asc" "wsf"] "A Windows script file, scriptlet or encoded script.",
    PowerShell "powershell" Executable ["txt" "asc" "ps1"] "A text of commands for PowerShell.",
    RegistryFile "registry-file" Executable ["txt" "asc" "reg"] "Entries for the registry of Windows.",
    Hta "hta" Executable ["html" "hta"] "An HTML application for Windows.",
    CompiledHelp "compiled-help" Executable ["chm"] "Compiled HTML help.",
    Msi "msi" Executable ["ole" "msi"] "An installer for Windows.",
    AppPackage "app-package" Executable ["zip" "apk"] "A package for Android.",
    DebPackage "deb-package" Executable ["ar" "deb"] "A package for Debian.",
    RpmPackage "rpm-package" Executable ["rpm"] "A package for RPM.",
    Jar "jar" Executable ["zip" "jar"] "A Java archive.",
    Zip "zip" Archive ["zip"] "A ZIP archive.",
    Gzip "gzip" Archive ["gz"] "A file packed by gzip.",
    Bzip2 "bzip2" Archive ["bz2"] "A file packed by bzip2.",
    Xz "xz" Archive ["xz"] "A file packed by xz.",
    Lzma "lzma" Archive ["lzma"] "A file packed by LZMA alone.",
    Zstd "zstd" Archive ["zst"] "A file packed by Zstandard.",
    UnixCompress "unix-compress" Archive ["Z"] "A file packed by Unix compress.",
    SevenZip "7z" Archive ["7z"] "A 7z archive.",
    Rar "rar" Archive ["rar"] "A RAR archive.",
    Tar "tar" Archive ["tar"] "A tar archive.",
    Cpio "cpio" Archive ["cpio"] "A cpio archive.",
    Ar "ar" Archive ["ar"] "An ar archive.",
    Cabinet "cabinet" Archive ["cab"] "A cabinet of Windows.",
    Arj "arj" Archive ["arj"] "An ARJ archive.",
    Lha "lha" Archive ["lha"] "An LHA archive.",
    Ace "ace" Archive ["ace"] "An ACE archive.",
    Tnef "tnef" Archive ["tnef"] "Outlook's transport form (winmail.dat).",
    Iso9660 "iso" DiskImage ["iso"] "An image of an optical disc.",
    Udf "udf" DiskImage ["iso" "udf"] "An image of an optical disc in UDF alone.",
    FatImage "fat-image" DiskImage ["img"] "An image of a disk with a boot sector.",
    Vhd "vhd" DiskImage ["vhd"] "A virtual hard disk.",
    Vhdx "vhdx" DiskImage ["vhdx"] "A virtual hard disk of the newer form.",
    Vmdk "vmdk" DiskImage ["vmdk"] "A disk of VMware.",
    Qcow "qcow" DiskImage ["qcow"] "A disk of QEMU.",
    Dmg "dmg" DiskImage ["dmg"] "A disk of macOS.",
    SquashFs "squashfs" DiskImage ["squashfs"] "A packed file system.",
    Pdf "pdf" Document ["pdf"] "A PDF document.",
    PostScript "postscript" Document ["ps"] "A PostScript document.",
    Rtf "rtf" Document ["rtf"] "A document in rich text.",
    Ole "ole" Document ["ole" "doc"] "A compound file: an older office document or a message of Outlook.",
    OfficeOpenXml "office-open-xml" Document ["zip" "ooxml"] "A document of newer office programs (docx, xlsx, pptx).",
    OpenDocument "open-document" Document ["zip" "odf"] "An OpenDocument or EPUB file.",
    OneNote "onenote" Document ["one"] "A section of OneNote.",
    Message "message" Text ["mail"] "A message (RFC 5322).",
    Html "html" Text ["html"] "HTML.",
    Svg "svg" Text ["xml" "svg"] "A picture in SVG, which may hold scripts.",
    Xml "xml" Text ["xml"] "XML.",
    Calendar "calendar" Text ["txt" "asc" "ics"] "An iCalendar object.",
    VCard "vcard" Text ["txt" "asc" "vcf"] "A vCard.",
    Uuencoded "uuencoded" Text ["txt" "uue"] "Text that begins with a uuencoded file.",
    Text "text" Text ["txt" "asc"] "Text.",
    Jpeg "jpeg" Media ["image" "jpg"] "A picture.",
    Png "png" Media ["image" "png"] "A picture.",
    Gif "gif" Media ["image" "gif"] "A picture.",
    Webp "webp" Media ["image" "webp"] "A picture.",
    Bmp "bmp" Media ["image" "bmp"] "A picture.",
    Tiff "tiff" Media ["image" "tif"] "A picture.",
    Icon "icon" Media ["image" "ico"] "A picture.",
    Metafile "metafile" Media ["image" "wmf"] "A picture of Windows.",
    Audio "audio" Media ["sound"] "Sound.",
    Video "video" Media ["movie"] "A film.",
    Font "font" Media ["font"] "A font.",
    Pgp "pgp" Sealed ["pgp"] "A message, key or signature of OpenPGP.",
    Pkcs7 "pkcs7" Sealed ["p7"] "A message or signature of S/MIME.",
}

impl Kind {
    /// The kind of a word; `None` when there is none of that name.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
    }
}

impl Family {
    /// Every family with its word.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Executable, "executable"),
        (Self::Archive, "archive"),
        (Self::DiskImage, "disk-image"),
        (Self::Document, "document"),
        (Self::Text, "text"),
        (Self::Media, "media"),
        (Self::Sealed, "sealed"),
        (Self::Other, "other"),
    ];

    /// The family of a word; `None` when there is none of that name.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(family, _)| *family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_one_kind_each() {
        for kind in Kind::ALL {
            assert_eq!(Kind::named(kind.as_str()), Some(*kind));
        }
        for (family, word) in Family::ALL {
            assert_eq!(Family::named(word), Some(family));
        }
        assert_eq!((Kind::named("odd"), Family::named("odd")), (None, None));
    }
}
