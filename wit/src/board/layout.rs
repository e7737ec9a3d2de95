//! Where everything on the board goes. A pure function of the model, in whole pixels.

use std::collections::HashSet;

use super::text::{Line, width_of, wrap};
use crate::{
    Model,
    model::{Aggregate, Command, Field, TypeDecl, TypeDef},
    wit::spell,
};

/// Around the whole picture.
const MARGIN: u32 = 40;
/// Inside a lane and between its parts.
const LANE_PADDING: u32 = 20;
/// Between a note's edge and its text.
const NOTE_PADDING: u32 = 10;
/// Width of a note.
const NOTE: u32 = 184;
/// Width of an aggregate's note: its state is often long.
const AGGREGATE_NOTE: u32 = 210;
/// Least height of a note: it should look like one.
const LEAST_HEIGHT: u32 = 54;
/// Between a group's edge and its notes.
const GROUP_PADDING: u32 = 12;
/// Between a command and what comes of it: room for the lines.
const WIRE_ROOM: u32 = 44;
/// Between notes that stand below each other.
const NOTE_GAP: u32 = 10;
/// Between groups, and between lanes.
const GAP: u32 = 16;
/// Width of a group: a command and what comes of it.
const GROUP: u32 = 2 * GROUP_PADDING + 2 * NOTE + WIRE_ROOM;
/// Most groups beside each other: more would not fit a screen.
const MOST_COLUMNS: usize = 4;
/// From one entry of the legend to the next.
pub(super) const LEGEND_STEP: u32 = 110;

/// The colours of the notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Command,
    Aggregate,
    Event,
    Rejection,
    Type,
}

impl Kind {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Aggregate => "aggregate",
            Self::Event => "event",
            Self::Rejection => "rejection",
            Self::Type => "type",
        }
    }

    const fn width(self) -> u32 {
        match self {
            Self::Aggregate => AGGREGATE_NOTE,
            _ => NOTE,
        }
    }

    const fn name_size(self) -> u32 {
        match self {
            Self::Aggregate => 18,
            _ => 14,
        }
    }
}

/// An upright rectangle, in px from the upper left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) w: u32,
    pub(super) h: u32,
}

impl Rect {
    const fn bottom(&self) -> u32 {
        self.y + self.h
    }

    const fn moved(self, x: u32, y: u32) -> Self {
        Self { x: self.x + x, y: self.y + y, ..self }
    }
}

/// A note.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sticky {
    pub(super) rect: Rect,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) about: Option<String>,
    pub(super) lines: Vec<Line>,
}

/// A line from a command to what comes of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wire {
    pub(super) from: (u32, u32),
    pub(super) to: (u32, u32),
    /// Rejections are not stored: their lines are dashed.
    pub(super) dashed: bool,
}

/// Text outside of notes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Caption {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) lines: Vec<Line>,
}

/// The whole board.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) legend: Rect,
    pub(super) lanes: Vec<Rect>,
    pub(super) groups: Vec<Rect>,
    pub(super) stickies: Vec<Sticky>,
    pub(super) wires: Vec<Wire>,
    pub(super) captions: Vec<Caption>,
}

impl Layout {
    pub(super) fn of(model: &Model) -> Self {
        let columns = model.aggregates.values().map(|it| it.commands.len()).max().unwrap_or(0);
        let columns = u32::try_from(columns.clamp(2, MOST_COLUMNS)).unwrap_or(2);
        let groups = columns * GROUP + (columns - 1) * GAP;
        let width = 2 * (MARGIN + LANE_PADDING) + AGGREGATE_NOTE + LANE_PADDING + groups;
        let mut layout = Self {
            width,
            height: MARGIN,
            legend: Rect { x: width - MARGIN - 4 * LEGEND_STEP, y: MARGIN, w: 0, h: 0 },
            lanes: Vec::new(),
            groups: Vec::new(),
            stickies: Vec::new(),
            wires: Vec::new(),
            captions: Vec::new(),
        };
        layout.heading(model);
        for aggregate in model.aggregates.values() {
            layout.lane(aggregate, columns);
        }
        layout.types(model);
        layout.height += MARGIN - GAP;
        layout
    }

    fn heading(&mut self, model: &Model) {
        let room = self.legend.x - MARGIN - GAP;
        let title = format!("{} {}", model.context, model.version);
        let mut lines = Lines::default();
        lines.add(&title, 26, true, room);
        lines.add(model.about.as_deref().unwrap_or_default(), 14, false, room);
        self.text(MARGIN, lines);
        self.height += GAP;
    }

    /// Text across the board, from `x` and the present height on.
    fn text(&mut self, x: u32, lines: Lines) {
        if lines.bottom > 0 {
            let y = self.height;
            self.height += lines.bottom;
            self.captions.push(Caption { x, y, lines: lines.lines });
        }
    }

    fn lane(&mut self, aggregate: &Aggregate, columns: u32) {
        let x = MARGIN + LANE_PADDING;
        let top = self.open_lane(aggregate.about.as_deref());
        let state = fields_text(&aggregate.state);
        let about = aggregate.about.as_deref();
        let sticky = Sticky::new(Kind::Aggregate, &aggregate.name, about, &state, (x, top));
        let mut bottom = sticky.rect.bottom();
        self.stickies.push(sticky);

        let left = x + AGGREGATE_NOTE + LANE_PADDING;
        let mut tops = vec![top; usize::try_from(columns).unwrap_or(1)];
        for group in groups(aggregate) {
            let (column, top) = shortest(&mut tops, group.rect.h + GAP);
            bottom = bottom.max(top + group.rect.h);
            self.place(group, left + column * (GROUP + GAP), top);
        }
        self.close_lane(bottom);
    }

    /// Begins a lane with a line about it; gives where its content begins.
    fn open_lane(&mut self, about: Option<&str>) -> u32 {
        self.lanes.push(Rect { x: MARGIN, y: self.height, w: self.width - 2 * MARGIN, h: 0 });
        self.height += LANE_PADDING;
        let room = self.width - 2 * (MARGIN + LANE_PADDING);
        let mut lines = Lines::default();
        lines.add(about.unwrap_or_default(), 13, false, room);
        let has_text = lines.bottom > 0;
        self.text(MARGIN + LANE_PADDING, lines);
        if has_text {
            self.height += NOTE_GAP;
        }
        self.height
    }

    fn close_lane(&mut self, bottom: u32) {
        if let Some(lane) = self.lanes.last_mut() {
            lane.h = bottom + LANE_PADDING - lane.y;
            self.height = lane.bottom() + GAP;
        }
    }

    fn place(&mut self, group: Group, x: u32, y: u32) {
        self.groups.push(group.rect.moved(x, y));
        let at = |(left, top): (u32, u32)| (left + x, top + y);
        let moved = |it: Sticky| Sticky { rect: it.rect.moved(x, y), ..it };
        self.stickies.extend(group.stickies.into_iter().map(moved));
        let moved = |it: Wire| Wire { from: at(it.from), to: at(it.to), ..it };
        self.wires.extend(group.wires.into_iter().map(moved));
        let moved = |it: Caption| Caption { x: it.x + x, y: it.y + y, ..it };
        self.captions.extend(group.captions.into_iter().map(moved));
    }

    /// The model's own types, for who reads the fields.
    fn types(&mut self, model: &Model) {
        if model.types.is_empty() {
            return;
        }
        let top = self.open_lane(Some("Types"));
        let left = MARGIN + LANE_PADDING;
        let room = self.width - 2 * left;
        let columns = usize::try_from((room + GAP) / (NOTE + GAP)).unwrap_or(1).max(1);
        let mut tops = vec![top; columns];
        let mut bottom = top;
        for (name, decl) in &model.types {
            let about = decl.about.as_deref();
            let mut sticky = Sticky::new(Kind::Type, name, about, &type_text(decl), (0, 0));
            let (column, top) = shortest(&mut tops, sticky.rect.h + NOTE_GAP);
            sticky.rect = sticky.rect.moved(left + column * (NOTE + GAP), top);
            bottom = bottom.max(sticky.rect.bottom());
            self.stickies.push(sticky);
        }
        self.close_lane(bottom);
    }
}

/// The shortest column and its end; it then ends `height` further down.
fn shortest(tops: &mut [u32], height: u32) -> (u32, u32) {
    let found = tops.iter_mut().enumerate().min_by_key(|(column, top)| (**top, *column));
    let Some((column, top)) = found else { return (0, 0) };
    let at = *top;
    *top += height;
    (u32::try_from(column).unwrap_or(0), at)
}

impl Sticky {
    fn new(
        kind: Kind,
        name: &str,
        about: Option<&str>,
        details: &[String],
        (x, y): (u32, u32),
    ) -> Self {
        let room = kind.width() - 2 * NOTE_PADDING;
        let mut lines = Lines { bottom: NOTE_PADDING, left: NOTE_PADDING, ..Lines::default() };
        lines.add(name, kind.name_size(), true, room);
        if !details.is_empty() {
            lines.bottom += 4;
        }
        for detail in details {
            lines.add(detail, 11, false, room);
        }
        let h = (lines.bottom + NOTE_PADDING).max(LEAST_HEIGHT);
        Self {
            rect: Rect { x, y, w: kind.width(), h },
            kind,
            name: name.into(),
            about: about.map(Into::into),
            lines: lines.lines,
        }
    }
}

/// Lines of text below each other.
#[derive(Default)]
struct Lines {
    lines: Vec<Line>,
    left: u32,
    bottom: u32,
}

impl Lines {
    /// Adds `text`, broken to `room`; lines that go on with it are set in a little.
    fn add(&mut self, text: &str, size: u32, bold: bool, room: u32) {
        let indent = if self.left > 0 && !bold { 8 } else { 0 };
        for paragraph in text.lines() {
            let lines = if width_of(paragraph, size) <= room {
                vec![paragraph.to_owned()]
            } else {
                wrap(paragraph, size, room - indent)
            };
            for (index, text) in lines.into_iter().enumerate() {
                let height = size * 4 / 3;
                let x = if index == 0 { self.left } else { self.left + indent };
                let line = Line { x, y: self.bottom + size, size, bold, text };
                self.lines.push(line);
                self.bottom += height;
            }
        }
    }
}

/// A command and what comes of it, told from its own upper left corner.
struct Group {
    rect: Rect,
    stickies: Vec<Sticky>,
    wires: Vec<Wire>,
    captions: Vec<Caption>,
}

/// A note to be: its kind, name, description and fields.
type Note<'m> = (Kind, &'m str, Option<&'m str>, &'m [Field]);

fn groups(aggregate: &Aggregate) -> Vec<Group> {
    let event = |name: &str| {
        let (name, it) = aggregate.events.get_key_value(name)?;
        Some((Kind::Event, name.as_str(), it.about.as_deref(), it.fields.as_slice()))
    };
    let rejection = |name: &str| {
        let (name, it) = aggregate.rejections.get_key_value(name)?;
        Some((Kind::Rejection, name.as_str(), it.about.as_deref(), it.fields.as_slice()))
    };
    let outcomes = |command: &Command| -> Vec<Note<'_>> {
        let events = command.emits.iter().filter_map(|name| event(name));
        events.chain(command.rejects.iter().filter_map(|name| rejection(name))).collect()
    };
    let mut groups: Vec<Group> = aggregate
        .commands
        .iter()
        .map(|(name, it)| {
            let note = (Kind::Command, name.as_str(), it.about.as_deref(), it.fields.as_slice());
            group(Some(note), &outcomes(it))
        })
        .collect();

    let commands = || aggregate.commands.values();
    let emitted: HashSet<&String> = commands().flat_map(|it| &it.emits).collect();
    let used: HashSet<&String> = commands().flat_map(|it| &it.rejects).collect();
    let events = aggregate.events.keys().filter(|name| !emitted.contains(name));
    let rejections = aggregate.rejections.keys().filter(|name| !used.contains(name));
    let orphans: Vec<Note<'_>> = events
        .filter_map(|name| event(name))
        .chain(rejections.filter_map(|name| rejection(name)))
        .collect();
    if !orphans.is_empty() {
        groups.push(group(None, &orphans));
    }
    groups
}

/// A command with its outcomes, or outcomes that belong to no command.
fn group(command: Option<Note<'_>>, outcomes: &[Note<'_>]) -> Group {
    let corner = (GROUP_PADDING, GROUP_PADDING);
    let mut group = Group {
        rect: Rect { x: 0, y: 0, w: GROUP, h: 0 },
        stickies: Vec::new(),
        wires: Vec::new(),
        captions: Vec::new(),
    };
    let mut bottom = GROUP_PADDING + LEAST_HEIGHT;
    let start = match command {
        Some((kind, name, about, fields)) => {
            let sticky = Sticky::new(kind, name, about, &fields_text(fields), corner);
            bottom = sticky.rect.bottom();
            let middle = sticky.rect.y + sticky.rect.h.min(LEAST_HEIGHT) / 2;
            group.stickies.push(sticky);
            Some((GROUP_PADDING + NOTE, middle))
        }
        None => {
            let mut lines = Lines::default();
            lines.add("given by no command", 12, false, NOTE);
            group.captions.push(Caption { x: corner.0, y: corner.1, lines: lines.lines });
            None
        }
    };
    let x = GROUP_PADDING + NOTE + WIRE_ROOM;
    let mut y = GROUP_PADDING;
    for (kind, name, about, fields) in outcomes {
        let sticky = Sticky::new(*kind, name, *about, &fields_text(fields), (x, y));
        if let Some(from) = start {
            let to = (x, y + sticky.rect.h.min(LEAST_HEIGHT) / 2);
            group.wires.push(Wire { from, to, dashed: *kind == Kind::Rejection });
        }
        bottom = bottom.max(sticky.rect.bottom());
        y = sticky.rect.bottom() + NOTE_GAP;
        group.stickies.push(sticky);
    }
    group.rect.h = bottom + GROUP_PADDING;
    group
}

fn fields_text(fields: &[Field]) -> Vec<String> {
    fields.iter().map(|field| format!("{}: {}", field.name, spell(&field.ty))).collect()
}

fn type_text(decl: &TypeDecl) -> Vec<String> {
    match &decl.def {
        TypeDef::Record(fields) => fields_text(fields),
        TypeDef::Variant(cases) => {
            let case = |name: &str, payload: Option<String>| match payload {
                Some(payload) => format!("| {name}: {payload}"),
                None => format!("| {name}"),
            };
            cases.iter().map(|it| case(&it.name, it.payload.as_ref().map(spell))).collect()
        }
        TypeDef::Enum(names) => names.iter().map(|name| format!("| {name}")).collect(),
        TypeDef::Flags(names) => names.iter().map(|name| format!("+ {name}")).collect(),
        TypeDef::Alias(ty) => vec![format!("= {}", spell(ty))],
    }
}
