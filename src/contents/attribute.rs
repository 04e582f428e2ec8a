//! What is to be said of a node besides its type.

/// One thing to be said of a node.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Attribute {
    /// It is encrypted, or the archive hides even its list of files.
    Encrypted,
    /// It is a directory of an archive.
    Directory,
    /// It is a symbolic link of an archive.
    SymbolicLink,
    /// It is a hard link of an archive.
    HardLink,
    /// It is a device, a pipe or something else that is no file.
    Special,
    /// It lies so deep that it was not looked into.
    TooDeep,
    /// It is so large that it was not looked into.
    TooLarge,
    /// It ends too early, or its check sum or its form is wrong.
    Damaged,
    /// It is an archive, or packed by a method, that cannot be looked into.
    Unopened,
    /// It unpacks to another size than its archive says.
    LyingSize,
    /// Its name is an absolute path or names a drive.
    AbsolutePath,
    /// Its name leads upwards (`..`).
    Upwards,
    /// Its octets are also another member's.
    Overlapping,
    /// It is in the archive but not in its list of files, or under another name.
    Unlisted,
    /// Its name was longer than the limit and is cut.
    LongName,
    /// It is an office document with macros.
    Macros,
    /// It is a part with a transfer encoding that is not known.
    UnknownEncoding,
}

/// In the order of their bits, with their words and the letters that Amavis has for some.
const ALL: [(Attribute, &str, Option<char>); 17] = [
    (Attribute::Encrypted, "encrypted", Some('C')),
    (Attribute::Directory, "directory", Some('D')),
    (Attribute::SymbolicLink, "symbolic-link", Some('L')),
    (Attribute::HardLink, "hard-link", Some('L')),
    (Attribute::Special, "special", Some('S')),
    (Attribute::TooDeep, "too-deep", None),
    (Attribute::TooLarge, "too-large", None),
    (Attribute::Damaged, "damaged", None),
    (Attribute::Unopened, "unopened", Some('U')),
    (Attribute::LyingSize, "lying-size", None),
    (Attribute::AbsolutePath, "absolute-path", None),
    (Attribute::Upwards, "upwards", None),
    (Attribute::Overlapping, "overlapping", None),
    (Attribute::Unlisted, "unlisted", None),
    (Attribute::LongName, "long-name", None),
    (Attribute::Macros, "macros", None),
    (Attribute::UnknownEncoding, "unknown-encoding", None),
];

impl Attribute {
    /// The word of configurations and traces, such as `symbolic-link`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        ALL[self as usize].1
    }

    /// The attribute of a word; `None` when there is none of that name.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        ALL.iter().find(|(_, known, _)| *known == word).map(|(attribute, ..)| *attribute)
    }
}

/// A set of attributes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Attributes(u32);

impl Attributes {
    /// Whether the attribute is one of them.
    #[must_use]
    pub fn contains(self, attribute: Attribute) -> bool {
        self.0 & 1 << attribute as u8 != 0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All of them in the order of [`Attribute`].
    pub fn iter(self) -> impl Iterator<Item = Attribute> {
        ALL.iter().map(|(attribute, ..)| *attribute).filter(move |attribute| self.contains(*attribute))
    }

    /// Adds one.
    pub fn insert(&mut self, attribute: Attribute) {
        self.0 |= 1 << attribute as u8;
    }

    /// Those that Amavis writes, as its letters.
    pub(crate) fn letters(self) -> impl Iterator<Item = char> {
        self.iter().filter_map(|attribute| ALL[attribute as usize].2)
    }
}

impl FromIterator<Attribute> for Attributes {
    fn from_iter<I: IntoIterator<Item = Attribute>>(attributes: I) -> Self {
        let mut all = Self::default();
        attributes.into_iter().for_each(|attribute| all.insert(attribute));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_has_its_bit_and_its_word() {
        for (place, (attribute, word, _)) in ALL.iter().enumerate() {
            assert_eq!(*attribute as usize, place);
            assert_eq!((attribute.as_str(), Attribute::named(word)), (*word, Some(*attribute)));
        }
        let two: Attributes = [Attribute::Macros, Attribute::Encrypted].into_iter().collect();
        assert_eq!(two.iter().collect::<Vec<_>>(), [Attribute::Encrypted, Attribute::Macros]);
        assert!(two.contains(Attribute::Macros) && !two.contains(Attribute::Damaged) && !two.is_empty());
        assert_eq!(Attribute::named("odd"), None);
    }
}
