//! Sheets of stickers as PDF: A4, 3 × 8 of 70 × 37 mm. Each says which box it is for and holds no secret.

use krilla::color::luma;
use krilla::geom::{PathBuilder, Point, Transform};
use krilla::metadata::Metadata;
use krilla::page::PageSettings;
use krilla::paint::{Fill, Stroke, StrokeDash};
use krilla::surface::Surface;
use krilla::{Document, SerializeSettings};

use super::code::Code;
use super::fit::{Fitted, LINE_HEIGHT, Space};
use super::font::LabelFont;

const COLUMNS: usize = 3;
const ROWS: usize = 8;
/// Stickers of a sheet.
pub(super) const PER_SHEET: usize = COLUMNS * ROWS;

// Millimetres, from the upper left corner. Printers leave about 4 mm at the edges of a sheet blank.
const PAGE: (f32, f32) = (210.0, 297.0);
const STICKER: (f32, f32) = (70.0, 37.0);
const TOP: f32 = 0.5;
/// Left, top and side.
const CODE: (f32, f32, f32) = (5.0, 5.4, 24.0);
/// Left, top, width and height.
const TEXT: (f32, f32, f32, f32) = (32.5, 4.0, 33.0, 26.8);
const LABEL_HEIGHT: f32 = 7.0;
const NAME_TOP: f32 = 11.2;
const NAME_HEIGHT: f32 = 9.1;
/// Of the town and of the camera.
const SMALL_HEIGHT: f32 = 5.2;
/// Baseline of the page number: below what is written on the lowest stickers.
const FOOT: f32 = 292.6;

const LABEL_SIZES: &[f32] = &[16.0, 14.0, 12.0, 10.0, 9.0, 8.0, 7.0, 6.0];
const NAME_SIZES: &[f32] = &[11.0, 10.0, 9.0, 8.0, 7.0, 6.0];
const SMALL_SIZES: &[f32] = &[8.0, 7.0, 6.0];
const FOOT_SIZE: f32 = 6.0;
/// From the top of a line to its baseline, in its size.
const ASCENT: f32 = 0.95;

const BLACK: u8 = 0;
const DIM: u8 = 70;
const CUT: u8 = 170;

/// Why there are no sheets.
#[derive(Debug, thiserror::Error)]
pub enum LabelsError {
    #[error("the QR code of {0} can't be read back: choose a shorter batch name")]
    Code(String),
    #[error("the font can't be put into the PDF ({0}): name another with --font")]
    Pdf(String),
}

/// What stands on a sticker.
pub(super) struct Sticker<'a> {
    pub device: &'a str,
    pub claim_id: &'a str,
    pub restaurant: &'a str,
    pub town: &'a str,
    pub camera: &'a str,
}

impl Sticker<'_> {
    /// The text in the QR code.
    fn code_text(&self) -> String {
        format!("kitchen:{}:{}", self.device, self.claim_id)
    }
}

/// The PDF. Each QR code was read back. `drawn` is called with the number of stickers after each sheet.
///
/// # Errors
/// When a code can't be read back or the font can't be embedded.
pub(super) fn pdf(
    batch: &str,
    stickers: &[Sticker<'_>],
    font: &LabelFont,
    mut drawn: impl FnMut(usize),
) -> Result<Vec<u8>, LabelsError> {
    let mut document = Document::new_with(SerializeSettings::default());
    document.set_metadata(Metadata::new().title(format!("kitchen-agent {batch}")).language("zh-CN".to_owned()));
    let sheets = stickers.len().div_ceil(PER_SHEET);
    for (number, sheet) in stickers.chunks(PER_SHEET).enumerate() {
        let size = PageSettings::from_wh(points(PAGE.0), points(PAGE.1)).expect("A4 is a size");
        let mut page = document.start_page_with(size);
        let mut surface = page.surface();
        draw_cuts(&mut surface);
        for (place, sticker) in sheet.iter().enumerate() {
            draw_sticker(&mut surface, place, sticker, font)?;
        }
        draw_foot(&mut surface, &format!("批次 {batch} 第 {} / {sheets} 页", number + 1), font);
        surface.finish();
        page.finish();
        drawn((number * PER_SHEET) + sheet.len());
    }
    document.finish().map_err(|error| LabelsError::Pdf(format!("{error:?}")))
}

fn draw_sticker(
    surface: &mut Surface<'_>,
    place: usize,
    sticker: &Sticker<'_>,
    font: &LabelFont,
) -> Result<(), LabelsError> {
    let unreadable = || LabelsError::Code(sticker.device.to_owned());
    let code = Code::new(&sticker.code_text()).ok_or_else(unreadable)?;
    let corner = Transform::from_translate(
        points(count(place % COLUMNS) * STICKER.0),
        points(TOP + count(place / COLUMNS) * STICKER.1),
    );
    surface.push_transform(&corner);
    let module = points(CODE.2) / count(code.size);
    let scale = Transform::from_row(module, 0.0, 0.0, module, points(CODE.0), points(CODE.1));
    surface.push_transform(&scale);
    surface.set_fill(Some(grey(BLACK)));
    surface.draw_path(&code.outline().ok_or_else(unreadable)?);
    surface.pop();
    let block =
        |text: &str, height, sizes| Space { width: points(TEXT.2), height: points(height), sizes }.fit(text, font);
    // The label and the restaurant from above, the camera and the town from below.
    surface.set_fill(Some(grey(BLACK)));
    draw_lines(surface, points(TEXT.1), &block(sticker.device, LABEL_HEIGHT, LABEL_SIZES), font);
    draw_lines(surface, points(NAME_TOP), &block(sticker.restaurant, NAME_HEIGHT, NAME_SIZES), font);
    surface.set_fill(Some(grey(DIM)));
    let mut bottom = points(TEXT.1 + TEXT.3);
    for text in [&format!("摄像头 {}", sticker.camera), sticker.town] {
        let lines = block(text, SMALL_HEIGHT, SMALL_SIZES);
        bottom -= lines.height();
        draw_lines(surface, bottom, &lines, font);
    }
    surface.pop();
    Ok(())
}

fn draw_lines(surface: &mut Surface<'_>, top: f32, fitted: &Fitted, font: &LabelFont) {
    for (number, line) in fitted.lines.iter().enumerate() {
        let baseline = top + (count(number) * LINE_HEIGHT + ASCENT) * fitted.size;
        let at = Point::from_xy(points(TEXT.0), baseline);
        surface.draw_glyphs(at, &font.glyphs(line), font.font.clone(), line, fitted.size, false);
    }
}

fn draw_foot(surface: &mut Surface<'_>, text: &str, font: &LabelFont) {
    let left = (points(PAGE.0) - font.width(text, FOOT_SIZE)) / 2.0;
    surface.set_fill(Some(grey(DIM)));
    let at = Point::from_xy(left, points(FOOT));
    surface.draw_glyphs(at, &font.glyphs(text), font.font.clone(), text, FOOT_SIZE, false);
}

fn draw_cuts(surface: &mut Surface<'_>) {
    let mut path = PathBuilder::new();
    let bottom = TOP + count(ROWS) * STICKER.1;
    for column in 1..COLUMNS {
        let x = points(count(column) * STICKER.0);
        path.move_to(x, points(TOP));
        path.line_to(x, points(bottom));
    }
    for row in 0..=ROWS {
        let y = points(TOP + count(row) * STICKER.1);
        path.move_to(0.0, y);
        path.line_to(points(PAGE.0), y);
    }
    let Some(path) = path.finish() else { return };
    let dash = Some(StrokeDash { array: vec![2.0, 3.0], offset: 0.0 });
    surface.set_fill(None);
    surface.set_stroke(Some(Stroke { paint: luma::Color::new(CUT).into(), width: 0.4, dash, ..Stroke::default() }));
    surface.draw_path(&path);
    surface.set_stroke(None);
}

fn grey(shade: u8) -> Fill {
    Fill { paint: luma::Color::new(shade).into(), ..Fill::default() }
}

/// Of millimetres.
fn points(mm: f32) -> f32 {
    mm * 72.0 / 25.4
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn count(number: usize) -> f32 {
    number as f32
}
