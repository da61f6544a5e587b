//! A spreadsheet's CSV as rows of trimmed cells, each with the line in which it begins. Bytes come in. It finds out the
//! separator by itself; the encoding it never guesses.

/// Ends the text, so that a quotation mark that is never closed swallows it. No cell can hold it.
const END: &str = "\0";
/// The comma wins where none divides the header.
const SEPARATORS: [u8; 3] = [b'\t', b';', b','];

/// Rows with a cell that is not blank, the header first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// From 1; of the row's beginning, as a cell may hold line breaks.
    pub line: usize,
    pub cells: Vec<String>,
}

/// Why a file can't be read as a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    #[error("it has no rows: write a header and a row for each box")]
    Empty,
    #[error(
        "line {line} is not UTF-8 (Excel's plain \"CSV\" is GBK in China): save the table as \"CSV UTF-8\". \
         文件不是 UTF-8 编码：请在 Excel 中选“文件 → 另存为 → CSV UTF-8（逗号分隔）”，\
         或用记事本“另存为”并把编码选为 UTF-8"
    )]
    Encoding { line: usize },
    #[error("a quotation mark in the row of line {line} is never closed: close it or take it out")]
    OpenQuote { line: usize },
}

/// # Errors
/// When it is not UTF-8, has no row below the header, or a quotation mark is not closed.
pub(super) fn read(bytes: &[u8]) -> Result<(Row, Vec<Row>), TableError> {
    let text = decoded(bytes)?;
    let first_line = text.lines().find(|line| !line.trim().is_empty()).ok_or(TableError::Empty)?;
    let divided = |separator: &u8| cells(first_line, *separator);
    let separator = SEPARATORS.into_iter().max_by_key(divided).unwrap_or(b',');
    let mut rows = rows(text, separator)?.into_iter();
    let header = rows.next().ok_or(TableError::Empty)?;
    if rows.len() == 0 {
        return Err(TableError::Empty);
    }
    Ok((header, rows.collect()))
}

/// The text without its byte order mark. UTF-16, as Excel's "Unicode text", has zero bytes and is refused with the rest.
fn decoded(bytes: &[u8]) -> Result<&str, TableError> {
    let wrong_at = |at: usize| TableError::Encoding { line: 1 + line_breaks(&bytes[..at]) };
    let text = std::str::from_utf8(bytes).map_err(|error| wrong_at(error.valid_up_to()))?;
    match text.find(END) {
        Some(at) => Err(wrong_at(at)),
        None => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
    }
}

fn cells(line: &str, separator: u8) -> usize {
    let mut reader = reader(line, separator);
    reader.records().next().map_or(0, |record| record.map_or(0, |record| record.len()))
}

fn rows(text: &str, separator: u8) -> Result<Vec<Row>, TableError> {
    let ended = format!("{text}\n{END}");
    let (mut rows, mut line, mut counted) = (Vec::new(), 1, 0);
    let mut is_closed = false;
    for record in reader(&ended, separator).records() {
        let record = record.expect("the text is UTF-8, and rows may be of any length");
        let begins = record.position().map_or(0, |at| usize::try_from(at.byte()).unwrap_or(usize::MAX));
        // The position is where the reader stood: before the line break that ends the row above, and before empty lines.
        let begins = begins + ended[begins..].bytes().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        line += line_breaks(&ended.as_bytes()[counted..begins]);
        counted = begins;
        is_closed = record.len() == 1 && &record[0] == END;
        if !is_closed && record.iter().any(|cell| !cell.trim().is_empty()) {
            rows.push(Row { line, cells: record.iter().map(|cell| cell.trim().to_owned()).collect() });
        }
    }
    if is_closed { Ok(rows) } else { Err(TableError::OpenQuote { line }) }
}

fn reader(text: &str, separator: u8) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(separator).from_reader(text.as_bytes())
}

/// LF, CR LF, or CR alone.
fn line_breaks(bytes: &[u8]) -> usize {
    let is_break = |at: &usize| bytes[*at] == b'\n' || (bytes[*at] == b'\r' && bytes.get(at + 1) != Some(&b'\n'));
    (0..bytes.len()).filter(is_break).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(usize, Vec<String>)> {
        let (_, rows) = read(text.as_bytes()).expect("a table");
        rows.into_iter().map(|row| (row.line, row.cells)).collect()
    }

    #[test]
    fn a_row_has_the_line_in_which_it_begins() {
        for end in ["\n", "\r\n", "\r"] {
            let text = ["a,b", "", "1,\"x", "y\"", ",", "  ", "2,\"p,q\"", ""].join(end);
            let expected = [(3, vec!["1".to_owned(), format!("x{end}y")]), (7, vec!["2".to_owned(), "p,q".to_owned()])];
            assert_eq!(lines(&text), expected, "{end:?}");
        }
    }

    #[test]
    fn the_header_tells_the_separator() {
        for text in ["a,b\n1,2;3", "a;b\n1;2;3", "a\tb\n1\t2;3", "\"a,x\";b\n1;2;3"] {
            assert_eq!(lines(text)[0].1[0], "1", "{text}");
        }
    }

    #[test]
    fn what_is_no_table_says_why() {
        for (bytes, error) in [
            (&b""[..], TableError::Empty),
            (b"\xef\xbb\xbf\r\n , \r\n", TableError::Empty),
            (b"a,b\r\n", TableError::Empty),
            (b"a,b\n1,\xc0\xcf\n", TableError::Encoding { line: 2 }),
            (b"\xff\xfea\0,\0", TableError::Encoding { line: 1 }),
            (b"a\0,\0", TableError::Encoding { line: 1 }),
            (b"a,b\n1,2\n3,\"4\n5,6\n", TableError::OpenQuote { line: 3 }),
            (b"a,b\n1,2\n3,\"4", TableError::OpenQuote { line: 3 }),
        ] {
            assert_eq!(read(bytes), Err(error), "{}", bytes.escape_ascii());
        }
    }
}
