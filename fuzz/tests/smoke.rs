//! Every target over its corpus and over mutations of it: the same ones each time for a second, or others each time for
//! `FUZZ_SECONDS`. A failure names the input, which then belongs into the corpus.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The longest input that mutation makes.
const INPUT_BYTES_MAX: usize = 2048;

struct Dice(u64);

impl Dice {
    /// A number below `bound` (splitmix64).
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    /// One small change, or a splice of two inputs.
    fn mutate(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(input.len() + 1);
        match self.below(7) {
            0 => input.insert(at, self.below(256) as u8),
            1 if at < input.len() => drop(input.remove(at)),
            2 if at < input.len() => input[at] ^= 1 << self.below(8),
            3 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff, b'*', b',', b'"'][self.below(8)],
            4 => input.truncate(at),
            5 => {
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let (from, times) = (self.below(input.len() + 1), self.below(8));
                let piece = input[from.min(at)..from.max(at)].to_vec();
                (0..times).for_each(|_| input.extend_from_slice(&piece));
            }
        }
        input.truncate(INPUT_BYTES_MAX);
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

fn run(target: fn(&[u8]), input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        eprint_input(input);
        resume_unwind(panic);
    }
}

#[expect(clippy::print_stderr, reason = "the one thing to know about a failure")]
fn eprint_input(input: &[u8]) {
    eprintln!("input: b\"{}\"", input.escape_ascii());
}

fn smoke(name: &str) {
    let (_, target) = fuzz::TARGETS.into_iter().find(|(of, _)| *of == name).unwrap();
    let mut inputs = corpus(name);
    inputs.iter().for_each(|input| run(target, input));
    let seconds = std::env::var("FUZZ_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    let deadline = Instant::now() + Duration::from_secs(seconds.unwrap_or(1));
    // Who has the time for a long run wants new inputs; the short one says of a change, and of nothing else, what broke.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut dice = Dice(seconds.map_or(0, |_| now.as_nanos() as u64));
    while Instant::now() < deadline {
        let mut input = inputs[dice.below(inputs.len())].clone();
        let other = inputs[dice.below(inputs.len())].clone();
        for _ in 0..=dice.below(4) {
            dice.mutate(&mut input, &other);
        }
        run(target, &input);
        // Some mutations go on from others.
        if dice.below(64) == 0 && inputs.len() < 1000 {
            inputs.push(input);
        }
    }
}

#[test]
fn cursor() {
    smoke("cursor");
}

#[test]
fn filter() {
    smoke("filter");
}

#[test]
fn data() {
    smoke("data");
}

#[test]
fn request() {
    smoke("request");
}

#[test]
fn frame() {
    smoke("frame");
}

#[test]
fn packets() {
    smoke("packets");
}

#[test]
fn every_target_has_a_test_and_a_corpus() {
    let text = include_str!("smoke.rs");
    for (name, _) in fuzz::TARGETS {
        assert!(text.contains(&format!("fn {name}() {{")) && !corpus(name).is_empty(), "{name}");
    }
}
