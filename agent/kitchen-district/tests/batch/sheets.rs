//! Sheets of labels as poppler shows them: pages as pictures, cut into stickers, their QR codes read; and their text.

use std::path::Path;
use std::process::Command;

use image::{GrayImage, imageops};

const DPI: f32 = 200.0;
const COLUMNS: u32 = 3;
const ROWS: u32 = 8;
/// Millimetres.
const STICKER: (f32, f32) = (70.0, 37.0);
const TOP: f32 = 0.5;

/// Every page, in order.
pub fn rendered(pdf: &Path) -> Vec<GrayImage> {
    let folder = tempfile::tempdir().unwrap();
    poppler("pdftoppm", &["-r", &DPI.to_string(), "-gray", "-png"], pdf, &folder.path().join("page"));
    let mut pages: Vec<_> = folder.path().read_dir().unwrap().map(|page| page.unwrap().path()).collect();
    pages.sort();
    pages.iter().map(|page| image::open(page).unwrap().into_luma8()).collect()
}

/// The PDF's text, line by line.
pub fn text(pdf: &Path) -> String {
    let out = tempfile::NamedTempFile::new().unwrap();
    poppler("pdftotext", &["-layout"], pdf, out.path());
    std::fs::read_to_string(out.path()).unwrap()
}

fn poppler(program: &str, arguments: &[&str], pdf: &Path, out: &Path) {
    let run = Command::new(program).args(arguments).arg(pdf).arg(out).output();
    let run = run.unwrap_or_else(|error| panic!("{program}: {error}: run `apt install poppler-utils`"));
    assert!(run.status.success() && run.stderr.is_empty(), "{}", String::from_utf8_lossy(&run.stderr));
}

/// What the codes on each of the 24 stickers say.
pub fn codes_by_sticker(page: &GrayImage) -> Vec<Vec<String>> {
    stickers(page).iter().map(codes).collect()
}

/// Whether each of the 24 stickers has a margin of 3 mm, apart from the dashes where it is cut and the page's number.
pub fn edges_are_blank(page: &GrayImage) -> Vec<bool> {
    let is_blank = |sticker: &GrayImage| {
        let (width, height) = sticker.dimensions();
        let (line, margin) = (pixels(0.4), pixels(3.0));
        let is_edge = |x: u32, y: u32| x < margin || x >= width - margin || y < margin || y >= height - margin;
        let is_cut = |x: u32, y: u32| x < line || x >= width - line || y < line || y >= height - line;
        let ink = sticker.enumerate_pixels().filter(|(_, _, shade)| shade.0[0] < 128);
        ink.filter(|(x, y, _)| is_edge(*x, *y) && !is_cut(*x, *y)).count() == 0
    };
    stickers(page).iter().map(is_blank).collect()
}

fn stickers(page: &GrayImage) -> Vec<GrayImage> {
    let sticker = |place: u32| {
        let (column, row) = (place % COLUMNS, place / COLUMNS);
        let x = pixels(column as f32 * STICKER.0);
        let y = pixels(TOP + row as f32 * STICKER.1);
        imageops::crop_imm(page, x, y, pixels(STICKER.0), pixels(STICKER.1)).to_image()
    };
    (0..COLUMNS * ROWS).map(sticker).collect()
}

fn codes(sticker: &GrayImage) -> Vec<String> {
    let (width, height) = sticker.dimensions();
    let shade = |x: usize, y: usize| sticker.get_pixel(u32::try_from(x).unwrap(), u32::try_from(y).unwrap()).0[0];
    let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(width as usize, height as usize, shade);
    prepared.detect_grids().iter().map(|grid| grid.decode().unwrap().1).collect()
}

fn pixels(mm: f32) -> u32 {
    (mm * DPI / 25.4) as u32
}
