//! Boxes made ready by the hundred: a list of sites comes in, a folder with a signed manifest, a claim for each box, its
//! stickers and the platform's table goes out. All of it or nothing. Never enrols a box.

mod code;
mod fit;
mod folder;
mod font;
mod labels;
mod papers;
mod problem;
mod sites;
mod table;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kitchen_core::enrolment::{AuthorityKey, CLAIM_FILE, Claim, Manifest, ManifestEntry, NewClaim};
use kitchen_core::time::Wall;
use kitchen_core::wire::Site;
use serde::Serialize;

pub use self::folder::FolderError;
pub use self::font::FontError;
pub use self::labels::LabelsError;
pub use self::problem::Problem;
pub use self::table::TableError;

use self::folder::Unfinished;
use self::font::LabelFont;
use self::labels::Sticker;
use self::sites::SiteRow;
use crate::ca::random;

/// Bytes; twenty thousand rows have about 4 MiB.
const MOST_SITES: u64 = 64 << 20;
const LONGEST_NAME: usize = 32;
/// Of what tells two batches of the same name or day apart.
const TAG_LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const TAG: usize = 4;

/// What a batch is made of.
#[derive(Debug)]
pub struct BatchOptions {
    /// The CSV of sites.
    pub sites: PathBuf,
    /// A folder that is new or empty.
    pub out: PathBuf,
    /// As [`is_batch_name`]; else made of the day and four letters.
    pub batch: Option<String>,
    /// The authority's, `https://host[:port]`.
    pub url: String,
    /// The certificate that vouches for `url`.
    pub ca_pem: String,
    pub key: AuthorityKey,
    pub now: Wall,
    /// How long its claims can be used.
    pub valid_for: Duration,
    /// Of the stickers; else one that is installed.
    pub font: Option<PathBuf>,
    /// Device ids that the authority knows already.
    pub taken: BTreeSet<String>,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Batch {
    pub batch: String,
    pub boxes: usize,
    /// Of stickers.
    pub sheets: usize,
    pub expires: Wall,
    pub folder: PathBuf,
}

/// Why there is no batch.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error("{0:?} is no batch name: write 1 to {LONGEST_NAME} of a-z, 0-9 and -")]
    Name(String),
    #[error("{path} can't be read: check the name of the file of sites")]
    Read { path: PathBuf, source: io::Error },
    #[error("{0} is larger than 64 MiB: name the CSV of sites")]
    Large(PathBuf),
    #[error("{path}: {source}")]
    Table { path: PathBuf, source: TableError },
    #[error("{path}: {} found, nothing was made; mend the file and run again", counted(.problems.len()))]
    Sites { path: PathBuf, problems: Vec<Problem> },
    #[error(transparent)]
    Font(#[from] FontError),
    #[error(transparent)]
    Labels(#[from] LabelsError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(
        "the {0} that was made does not hold when it is read back: check the authority's URL, certificate and disk"
    )]
    Check(String),
}

impl BatchError {
    /// Whether the file of sites is what has to be mended.
    #[must_use]
    pub fn is_in_sites(&self) -> bool {
        matches!(self, Self::Table { .. } | Self::Sites { .. })
    }

    /// All that is wrong in the rows.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        if let Self::Sites { problems, .. } = self { problems } else { &[] }
    }
}

fn counted(problems: usize) -> String {
    if problems == 1 { "1 problem".to_owned() } else { format!("{problems} problems") }
}

/// Whether the text can name a batch: it becomes a part of each claim's id.
#[must_use]
pub fn is_batch_name(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Makes a batch. `progress` gets how much is done of how much.
///
/// # Errors
/// When the file of sites is not in order, or something can't be read, written or drawn. Nothing is made then.
pub fn make(options: &BatchOptions, mut progress: impl FnMut(usize, usize)) -> Result<Batch, BatchError> {
    folder::prepare(&options.out)?;
    let (rows, font) = checked_sites(options)?;
    let total = rows.len() * 3;
    let names = Names::new(options)?;
    let folder = Unfinished::begin(&options.out)?;
    folder.make_private("claims")?;
    let expires = options.now.after(options.valid_for);
    let mut entries = Vec::with_capacity(rows.len());
    for (number, row) in rows.iter().enumerate() {
        let claim = Claim::new(new_claim(options, &names, number + 1, row), &options.key);
        folder.make_private(&format!("claims/{}", row.label))?;
        folder.write_private(&claim_path(&row.label), claim.to_toml().as_bytes())?;
        entries.push(ManifestEntry::of(&claim));
        progress(number + 1, total);
    }
    let manifest = Manifest::new(&names.batch, options.now, expires, entries, &options.key);
    let drawn = |drawn| progress(rows.len() + drawn, total);
    folder.write("labels.pdf", &labels::pdf(&names.batch, &stickers(&manifest), &font, drawn)?)?;
    let sheets = rows.len().div_ceil(labels::PER_SHEET);
    folder.write("manifest.json", manifest.to_json().as_bytes())?;
    folder.write("import.csv", &papers::import_table(&manifest))?;
    folder.write("README.txt", &papers::readme(&manifest, sheets))?;
    check(&folder, &manifest, &options.key, |checked| progress(rows.len() * 2 + checked, total))?;
    folder.finish()?;
    Ok(Batch { batch: names.batch, boxes: rows.len(), sheets, expires, folder: options.out.clone() })
}

/// The rows, none of them with a problem, and the font that can write them.
fn checked_sites(options: &BatchOptions) -> Result<(Vec<SiteRow>, LabelFont), BatchError> {
    let path = options.sites.clone();
    let bytes = read_sites(&path)?;
    let (rows, mut problems) = match sites::read(&bytes, &options.taken) {
        Ok(read) => read,
        Err(source) => return Err(BatchError::Table { path, source }),
    };
    let written = |row: &SiteRow| [row.restaurant.clone(), row.town.clone(), row.camera.clone()].concat();
    let used = rows.iter().flat_map(|row| written(row).chars().collect::<Vec<_>>()).collect();
    let font = match LabelFont::load(options.font.as_deref(), &used) {
        Ok(font) => font,
        Err(_) if !problems.is_empty() => return Err(BatchError::Sites { path, problems }),
        Err(error) => return Err(error.into()),
    };
    problems.extend(rows.iter().flat_map(|row| unwritable(row, &font)));
    problems.sort_by_key(|problem| problem.line);
    if problems.is_empty() { Ok((rows, font)) } else { Err(BatchError::Sites { path, problems }) }
}

fn read_sites(path: &Path) -> Result<Vec<u8>, BatchError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST_SITES + 1).read_to_end(&mut bytes));
    read.map_err(|source| BatchError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > MOST_SITES { Err(BatchError::Large(path.to_owned())) } else { Ok(bytes) }
}

/// What the font has no glyph for.
fn unwritable(row: &SiteRow, font: &LabelFont) -> Vec<Problem> {
    let cells = [("restaurant", &row.restaurant), ("town", &row.town), ("camera", &row.camera)];
    let lacking =
        |cell: &str| cell.chars().filter(|c| !sites::is_hidden(*c) && !font.has(*c)).collect::<BTreeSet<char>>();
    let problem = |(column, cell): (&str, &String)| {
        let lacking: Vec<String> = lacking(cell).iter().map(|c| format!("{c} (U+{:04X})", *c as u32)).collect();
        let expected =
            format!("characters that the labels' font has, it lacks {}; use --font FILE", lacking.join(", "));
        (!lacking.is_empty()).then(|| Problem::new(row.line, column, cell, expected))
    };
    cells.into_iter().filter_map(problem).collect()
}

/// How the batch and its claims are called.
struct Names {
    batch: String,
    /// Of the claims' ids; no other run has it, be it of the same name.
    claims: String,
}

impl Names {
    fn new(options: &BatchOptions) -> Result<Self, BatchError> {
        let tag: String = random::<TAG>().iter().map(|byte| char::from(TAG_LETTERS[usize::from(byte % 32)])).collect();
        let Some(batch) = &options.batch else {
            let day: String = options.now.to_string().chars().take(10).filter(|c| *c != '-').collect();
            let batch = format!("b{day}-{tag}");
            return Ok(Self { claims: batch.clone(), batch });
        };
        if !is_batch_name(batch) {
            return Err(BatchError::Name(batch.clone()));
        }
        Ok(Self { claims: format!("{batch}-{tag}"), batch: batch.clone() })
    }
}

fn new_claim(options: &BatchOptions, names: &Names, number: usize, row: &SiteRow) -> NewClaim {
    NewClaim {
        device: row.label.clone(),
        claim_id: format!("{}-{number}", names.claims),
        secret: random(),
        batch: names.batch.clone(),
        serial: row.serial.clone(),
        camera: row.camera.clone(),
        issued: options.now,
        expires: options.now.after(options.valid_for),
        site: Site { name: row.restaurant.clone(), licence: row.licence.clone(), town: row.town.clone() },
        url: options.url.clone(),
        ca: options.ca_pem.clone(),
    }
}

fn claim_path(device: &str) -> String {
    format!("claims/{device}/{CLAIM_FILE}")
}

fn stickers(manifest: &Manifest) -> Vec<Sticker<'_>> {
    let stickers = manifest.boxes.iter().map(|entry| {
        let ManifestEntry { device, claim_id, camera, site, .. } = entry;
        Sticker { device, claim_id, restaurant: &site.name, town: &site.town, camera }
    });
    stickers.collect()
}

/// Reads back what was written, as the authority and the boxes will.
fn check(
    folder: &Unfinished,
    manifest: &Manifest,
    key: &AuthorityKey,
    mut checked: impl FnMut(usize),
) -> Result<(), BatchError> {
    let read = Manifest::parse(&folder.read("manifest.json")?, &key.public());
    if read.as_ref() != Ok(manifest) {
        return Err(BatchError::Check("manifest".to_owned()));
    }
    for (number, expected) in manifest.boxes.iter().enumerate() {
        let claim = Claim::parse(&folder.read(&claim_path(&expected.device))?);
        if claim.is_ok_and(|claim| ManifestEntry::of(&claim) == *expected) {
            checked(number + 1);
        } else {
            return Err(BatchError::Check(format!("claim of {}", expected.device)));
        }
    }
    Ok(())
}
