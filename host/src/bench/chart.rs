//! Bar charts as SVG. Forty lines of our own: a plotting library would be the largest dependency
//! of the host's binary after wasmtime, for rectangles and text.

use std::fmt::Write as _;

use super::report::{Figure, shown};

/// Heights in pixels.
const ROW: usize = 24;
const TOP: usize = 40;

/// Widths of a chart's columns, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// What the bars are called.
    pub labels: usize,
    /// The longest bar.
    pub bars: usize,
    /// The values behind the bars.
    pub values: usize,
}

impl Default for Frame {
    fn default() -> Self {
        Self { labels: 260, bars: 420, values: 200 }
    }
}

impl Frame {
    /// The width of a chart.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.labels + self.bars + self.values
    }

    /// The height of a chart with so many bars.
    #[must_use]
    pub const fn height(bars: usize) -> usize {
        TOP + ROW * bars + 10
    }
}

/// A bar for each figure of the kind that most of them are of, rates or some unit; none if there is
/// no figure.
#[must_use]
pub fn bars(title: &str, figures: &[(&str, &Figure)], frame: Frame) -> Option<String> {
    let kind = common_kind(figures)?;
    let rows: Vec<_> = figures.iter().filter(|(_, it)| kind_of(&it.unit) == kind).collect();
    let most = rows.iter().map(|(_, figure)| figure.value).fold(f64::MIN_POSITIVE, f64::max);
    let (width, height) = (frame.width(), Frame::height(rows.len()));
    let labels = frame.labels;
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
        let length = (figure.value / most * frame.bars as f64).max(1.0);
        let end = labels as f64 + length + 6.0;
        let ratio =
            figure.ratio.map_or_else(String::new, |ratio| format!("  ({} ×)", shown(ratio)));
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#222222\">{}</text>\n\
             <rect x=\"{labels}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" fill=\"{}\"/>\n\
             <text x=\"{end:.1}\" y=\"{}\" fill=\"#222222\">{}{ratio}</text>\n",
            labels - 8,
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
        let all = [("one", &one), ("two", &two), ("three", &other)];
        let svg = bars("a<b", &all, Frame::default()).unwrap();
        assert!(svg.contains("width=\"210.0\"") && svg.contains("width=\"420.0\""), "{svg}");
        assert!(svg.contains("a&lt;b, per second") && !svg.contains("three"), "{svg}");
        assert!(bars("none", &[], Frame::default()).is_none());
    }
}
