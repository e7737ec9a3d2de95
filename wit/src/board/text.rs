//! Text that must fit: how wide it is at most, and where it may be broken.

/// One line of text in a note or above it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    /// Distance from the left edge of what holds it, in px.
    pub(super) x: u32,
    /// Distance of the baseline from the upper edge of what holds it, in px.
    pub(super) y: u32,
    /// Size of the font, in px.
    pub(super) size: u32,
    pub(super) bold: bool,
    pub(super) text: String,
}

/// Breaks `text` into lines of at most `width` px at font size `size`: between words; in a word
/// that is longer than a line, after a hyphen, comma or opening bracket; and anywhere only if
/// nothing else fits.
pub(super) fn wrap(text: &str, size: u32, width: u32) -> Vec<String> {
    let fits = |text: &str| width_of(text.trim_end(), size) <= width;
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut add = |part: &str| {
        if !line.is_empty() && !fits(&format!("{line}{part}")) {
            push(&mut lines, &mut line);
        }
        line.push_str(part);
    };
    for word in text.split_inclusive(char::is_whitespace) {
        if fits(word) {
            add(word);
            continue;
        }
        for piece in word.split_inclusive(['-', ',', '<', '/', '.']) {
            if fits(piece) {
                add(piece);
            } else {
                piece.chars().for_each(|c| add(c.encode_utf8(&mut [0; 4])));
            }
        }
    }
    push(&mut lines, &mut line);
    lines
}

/// Moves a finished line to `lines`, unless there is nothing on it.
fn push(lines: &mut Vec<String>, line: &mut String) {
    let done = std::mem::take(line);
    let done = done.trim();
    if !done.is_empty() {
        lines.push(done.to_owned());
    }
}

/// Most that `text` takes, in px, in any of the usual fonts, bold or not.
pub(super) fn width_of(text: &str, size: u32) -> u32 {
    let hundredths: u32 = text.chars().map(hundredths).sum();
    (hundredths * size).div_ceil(100)
}

/// Most that a character takes, in hundredths of the font's size. The numbers are those of DejaVu
/// Sans Bold, the widest of the fonts that systems take for `sans-serif`, rounded up.
const fn hundredths(c: char) -> u32 {
    match c {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' => 46,
        't' | 'f' | 'r' | 's' | '-' | '(' | ')' | '[' | ']' | '_' | '/' | '"' | '`' | '*' => 61,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 111,
        '<' | '>' | '=' | '+' | '~' | '#' | '&' | 'A'..='Z' => 89,
        '!'..='~' => 74,
        // Letters with marks are as wide as those without; signs of the east are square.
        '\u{a0}'..='\u{5ff}' => 111,
        _ => 130,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_end_between_words_and_after_hyphens() {
        assert_eq!(wrap("insufficient-funds", 14, 120), ["insufficient-", "funds"]);
        assert_eq!(wrap("one two three", 10, 60), ["one two", "three"]);
        assert_eq!(wrap("price: option<list<money>>", 11, 110), ["price: option<", "list<money>>"]);
        assert_eq!(wrap("price: option<u64>", 11, 90), ["price:", "option<u64>"]);
        assert_eq!(wrap("mmmm", 10, 25), ["mm", "mm"]);
        assert_eq!(wrap(" \n ", 10, 25), [""; 0]);
    }

    proptest! {
        #[test]
        fn every_line_fits_and_nothing_is_lost(text in "\\PC{0,80}", width in 30_u32..200) {
            let lines = wrap(&text, 14, width);
            for line in &lines {
                prop_assert!(width_of(line, 14) <= width, "{line}");
            }
            let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(bare(&lines.concat()), bare(&text));
        }
    }
}
