//! Bar charts as SVG. Forty lines of our own: a plotting library would be the largest dependency
//! of the host's binary after wasmtime, for rectangles and text.

use std::fmt::Write as _;

use super::report::{Figure, shown};

/// Widths and heights in pixels.
const LABELS: usize = 260;
const BARS: usize = 420;
const ROW: usize = 24;
const TOP: usize = 40;

/// A bar for each figure of the kind that most of them are of, rates or some unit; none if there is
/// no figure.
#[must_use]
pub fn bars(title: &str, figures: &[(&str, &Figure)]) -> Option<String> {
    let kind = common_kind(figures)?;
    let rows: Vec<_> = figures.iter().filter(|(_, it)| kind_of(&it.unit) == kind).collect();
    let most = rows.iter().map(|(_, figure)| figure.value).fold(f64::MIN_POSITIVE, f64::max);
    let (width, height) = (LABELS + BARS + 200, TOP + ROW * rows.len() + 10);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"15\" fill=\"#222222\">{}, {}</text>\n",
        escaped(title),
        escaped(kind)
    );
    for (row, (variant, figure)) in rows.iter().enumerate() {
        let y = TOP + row * ROW;
        let length = (figure.value / most * BARS as f64).max(1.0);
        let end = LABELS as f64 + length + 6.0;
        let ratio =
            figure.ratio.map_or_else(String::new, |ratio| format!("  ({} ×)", shown(ratio)));
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#222222\">{}</text>\n\
             <rect x=\"{LABELS}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" fill=\"{}\"/>\n\
             <text x=\"{end:.1}\" y=\"{}\" fill=\"#222222\">{}{ratio}</text>\n",
            LABELS - 8,
            y + 15,
            escaped(variant),
            y + 3,
            ROW - 6,
            // What is measured beside something is the host's; the rest is what it is held against.
            if figure.ratio.is_some() { "#2f6f9f" } else { "#9aa5ad" },
            y + 15,
            shown(figure.value)
        );
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn common_kind<'a>(figures: &[(&str, &'a Figure)]) -> Option<&'a str> {
    let kinds = || figures.iter().map(|(_, figure)| kind_of(&figure.unit));
    kinds().rev().max_by_key(|kind| kinds().filter(|other| other == kind).count())
}

/// Commands, commits and requests can be compared: all are things per second.
fn kind_of(unit: &str) -> &str {
    if unit.ends_with("/s") { "per second" } else { unit }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values() {
        let (one, two) = (Figure::of(1.0, "a/s"), Figure::of(2.0, "b/s").beside("x", 2.0));
        let other = Figure::of(900.0, "µs");
        let svg = bars("a<b", &[("one", &one), ("two", &two), ("three", &other)]).unwrap();
        assert!(svg.contains("width=\"210.0\"") && svg.contains("width=\"420.0\""), "{svg}");
        assert!(svg.contains("a&lt;b, per second") && !svg.contains("three"), "{svg}");
        assert!(bars("none", &[]).is_none());
    }
}
