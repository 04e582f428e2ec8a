//! New inputs from old ones, by a seed.

use super::corpus::Corpus;

/// No input is longer: what is longer shows nothing else, later.
const LONGEST: usize = 24 << 10;

/// Numbers that sit on edges.
const NUMBERS: [&str; 12] = [
    "0",
    "1",
    "-1",
    "007",
    "255",
    "998",
    "65535",
    "65536",
    "4294967295",
    "4294967296",
    "1073741824",
    "18446744073709551616",
];

/// Octets that mean something to some parser.
const OCTETS: &[u8] = b"\0\t\n\r \"%()*+,-./0:;<=>?@[\\]{}~\x7f\x80\xc3\xe2\xff";

/// Pseudo-random numbers (splitmix64): neighbouring seeds have nothing in common.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below a limit above zero.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    fn octet(&mut self) -> u8 {
        if self.below(2) == 0 { OCTETS[self.below(OCTETS.len())] } else { self.below(256) as u8 }
    }

    fn one<'a, T>(&mut self, many: &'a [T]) -> &'a T {
        &many[self.below(many.len())]
    }

    /// A piece of something, often a short one.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let begin = self.below(length + 1);
        let most = if self.below(3) == 0 { length } else { length.min(40) };
        begin..(begin + self.below(most + 1)).min(length)
    }
}

/// An input of the corpus with one to eight things done to it.
pub(super) fn mutated(corpus: &Corpus, dice: &mut Dice) -> Vec<u8> {
    let mut input = dice.one(corpus.inputs()).clone();
    for _ in 0..=dice.below(8) {
        mutate(&mut input, corpus, dice);
    }
    input.truncate(LONGEST);
    input
}

fn mutate(input: &mut Vec<u8>, corpus: &Corpus, dice: &mut Dice) {
    let at = dice.below(input.len() + 1);
    match dice.below(10) {
        0 if at < input.len() => input[at] = dice.octet(),
        1 if at < input.len() => input[at] ^= 1 << dice.below(8),
        2 => input.insert(at, dice.octet()),
        3 => drop(input.drain(dice.range(input.len()))),
        4 => {
            let times = if dice.below(8) == 0 { 200 } else { 1 + dice.below(4) };
            let piece = input[dice.range(input.len())].repeat(times);
            splice(input, at, &piece);
        }
        5 => splice(input, at, dice.one(&NUMBERS).as_bytes()),
        6 => {
            let other = dice.one(corpus.inputs());
            let piece = other[dice.range(other.len())].to_vec();
            splice(input, at, &piece);
        }
        7 => {
            // Two conversations, one behind the other.
            let other = dice.one(corpus.inputs());
            let from = dice.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => {
            let word: &Vec<u8> = dice.one(corpus.words());
            splice(input, at, word);
        }
    }
}

fn splice(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    if input.len() < LONGEST {
        input.splice(at..at, piece.iter().copied());
    }
}
