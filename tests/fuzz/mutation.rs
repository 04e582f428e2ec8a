//! New inputs from old ones, by a seed.

use harness::dice::Dice;

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
        0 if at < input.len() => input[at] = octet(dice),
        1 if at < input.len() => input[at] ^= 1 << dice.below(8),
        2 => input.insert(at, octet(dice)),
        3 => drop(input.drain(range(dice, input.len()))),
        4 => {
            let times = if dice.below(8) == 0 { 200 } else { 1 + dice.below(4) };
            let piece = input[range(dice, input.len())].repeat(times);
            splice(input, at, &piece);
        }
        5 => splice(input, at, dice.one(&NUMBERS).as_bytes()),
        6 => {
            let other = dice.one(corpus.inputs());
            let piece = other[range(dice, other.len())].to_vec();
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

fn octet(dice: &mut Dice) -> u8 {
    if dice.below(2) == 0 { *dice.one(OCTETS) } else { dice.roll() as u8 }
}

/// A piece of something, often a short one.
fn range(dice: &mut Dice, length: usize) -> std::ops::Range<usize> {
    let begin = dice.below(length + 1);
    let most = if dice.below(3) == 0 { length } else { length.min(40) };
    begin..(begin + dice.below(most + 1)).min(length)
}
