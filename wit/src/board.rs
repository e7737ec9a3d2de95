//! The board as a picture: EventStorming's coloured notes, one lane per aggregate.
//!
//! A lane holds the aggregate's note with its state, and a group per command: the command, and
//! beside it every event that it emits and every rejection that it may give. An event that several
//! commands emit is shown with each of them, so that no line crosses a note. What goes where is
//! worked out first, as plain numbers ([`layout`]); the picture is then only written down.
//!
//! An SVG cannot measure text, so notes are made for the widest common font: nothing is cut and
//! nothing overlaps, at the price of some air.

use std::fmt::{self, Write as _};

use crate::Model;

mod layout;
#[cfg(test)]
mod tests;
mod text;

use layout::{Caption, Kind, Layout, Rect, Sticky, Wire};

/// What the picture says of each kind of note: its colours, and its word in the legend.
const LEGEND: [Kind; 4] = [Kind::Command, Kind::Aggregate, Kind::Event, Kind::Rejection];

/// The board of `model` as an SVG document in EventStorming's colours.
#[must_use]
pub fn svg(model: &Model) -> String {
    let layout = Layout::of(model);
    let mut out = String::new();
    // Writing to a `String` does not fail.
    let _ = write_svg(&mut out, model, &layout);
    out
}

fn write_svg(out: &mut String, model: &Model, layout: &Layout) -> fmt::Result {
    let (width, height) = (layout.width, layout.height);
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" fill=\"#1b1b1b\" role=\"img\">"
    )?;
    writeln!(out, "<title>{}</title>", escaped(&format!("Board of {}", model.context)))?;
    writeln!(
        out,
        "<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" \
         markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0 8 4 0 8z\" fill=\"#555555\"/></marker></defs>"
    )?;
    writeln!(out, "<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>")?;
    legend(out, layout)?;
    for lane in &layout.lanes {
        area(out, lane, "#f3f1ea", 12)?;
    }
    for group in &layout.groups {
        area(out, group, "#fffdf7", 8)?;
    }
    for wire in &layout.wires {
        self::wire(out, wire)?;
    }
    for sticky in &layout.stickies {
        self::sticky(out, sticky)?;
    }
    for caption in &layout.captions {
        self::caption(out, caption)?;
    }
    writeln!(out, "</svg>")
}

/// The colours' meaning, in the upper right corner.
fn legend(out: &mut String, layout: &Layout) -> fmt::Result {
    let mut x = layout.legend.x;
    let y = layout.legend.y;
    for kind in LEGEND {
        let (fill, stroke) = colours(kind);
        writeln!(
            out,
            "<rect x=\"{x}\" y=\"{y}\" width=\"16\" height=\"16\" fill=\"{fill}\" \
             stroke=\"{stroke}\"/><text x=\"{}\" y=\"{}\" font-size=\"12\">{}</text>",
            x + 22,
            y + 13,
            kind.word()
        )?;
        x += layout::LEGEND_STEP;
    }
    Ok(())
}

fn area(out: &mut String, rect: &Rect, fill: &str, corner: u32) -> fmt::Result {
    let Rect { x, y, w, h } = rect;
    writeln!(
        out,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"{corner}\" fill=\"{fill}\" \
         stroke=\"#d8d4c6\"/>"
    )
}

fn wire(out: &mut String, wire: &Wire) -> fmt::Result {
    let Wire { from: (x1, y1), to: (x2, y2), dashed } = wire;
    let middle = u32::midpoint(*x1, *x2);
    let dash = if *dashed { " stroke-dasharray=\"5 4\"" } else { "" };
    writeln!(
        out,
        "<path d=\"M{x1} {y1}H{middle}V{y2}H{x2}\" fill=\"none\" stroke=\"#555555\" \
         stroke-width=\"1.5\"{dash} marker-end=\"url(#tip)\"/>"
    )
}

fn sticky(out: &mut String, sticky: &Sticky) -> fmt::Result {
    let Rect { x, y, w, h } = sticky.rect;
    let (fill, stroke) = colours(sticky.kind);
    let about = sticky.about.as_deref().map(|about| format!(": {about}")).unwrap_or_default();
    let title = format!("{} {}{about}", sticky.kind.word(), sticky.name);
    writeln!(out, "<g><title>{}</title>", escaped(&title))?;
    writeln!(
        out,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"3\" fill=\"{fill}\" \
         stroke=\"{stroke}\"/>"
    )?;
    for line in &sticky.lines {
        write_line(out, x, y, line)?;
    }
    writeln!(out, "</g>")
}

fn caption(out: &mut String, caption: &Caption) -> fmt::Result {
    for line in &caption.lines {
        write_line(out, caption.x, caption.y, line)?;
    }
    Ok(())
}

/// One line of text; its place is told from the corner of what holds it.
fn write_line(out: &mut String, x: u32, y: u32, line: &text::Line) -> fmt::Result {
    let weight = if line.bold { " font-weight=\"bold\"" } else { "" };
    writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" font-size=\"{}\"{weight}>{}</text>",
        x + line.x,
        y + line.y,
        line.size,
        escaped(&line.text)
    )
}

/// Fill and border of a kind of note; text on it is dark.
const fn colours(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Command => ("#a9d4f7", "#6fa9d6"),
        Kind::Aggregate => ("#fdf1a3", "#d9c75a"),
        Kind::Event => ("#fdbb6c", "#dd9440"),
        Kind::Rejection => ("#f9b8d0", "#dd86a8"),
        Kind::Type => ("#e9edf0", "#b9c2c9"),
    }
}

/// `text` as XML text or attribute value, without characters that XML does not know.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push(' '),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
