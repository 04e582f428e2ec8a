//! Text with its white space collapsed, up to a limit.

/// Puts pieces of text together with single spaces where white space was.
#[derive(Debug)]
pub(crate) struct Prose {
    text: String,
    space: bool,
    limit: usize,
}

impl Prose {
    pub(crate) fn new(limit: usize) -> Self {
        Self { text: String::new(), space: false, limit }
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// Parts what follows from what came.
    pub(crate) fn space(&mut self) {
        self.space = true;
    }

    pub(crate) fn put(&mut self, text: &str) {
        let mut rest = text;
        loop {
            let words = rest.trim_start();
            self.space |= words.len() < rest.len();
            if words.is_empty() {
                return;
            }
            let (run, behind) = words.split_at(run_length(words));
            rest = behind;
            if self.text.len() >= self.limit {
                self.space |= !rest.is_empty();
                return;
            }
            if std::mem::take(&mut self.space) && !self.text.is_empty() {
                self.text.push(' ');
            }
            let left = self.limit - self.text.len().min(self.limit);
            self.text.push_str(&run[..run.floor_char_boundary(left)]);
        }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// Octets of a text that can be taken as they are: words with single spaces between them. It begins with a word.
fn run_length(text: &str) -> usize {
    let octets = text.as_bytes();
    let mut at = 0;
    while let Some(&octet) = octets.get(at) {
        match octet {
            b' ' if octets.get(at + 1).is_some_and(u8::is_ascii_graphic) => at += 2,
            b' ' | 9..=13 => return at,
            0..0x80 => at += 1,
            _ => {
                let Some(c) = text[at..].chars().next() else { return at };
                if c.is_whitespace() {
                    return at;
                }
                at += c.len_utf8();
            }
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_collapses_and_the_limit_holds() {
        let mut prose = Prose::new(8);
        prose.put("  a\n\t b");
        prose.put("c");
        prose.space();
        prose.put("dä\u{a0}e");
        assert_eq!(prose.into_text(), "a bc dä");
    }

    #[test]
    fn it_reads_as_if_word_by_word() {
        for text in [
            "one two  three\r\nfour \u{2003}five\u{85}six \u{a0} ",
            " x",
            "x ",
            " ",
            "",
            "\u{3000}ä ö\u{b}\u{c}\0 \u{1}y \u{7f}",
            "a b c d e f g",
        ] {
            let mut prose = Prose::new(1000);
            prose.put(text);
            let words: Vec<&str> = text.split_whitespace().collect();
            assert_eq!(prose.into_text(), words.join(" "), "{text:?}");
            let mut parted = Prose::new(1000);
            text.chars().for_each(|c| parted.put(c.encode_utf8(&mut [0; 4])));
            assert_eq!(parted.into_text(), words.join(" "), "{text:?}");
        }
    }
}
