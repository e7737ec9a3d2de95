//! How data is shown to people: aligned, one thing per line, without control characters.

use std::{fmt::Write as _, io::Write as _};

use indexmap::IndexMap;
use serde_json::value::RawValue;

use crate::json::Change;

/// Most characters of a value in a line that shows several.
const SHORT: usize = 120;

/// Writes a line to stdout.
pub fn line(text: &str) {
    self::text(&format!("{text}\n"));
}

/// Writes to stdout. Whoever reads may stop reading, as `head` does: then nobody misses the rest.
pub fn text(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        tracing::debug!(%error, "stdout is closed");
    }
}

/// Lines whose cells stand under each other; the last cell of a line may be of any length.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let pad = width.saturating_sub(cell.chars().count()) + 2;
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', pad));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The fields of a JSON object, one per line, in its own order.
#[must_use]
pub fn fields(object: &RawValue) -> String {
    match serde_json::from_str::<IndexMap<String, Box<RawValue>>>(object.get()) {
        Ok(fields) => {
            let rows = fields.iter();
            let rows = rows.map(|(name, value)| vec![format!("  {name}"), value.get().to_owned()]);
            table(&rows.collect::<Vec<_>>())
        }
        Err(_) => format!("  {}\n", plain(object.get())),
    }
}

/// Changes of a state, one per line: where, what stood there, what stands there now.
#[must_use]
pub fn changes(changes: &[Change]) -> String {
    let shown = |value: &Option<Box<RawValue>>| {
        value.as_ref().map_or_else(|| "(nothing)".to_owned(), |value| short(value.get()))
    };
    let row = |change: &Change| {
        let path = if change.path.is_empty() { "(the state)" } else { &change.path };
        let (before, after) = (shown(&change.before), shown(&change.after));
        vec![format!("  {path}"), before, format!("-> {after}")]
    };
    table(&changes.iter().map(row).collect::<Vec<_>>())
}

/// A value as long as a line can bear.
#[must_use]
pub fn short(value: &str) -> String {
    let mut shown: String = value.chars().take(SHORT).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    shown
}

/// A time in ms since 1970 as a person reads it, in UTC.
#[must_use]
pub fn time(ms: u64) -> String {
    let ms = i64::try_from(ms).ok();
    let time = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "?".to_owned(), |time| format!("{time:.3}"))
}

/// `text` without characters that could move the cursor of a terminal.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            write!(shown, "{}", c.escape_default()).unwrap_or_default();
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_under_each_other() {
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["ccc".to_owned(), String::new()]];
        assert_eq!(table(&rows), "a    b\nccc\n");
    }

    #[test]
    fn fields_keep_their_order() {
        let raw = RawValue::from_string(r#"{"owner":"A","balance":[1, 2]}"#.to_owned()).unwrap();
        assert_eq!(fields(&raw), "  owner    \"A\"\n  balance  [1, 2]\n");
    }

    #[test]
    fn changes_are_lines_and_long_values_are_cut() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let long = format!("{{\"a\":1,\"bc\":\"{}\"}}", "x".repeat(200));
        let shown = changes(&crate::json::difference(&raw(r#"{"a":12,"bc":[]}"#), &raw(&long)));
        let cut = format!("\"{}…", "x".repeat(SHORT - 1));
        assert_eq!(shown, format!("  a   12  -> 1\n  bc  []  -> {cut}\n"));
        let came = changes(&crate::json::difference(&raw("[]"), &raw("[null]")));
        assert_eq!(came, "  [0]  (nothing)  -> null\n");
    }

    #[test]
    fn ids_cannot_move_the_cursor() {
        assert_eq!(plain("a\u{1b}[2Jé\n"), "a\\u{1b}[2Jé\\n");
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(u64::MAX), "?");
    }
}
