use proptest::prelude::*;

use super::*;
use crate::{
    model::{Aggregate, Field, Type},
    wit::samples::{aggregate, bank, empty, field, list, named, option, shop},
};

/// Eight aggregates with names as long as people make them, and longer.
fn large() -> Model {
    let fields = |count: usize| -> Vec<Field> {
        let types = [
            Type::U64,
            option(list(named("a-type-with-a-rather-long-name"))),
            Type::String,
            Type::Tuple(vec![Type::Bool, option(Type::String), list(Type::U8)]),
        ];
        types
            .into_iter()
            .cycle()
            .take(count)
            .enumerate()
            .map(|(n, ty)| field(&format!("a-field-of-it-{n}"), ty))
            .collect()
    };
    let aggregate = |index: usize| -> Aggregate {
        let mut it =
            aggregate(&format!("warehouse-replenishment-order-{index}"), fields(3 + index));
        for n in 0..=index {
            let event = format!("stock-level-adjustment-recorded-{n}");
            let rejection = format!("not-enough-{}stock-in-warehouse-{n}", "x".repeat(8 * n));
            it = it.event(&event, fields(n)).rejection(&rejection, fields(n % 3)).command(
                &format!("request-urgent-stock-level-adjustment-{n}"),
                fields((n + index) % 4),
                &[&event],
                &[&rejection],
            );
        }
        it.about =
            Some("What is in the warehouse, and <what> \"should\" be & is not. ".repeat(3 * index));
        it.event("no-command-emits-this", vec![])
    };
    let mut model = (0..8).fold(empty("supply-chain"), |model, index| model.with(aggregate(index)));
    model.about = Some("Goods on their way through warehouses. ".repeat(12));
    model.types = shop().types;
    model
}

fn models() -> [Model; 4] {
    [bank(), shop(), large(), empty("void")]
}

/// The names of the open elements must match those of the closing ones, and text and attribute
/// values must hold no bare signs. Gives all text.
fn well_formed(svg: &str) -> String {
    let (mut open, mut text, mut rest) = (Vec::new(), String::new(), svg);
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(before);
        let (tag, after) = after.split_once('>').expect("a tag ends");
        assert!(!tag.contains('<'), "{tag}");
        assert!(tag.matches('"').count() % 2 == 0, "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().unwrap());
        }
        rest = after;
    }
    assert_eq!(open, [""; 0]);
    for part in text.split('&').skip(1) {
        let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
        assert!(known.iter().any(|entity| part.starts_with(entity)), "{part}");
    }
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    text
}

#[test]
fn it_is_xml_and_names_every_element() {
    for model in models() {
        let svg = svg(&model);
        let text = well_formed(&svg);
        for aggregate in model.aggregates.values() {
            assert!(text.contains(&format!("aggregate {}", aggregate.name)));
            for name in aggregate.commands.keys() {
                assert!(text.contains(&format!("command {name}")), "{name}");
            }
            for name in aggregate.events.keys() {
                assert!(text.contains(&format!("event {name}")), "{name}");
            }
            for name in aggregate.rejections.keys() {
                assert!(text.contains(&format!("rejection {name}")), "{name}");
            }
        }
    }
}

fn overlap(a: &Rect, b: &Rect) -> bool {
    a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h
}

fn holds(outer: &Rect, inner: &Rect) -> bool {
    outer.x <= inner.x
        && outer.y <= inner.y
        && inner.x + inner.w <= outer.x + outer.w
        && inner.y + inner.h <= outer.y + outer.h
}

#[test]
fn no_two_notes_overlap_and_each_stands_in_a_lane() {
    models().iter().for_each(stand_apart);
}

fn stand_apart(model: &Model) {
    let layout = Layout::of(model);
    let whole = Rect { x: 0, y: 0, w: layout.width, h: layout.height };
    let apart = |rects: &[Rect]| {
        for (n, a) in rects.iter().enumerate() {
            assert!(rects[n + 1..].iter().all(|b| !overlap(a, b)), "{a:?}");
        }
    };
    let notes: Vec<Rect> = layout.stickies.iter().map(|sticky| sticky.rect).collect();
    apart(&notes);
    apart(&layout.lanes);
    apart(&layout.groups);
    assert!(layout.lanes.iter().all(|lane| holds(&whole, lane)));
    for rect in notes.iter().chain(&layout.groups) {
        assert_eq!(layout.lanes.iter().filter(|lane| holds(lane, rect)).count(), 1, "{rect:?}");
    }
}

#[test]
fn text_stays_inside_of_its_note() {
    models().iter().for_each(fit);
}

fn fit(model: &Model) {
    let layout = Layout::of(model);
    for sticky in &layout.stickies {
        let mut last = 0;
        for line in &sticky.lines {
            assert!(line.x + text::width_of(&line.text, line.size) <= sticky.rect.w, "{line:?}");
            assert!(line.y >= last + line.size && line.y < sticky.rect.h, "{line:?}");
            last = line.y;
        }
        let shown: String = sticky.lines.iter().filter(|it| it.bold).map(|it| &*it.text).collect();
        assert_eq!(shown, sticky.name);
    }
    for caption in &layout.captions {
        for line in &caption.lines {
            let end = caption.x + line.x + text::width_of(&line.text, line.size);
            assert!(end <= layout.width, "{line:?}");
        }
    }
}

#[test]
fn every_outcome_is_wired_to_its_command() {
    for model in models() {
        let layout = Layout::of(&model);
        let commands = || model.aggregates.values().flat_map(|it| it.commands.values());
        let dashed = |dashed: bool| layout.wires.iter().filter(|it| it.dashed == dashed).count();
        assert_eq!(dashed(false), commands().map(|it| it.emits.len()).sum::<usize>());
        assert_eq!(dashed(true), commands().map(|it| it.rejects.len()).sum::<usize>());
        let on_edge = |(x, y): (u32, u32), edge: fn(&Rect) -> u32| {
            layout
                .stickies
                .iter()
                .map(|it| &it.rect)
                .any(|it| edge(it) == x && (it.y..it.y + it.h).contains(&y))
        };
        for wire in &layout.wires {
            assert!(
                on_edge(wire.from, |it| it.x + it.w) && on_edge(wire.to, |it| it.x),
                "{wire:?}"
            );
        }
    }
}

#[test]
fn a_large_board_has_the_width_of_a_screen() {
    let layout = Layout::of(&large());
    assert!((1600..=2200).contains(&layout.width), "{}", layout.width);
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    for model in models() {
        assert_eq!(svg(&model), svg(&model));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_sound_model_has_a_board(model in crate::testing::model()) {
        well_formed(&svg(&model));
        stand_apart(&model);
        fit(&model);
    }
}
