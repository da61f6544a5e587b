//! The list of sites: a CSV comes in, a row for each box goes out, with everything that is wrong in any of them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use kitchen_core::enrolment::{is_device_id, is_serial};

use super::problem::Problem;
use super::table::{self, Row, TableError};

/// Characters of a name.
const LONGEST: usize = 64;

/// One box and where it goes, checked where no problem names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SiteRow {
    pub line: usize,
    /// The device id.
    pub label: String,
    pub town: String,
    pub restaurant: String,
    pub licence: String,
    pub camera: String,
    pub serial: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Label,
    Town,
    Restaurant,
    Licence,
    Camera,
    Serial,
}

impl Column {
    const ALL: [Self; 6] = [Self::Label, Self::Town, Self::Restaurant, Self::Licence, Self::Camera, Self::Serial];

    /// The names that a header may have, in English first.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Label => &["label", "标签", "设备编号"],
            Self::Town => &["town", "乡镇"],
            Self::Restaurant => &["restaurant", "餐饮单位", "店名"],
            Self::Licence => &["licence", "许可证号"],
            Self::Camera => &["camera", "摄像头"],
            Self::Serial => &["serial", "序列号"],
        }
    }

    const fn name(self) -> &'static str {
        self.names()[0]
    }

    fn named(title: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.names().iter().any(|name| name.eq_ignore_ascii_case(title)))
    }
}

/// The rows, and what is wrong with them in the order of their lines. `taken` are device ids that there are already.
///
/// # Errors
/// When the bytes are no table.
pub(super) fn read(bytes: &[u8], taken: &BTreeSet<String>) -> Result<(Vec<SiteRow>, Vec<Problem>), TableError> {
    let (header, rows) = table::read(bytes)?;
    let columns = match columns(&header) {
        Ok(columns) => columns,
        Err(problems) => return Ok((Vec::new(), problems)),
    };
    let mut problems = Vec::new();
    let sites: Vec<SiteRow> = rows.iter().map(|row| site(row, &columns, taken, &mut problems)).collect();
    find_doubles(&sites, &mut problems);
    problems.sort_by_key(|problem| problem.line);
    Ok((sites, problems))
}

/// Which column each cell belongs to. One without a title may stand there as long as it is empty below.
fn columns(header: &Row) -> Result<Vec<Option<Column>>, Vec<Problem>> {
    let known: Vec<&str> = Column::ALL.iter().flat_map(|column| column.names()).copied().collect();
    let (mut columns, mut problems) = (Vec::new(), Vec::new());
    for title in &header.cells {
        let column = Column::named(title);
        if column.is_none() && !title.is_empty() {
            problems.push(Problem::new(header.line, title, title, format!("one of {}", known.join(", "))));
        }
        if column.is_some() && columns.contains(&column) {
            problems.push(Problem::new(header.line, title, title, "each column once"));
        }
        columns.push(column);
    }
    for column in Column::ALL {
        if column != Column::Serial && !columns.contains(&Some(column)) {
            let expected = format!("a column {}", column.names().join(" or "));
            problems.push(Problem::new(header.line, column.name(), "", expected));
        }
    }
    if problems.is_empty() { Ok(columns) } else { Err(problems) }
}

fn site(row: &Row, columns: &[Option<Column>], taken: &BTreeSet<String>, problems: &mut Vec<Problem>) -> SiteRow {
    for (number, cell) in row.cells.iter().enumerate() {
        if !cell.is_empty() && columns.get(number).is_none_or(Option::is_none) {
            let expected = format!("nothing beyond the header's {} columns", columns.iter().flatten().count());
            problems.push(Problem::new(row.line, &format!("cell {}", number + 1), cell, expected));
        }
    }
    let mut checked = |column: Column| {
        let at = columns.iter().position(|at| *at == Some(column));
        let cell = at.and_then(|at| row.cells.get(at)).map_or("", String::as_str);
        let (value, flaw) = match column {
            Column::Label => label(cell, taken),
            Column::Town | Column::Restaurant | Column::Camera => (cell.to_owned(), name_flaw(cell)),
            Column::Licence => (cell.to_owned(), name_flaw(cell).or_else(|| licence_flaw(cell))),
            Column::Serial => (cell.to_owned(), serial_flaw(cell)),
        };
        problems.extend(flaw.map(|expected| Problem::new(row.line, column.name(), cell, expected)));
        value
    };
    SiteRow {
        line: row.line,
        label: checked(Column::Label),
        town: checked(Column::Town),
        restaurant: checked(Column::Restaurant),
        licence: checked(Column::Licence),
        camera: checked(Column::Camera),
        serial: Some(checked(Column::Serial)).filter(|serial| !serial.is_empty()),
    }
}

fn label(cell: &str, taken: &BTreeSet<String>) -> (String, Option<String>) {
    let label = cell.to_ascii_lowercase();
    let flaw = if is_device_id(&label) {
        taken.contains(&label).then(|| "a box that the authority does not know yet".to_owned())
    } else {
        half_width(cell).or_else(|| Some("3 to 48 of a-z, 0-9 and -, as on the box's sticker".to_owned()))
    };
    (label, flaw)
}

fn name_flaw(cell: &str) -> Option<String> {
    if cell.is_empty() {
        return Some("a text".to_owned());
    }
    if cell.chars().any(is_hidden) {
        return Some("one line without control characters".to_owned());
    }
    let length = cell.chars().count();
    (length > LONGEST).then(|| format!("at most {LONGEST} characters, there are {length}"))
}

fn licence_flaw(cell: &str) -> Option<String> {
    if cell.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return None;
    }
    half_width(cell).or_else(|| Some("only letters, digits and -".to_owned()))
}

fn serial_flaw(cell: &str) -> Option<String> {
    if cell.is_empty() || is_serial(cell) {
        return None;
    }
    half_width(cell).or_else(|| Some("1 to 64 of letters, digits and - _ . :, or nothing".to_owned()))
}

/// What to write instead of full-width letters, digits and signs, where there are any.
fn half_width(cell: &str) -> Option<String> {
    let narrow = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        _ => c,
    };
    let narrowed: String = cell.chars().map(narrow).collect();
    (narrowed != cell).then(|| format!("half-width characters (半角): {narrowed}"))
}

/// Control characters, line separators, and marks that can't be seen: they make two texts that look the same.
pub(super) fn is_hidden(c: char) -> bool {
    let is_mark = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    c.is_control() || is_mark
}

/// No two boxes have a label or a serial in common, nor the same camera of the same licence.
fn find_doubles(sites: &[SiteRow], problems: &mut Vec<Problem>) {
    let (mut labels, mut serials, mut cameras) = (HashMap::new(), HashMap::new(), HashMap::new());
    for site in sites {
        let line = site.line;
        let double = |column: Column, found: &str, what: &str, first: usize| {
            let expected = format!("{what} that no other row has; line {first} has it too");
            Problem { other_line: Some(first), ..Problem::new(line, column.name(), found, expected) }
        };
        let label = Some(site.label.as_str()).filter(|label| !label.is_empty());
        if let Some(first) = label.and_then(|label| first_with(&mut labels, label, line)) {
            problems.push(double(Column::Label, &site.label, "a label", first));
        }
        if let Some(first) = site.serial.as_ref().and_then(|serial| first_with(&mut serials, serial.as_str(), line)) {
            problems.push(double(Column::Serial, site.serial.as_deref().unwrap_or_default(), "a serial", first));
        }
        if site.licence.is_empty() || site.camera.is_empty() {
            continue;
        }
        let camera = (site.licence.to_ascii_uppercase(), site.camera.as_str());
        if let Some(first) = first_with(&mut cameras, camera, line) {
            let found = format!("{} {}", site.licence, site.camera);
            problems.push(double(Column::Camera, &found, "a licence and camera", first));
        }
    }
}

/// The line that had the same first, when there was one.
fn first_with<K: Eq + Hash>(seen: &mut HashMap<K, usize>, key: K, line: usize) -> Option<usize> {
    match seen.entry(key) {
        Entry::Occupied(first) => Some(*first.get()),
        Entry::Vacant(vacant) => {
            vacant.insert(line);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_that_the_authority_knows_is_a_problem() {
        let list = "label,town,restaurant,licence,camera\nMH07-1,镇,店,JY-1,灶台\nmh07-2,镇,店,JY-2,灶台\n";
        let (sites, problems) = read(list.as_bytes(), &BTreeSet::from(["mh07-1".to_owned()])).expect("a table");
        assert_eq!(sites.len(), 2);
        let said: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(said, ["line 2, label: found \"MH07-1\", expected a box that the authority does not know yet"]);
    }
}
