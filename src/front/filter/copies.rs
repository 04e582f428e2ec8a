//! The copies of one message: recipients whose copy is the same share it.

use bytes::Bytes;
use posthorn_filter::{Edit, Fate, Hold, Treatment};
use posthorn_model::Refusal;

/// Recipients by what becomes of their copy; the numbers are their places in the envelope.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    /// What goes on, and to whom.
    pub(crate) groups: Vec<(Edit, Vec<usize>)>,
    /// Whose copy is held, and why.
    pub(crate) held: Vec<(usize, Hold)>,
    /// Who does not get it, and what is said of it.
    pub(crate) refused: Vec<(usize, Refusal)>,
}

impl Sorted {
    /// Sorts what becomes of each.
    pub(crate) fn of(treatments: Vec<Treatment>) -> Self {
        let mut sorted = Self::default();
        for (at, Treatment { fate, edit }) in treatments.into_iter().enumerate() {
            match fate {
                // Which folder it is put into is the business of whoever stores it: the fields tell.
                Fate::Deliver | Fate::Junk => match sorted.groups.iter_mut().find(|(known, _)| *known == edit) {
                    Some((_, places)) => places.push(at),
                    None => sorted.groups.push((edit, vec![at])),
                },
                Fate::Hold(hold) => sorted.held.push((at, hold)),
                Fate::Refuse(refusal) => sorted.refused.push((at, refusal)),
            }
        }
        sorted
    }

    /// Somebody is taken care of already.
    pub(crate) fn leave_out(&mut self, place: usize) {
        for (_, places) in &mut self.groups {
            places.retain(|at| *at != place);
        }
        self.groups.retain(|(_, places)| !places.is_empty());
        self.held.retain(|(at, _)| *at != place);
        self.refused.retain(|(at, _)| *at != place);
    }
}

/// A message in two pieces, so that new fields need no copy of the text.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub(crate) header: Bytes,
    pub(crate) text: Bytes,
}

impl Copy {
    /// A copy with its edits made and `top` above everything.
    pub(crate) fn of(octets: &Bytes, edit: &Edit, top: &[u8]) -> Self {
        let above_alone = edit.without.is_empty() && edit.subject_tag.is_none() && edit.changes.is_empty();
        let whole = if above_alone { octets.clone() } else { Bytes::from(edit.apply(octets)) };
        let end = posthorn_mime::header_end(&whole).unwrap_or(whole.len());
        let fields: &[u8] = if above_alone { &edit.top } else { &[] };
        Self { header: Bytes::from([top, fields, &whole[..end]].concat()), text: whole.slice(end..) }
    }

    /// Octets in all.
    pub(crate) fn len(&self) -> usize {
        self.header.len() + self.text.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posthorn_model::EnhancedCode;

    fn delivered(top: &[u8]) -> Treatment {
        Treatment { fate: Fate::Deliver, edit: Edit { top: top.to_vec(), ..Edit::default() } }
    }

    #[test]
    fn those_with_the_same_copy_share_it() {
        let hold = Hold { category: 9, score: 0.0, why: "virus".to_owned() };
        let refusal = Refusal::new(554, EnhancedCode(5, 7, 0), "no");
        let treatments = vec![
            delivered(b"A: 1\r\n"),
            Treatment { fate: Fate::Hold(hold), edit: Edit::default() },
            delivered(b""),
            delivered(b"A: 1\r\n"),
            Treatment { fate: Fate::Refuse(refusal), edit: Edit::default() },
        ];
        let sorted = Sorted::of(treatments);
        let places: Vec<_> = sorted.groups.iter().map(|(_, places)| places.clone()).collect();
        assert_eq!(places, [vec![0, 3], vec![2]]);
        assert_eq!((sorted.held[0].0, sorted.refused[0].0), (1, 4));
    }

    #[test]
    fn fields_on_top_leave_the_text_where_it_is() {
        let octets = Bytes::from_static(b"Subject: x\r\n\r\nHello\r\n");
        let edit = Edit { top: b"A: 1\r\n".to_vec(), ..Edit::default() };
        let copy = Copy::of(&octets, &edit, b"R: 0\r\n");
        assert_eq!(copy.header, &b"R: 0\r\nA: 1\r\nSubject: x\r\n\r\n"[..]);
        assert_eq!(copy.text.as_ptr(), octets[octets.len() - 7..].as_ptr());
        let tagged = Edit { subject_tag: Some("[spam] ".to_owned()), ..edit };
        let copy = Copy::of(&octets, &tagged, b"");
        assert_eq!([&copy.header[..], &copy.text].concat(), b"A: 1\r\nSubject: [spam] x\r\n\r\nHello\r\n");
        assert_eq!(copy.len(), octets.len() + 13);
    }
}
