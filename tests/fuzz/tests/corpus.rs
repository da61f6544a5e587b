//! Every input that was ever worth keeping still holds, and so do some thousand changed copies, the same ones each time.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use kitchen_fuzz::{TARGETS, Target};

/// All folders together: what is kept is what teaches something.
const MAX_CORPUS_BYTES: u64 = 300 * 1024;
/// What breaks readers of numbers.
const NUMBERS: [&str; 9] =
    ["0", "-0", "-1", "4294967295", "9223372036854775807", "18446744073709551615", "1e999", "nan", "0.0000001"];
const BYTES: [u8; 8] = [0x00, 0x01, 0x03, 0x7f, 0x80, 0xff, b'\n', b'"'];

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// Name and content, in the order of the names.
fn inputs(target: &Target) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(corpus().join(target.name)).unwrap().map(|entry| entry.unwrap().path());
    let mut inputs: Vec<(String, Vec<u8>)> = entries
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap()))
        .collect();
    inputs.sort();
    assert!(inputs.len() >= 3, "{} has next to no corpus", target.name);
    inputs
}

fn holds(target: &Target, name: &str, input: &[u8]) {
    if let Some(failure) = target.failure(input) {
        let kept = std::env::temp_dir().join(format!("kitchen-fuzz-{}", target.name));
        fs::write(&kept, input).unwrap();
        eprintln!("{}: {name} does not hold, the input is {}\n{failure}", target.name, kept.display());
        panic!("{name} does not hold");
    }
}

#[test]
fn every_input_of_the_corpus_holds() {
    for target in TARGETS {
        inputs(target).iter().for_each(|(name, input)| holds(target, name, input));
    }
}

#[test]
fn changed_inputs_hold() {
    for target in TARGETS {
        let inputs = inputs(target);
        let mut random = Rng::with_seed(1);
        for number in 0..target.mutants {
            let (name, original) = &inputs[random.usize(..inputs.len())];
            let (_, other) = &inputs[random.usize(..inputs.len())];
            let mut input = original.clone();
            for _ in 0..random.usize(1..=4) {
                change(&mut input, other, &mut random);
            }
            holds(target, &format!("mutant {number} of {name}"), &input);
        }
    }
}

#[test]
fn every_folder_has_its_target_and_all_are_small() {
    let mut bytes = 0;
    for folder in fs::read_dir(corpus()).unwrap().map(|entry| entry.unwrap().path()) {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        assert!(TARGETS.iter().any(|target| target.name == name), "{name} is no target");
        bytes += fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum::<u64>();
    }
    assert!(bytes <= MAX_CORPUS_BYTES, "the corpus has {bytes} bytes");
}

/// One change of the kinds that find something: a byte, a piece gone, doubled or from another input, a number.
fn change(input: &mut Vec<u8>, other: &[u8], random: &mut Rng) {
    if input.is_empty() {
        input.extend_from_slice(other);
        return;
    }
    let at = random.usize(..input.len());
    let end = at + random.usize(..=(input.len() - at).min(64));
    match random.u8(..8) {
        0 => input[at] ^= 1 << random.u8(..8),
        1 => input[at] = BYTES[random.usize(..BYTES.len())],
        2 => drop(input.drain(at..end)),
        3 => input.truncate(at),
        4 => {
            let piece = input[at..end].to_vec();
            input.splice(at..at, piece);
        }
        5 if !other.is_empty() => {
            let from = random.usize(..other.len());
            let to = from + random.usize(..=(other.len() - from).min(64));
            input.splice(at..end, other[from..to].iter().copied());
        }
        _ => number(input, at, random),
    }
}

/// Puts another number in the place of the first after `at`.
fn number(input: &mut Vec<u8>, at: usize, random: &mut Rng) {
    let Some(from) = input[at..].iter().position(u8::is_ascii_digit).map(|offset| at + offset) else { return };
    let length = input[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    input.splice(from..from + length, NUMBERS[random.usize(..NUMBERS.len())].bytes());
}
