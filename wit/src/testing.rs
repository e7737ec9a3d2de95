//! Random models, for property tests here and in other crates (feature `testing`).
//!
//! [`model`] makes a model without places, [`text`] writes any model as its text; what is read
//! from that text is the model again. Names are taken in turn from a list that holds the keywords
//! of WIT and Rust; every form of type, value, default and setting turns up.

mod write;

use std::time::Duration;

use indexmap::IndexMap;
use proptest::{collection::vec, option, prelude::*, sample::Index};
use serde_json::{Map as Object, Value, json};

pub use self::write::text;
use crate::{
    Digest, Model,
    model::{
        Aggregate, Case, Command, Event, Field, How, Isolation, Location, Named, Places, Rejection,
        Rules, Runtime, Scenario, Step, Then, Type, TypeDecl, TypeDef, Upcast,
    },
    wit::record_of,
};

/// Names that are legal in a model; many are words of WIT, Rust or YAML.
const WORDS: [&str; 48] = [
    "record",
    "order",
    "use",
    "type",
    "fn",
    "interface",
    "world",
    "export",
    "import",
    "async",
    "match",
    "from",
    "null",
    "true",
    "no",
    "package",
    "func",
    "static",
    "include",
    "with",
    "as",
    "enum",
    "flags",
    "variant",
    "resource",
    "own",
    "move",
    "loop",
    "yes",
    "off",
    "impl",
    "trait",
    "await",
    "dyn",
    "where",
    "yield",
    "open-account",
    "a",
    "a1",
    "a1-b2",
    "close-all-of-it",
    "guest",
    "handle",
    "exports",
    "bindings",
    "id",
    "version",
    "default",
];

/// Texts that a YAML reader may take for something else.
const TEXTS: [&str; 16] = [
    "",
    "no",
    "~",
    "null",
    "007",
    "1.10",
    "a: b",
    "# no comment",
    "é日本🦀",
    "'",
    "\"",
    "\\",
    " blank ",
    "tab\tand\nline",
    "{[,]}",
    "18446744073709551616",
];

/// A model that reads without a mistake, as text.
pub fn model_text() -> impl Strategy<Value = String> {
    model().prop_map(|model| text(&model))
}

/// A sound model without places, digest and source.
pub fn model() -> impl Strategy<Value = Model> {
    let parts = (
        (any::<usize>(), 0_u64..30, option::of(any::<Index>())),
        vec(shape(), 0..6),
        vec(aggregate(), 1..4),
    );
    parts.prop_map(|((offset, minor, about), shapes, aggregates)| {
        let mut names = Names { next: offset % WORDS.len(), round: 0, left: WORDS.len() };
        let types = declared(shapes, &mut names);
        let mut model = Model {
            digest: Digest::of(""),
            source: "".into(),
            places: Places::default(),
            context: "random".into(),
            version: semver::Version::new(1, minor, 0),
            about: about.map(described),
            components: vec!["random.wasm".into()],
            types,
            aggregates: IndexMap::new(),
            scenarios: Vec::new(),
        };
        for (index, draft) in aggregates.into_iter().enumerate() {
            draft.build(format!("aggregate{index}"), &mut model, names.clone());
        }
        model
    })
}

/// A value of `ty` as JSON, chosen by `seed`.
#[must_use]
pub fn value(ty: &Type, types: &IndexMap<String, TypeDecl>, seed: u64) -> Value {
    // A small multiplicative step is enough to vary the parts of one value.
    let part = |index: usize| seed.wrapping_mul(31).wrapping_add(7 + index as u64) >> 1;
    let odd = seed % 2 == 1;
    match ty {
        Type::Named(name) => named_value(name, types, seed),
        Type::Bool => odd.into(),
        Type::S8 => pick(seed, [i8::MIN.into(), 0.into(), i8::MAX.into()]),
        Type::S16 => pick(seed, [i16::MIN.into(), 0.into(), i16::MAX.into()]),
        Type::S32 => pick(seed, [i32::MIN.into(), (-1).into(), i32::MAX.into()]),
        Type::S64 => pick(seed, [i64::MIN.to_string().into(), (-7).into(), 42.into()]),
        Type::U8 => pick(seed, [0.into(), 1.into(), u8::MAX.into()]),
        Type::U16 => pick(seed, [0.into(), 1.into(), u16::MAX.into()]),
        Type::U32 => pick(seed, [0.into(), 1.into(), u32::MAX.into()]),
        Type::U64 => {
            let largest = (1_u64 << 53) - 1;
            pick(seed, [u64::MAX.to_string().into(), largest.into(), 0.into()])
        }
        Type::F32 => pick(seed, [json!(0.5), json!(-2.0), "Infinity".into()]),
        Type::F64 => pick(seed, [json!(0.1), json!(-1e300), "NaN".into()]),
        Type::Char => pick(seed, ["x".into(), "\"".into(), "🦀".into()]),
        Type::String => {
            let index = usize::try_from(seed % TEXTS.len() as u64).unwrap_or_default();
            TEXTS.get(index).copied().unwrap_or_default().into()
        }
        Type::List(inner) if is_u8(inner, types) => {
            pick(seed, ["".into(), "AQID".into(), "/+8=".into()])
        }
        Type::List(inner) => {
            let length = usize::from(odd) * 2;
            (0..length).map(|index| value(inner, types, part(index))).collect()
        }
        Type::Option(_) if odd => Value::Null,
        Type::Option(inner) if is_option(inner, types) => {
            json!({ "some": value(inner, types, part(0)) })
        }
        Type::Option(inner) => value(inner, types, part(0)),
        Type::Tuple(members) => {
            let members = members.iter().enumerate();
            members.map(|(index, ty)| value(ty, types, part(index))).collect()
        }
        Type::Result { ok, err } => {
            let (case, ty) = if odd { ("err", err) } else { ("ok", ok) };
            json!({ case: ty.as_ref().map(|ty| value(ty, types, part(0))) })
        }
    }
}

fn named_value(name: &str, types: &IndexMap<String, TypeDecl>, seed: u64) -> Value {
    let Some(decl) = types.get(name) else { return Value::Null };
    let choose = |count: usize| usize::try_from(seed % count.max(1) as u64).unwrap_or_default();
    match &decl.def {
        TypeDef::Record(fields) => object(fields, types, seed),
        TypeDef::Variant(cases) => match cases.get(choose(cases.len())) {
            Some(Case { name, payload: Some(ty), .. }) => {
                json!({ name: value(ty, types, seed / 3) })
            }
            Some(case) => case.name.clone().into(),
            None => Value::Null,
        },
        TypeDef::Enum(cases) => cases.get(choose(cases.len())).cloned().into(),
        TypeDef::Flags(flags) => {
            flags.iter().take(choose(flags.len() + 1)).cloned().map(Value::from).collect()
        }
        TypeDef::Alias(ty) => value(ty, types, seed),
    }
}

fn object(fields: &[Field], types: &IndexMap<String, TypeDecl>, seed: u64) -> Value {
    let entries = fields.iter().enumerate().filter_map(|(index, field)| {
        let seed = seed.wrapping_mul(17).wrapping_add(index as u64);
        // What may be left out is left out now and then.
        if field.default.is_some() && seed.is_multiple_of(3) {
            return None;
        }
        Some((field.name.clone(), value(&field.ty, types, seed)))
    });
    Value::Object(entries.collect::<Object<_, _>>())
}

fn is_option(ty: &Type, types: &IndexMap<String, TypeDecl>) -> bool {
    matches!(opened(ty, types), Type::Option(_))
}

fn is_u8(ty: &Type, types: &IndexMap<String, TypeDecl>) -> bool {
    matches!(opened(ty, types), Type::U8)
}

fn opened<'a>(ty: &'a Type, types: &'a IndexMap<String, TypeDecl>) -> &'a Type {
    let Type::Named(name) = ty else { return ty };
    match types.get(name).map(|decl| &decl.def) {
        Some(TypeDef::Alias(target)) => opened(target, types),
        _ => ty,
    }
}

fn pick<const N: usize>(seed: u64, from: [Value; N]) -> Value {
    let index = usize::try_from(seed % N as u64).unwrap_or_default();
    from.into_iter().nth(index).unwrap_or_default()
}

fn described(index: Index) -> String {
    format!("What {} means: \"this\", # and 'that'.", index.get(&WORDS))
}

/// Gives each name once.
#[derive(Clone)]
struct Names {
    next: usize,
    round: usize,
    left: usize,
}

impl Names {
    fn take(&mut self) -> String {
        if self.left == 0 {
            self.round += 1;
            self.left = WORDS.len();
        }
        self.left -= 1;
        let word = WORDS.get(self.next).copied().unwrap_or("word");
        self.next = (self.next + 1) % WORDS.len();
        if self.round == 0 { word.into() } else { format!("{word}-x{}", self.round) }
    }

    fn starting(offset: Index) -> Self {
        Self { next: offset.index(WORDS.len()), round: 0, left: WORDS.len() }
    }
}

/// Types whose `Named` hold a number instead of a name, until names are known.
fn ty() -> impl Strategy<Value = Type> {
    let leaf = prop_oneof![
        Just(Type::Bool),
        Just(Type::S8),
        Just(Type::S16),
        Just(Type::S32),
        Just(Type::S64),
        Just(Type::U8),
        Just(Type::U16),
        Just(Type::U32),
        Just(Type::U64),
        Just(Type::F32),
        Just(Type::F64),
        Just(Type::Char),
        Just(Type::String),
        (0_usize..100).prop_map(|index| Type::Named(index.to_string())),
    ];
    leaf.prop_recursive(3, 6, 3, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        prop_oneof![
            boxed.clone().prop_map(Type::List),
            boxed.clone().prop_map(Type::Option),
            vec(inner, 1..4).prop_map(Type::Tuple),
            (option::of(boxed.clone()), option::of(boxed))
                .prop_map(|(ok, err)| Type::Result { ok, err }),
        ]
    })
}

/// Puts names in for numbers; without any named type a number is a `u64`.
fn resolved(ty: Type, names: &[String]) -> Type {
    let each = |ty: Box<Type>| Box::new(resolved(*ty, names));
    match ty {
        Type::Named(number) => {
            let index = number.parse::<usize>().unwrap_or_default();
            let name = index.checked_rem(names.len()).and_then(|index| names.get(index));
            name.map_or(Type::U64, |name| Type::Named(name.clone()))
        }
        Type::List(inner) => Type::List(each(inner)),
        Type::Option(inner) => Type::Option(each(inner)),
        Type::Tuple(all) => Type::Tuple(all.into_iter().map(|ty| resolved(ty, names)).collect()),
        Type::Result { ok, err } => Type::Result { ok: ok.map(each), err: err.map(each) },
        simple => simple,
    }
}

/// A field before it has a name.
#[derive(Debug, Clone)]
struct FieldDraft {
    ty: Type,
    default: Option<u64>,
    was: bool,
    about: Option<Index>,
}

/// Fields with the place in [`WORDS`] where their names start.
type Fields = (Index, Vec<FieldDraft>);

fn fields(least: usize) -> impl Strategy<Value = Fields> {
    let field = (
        ty(),
        option::weighted(0.2, any::<u64>()),
        any::<bool>(),
        option::weighted(0.2, any::<Index>()),
    )
        .prop_map(|(ty, default, was, about)| FieldDraft { ty, default, was, about });
    (any::<Index>(), vec(field, least..4))
}

fn named_fields((offset, drafts): Fields, types: &IndexMap<String, TypeDecl>) -> Vec<Field> {
    let mut names = Names::starting(offset);
    let known: Vec<String> = types.keys().cloned().collect();
    let fields = drafts.into_iter().map(|draft| {
        let ty = resolved(draft.ty, &known);
        let name = names.take();
        Field {
            at: Location::default(),
            default: draft.default.map(|seed| value(&ty, types, seed)),
            was: draft.was.then(|| format!("old-{name}")),
            about: draft.about.map(described),
            name,
            ty,
        }
    });
    fields.collect()
}

/// A named type before it has a name.
#[derive(Debug, Clone)]
enum Shape {
    Record(Fields),
    Variant(Vec<Option<Type>>),
    Enum(usize),
    Flags(usize),
    Alias(Type),
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        fields(1).prop_map(Shape::Record),
        vec(option::of(ty()), 1..4).prop_map(Shape::Variant),
        (1_usize..5).prop_map(Shape::Enum),
        (1_usize..5).prop_map(Shape::Flags),
        ty().prop_map(Shape::Alias),
    ]
}

/// Each type may hold those before it, so that none holds itself.
fn declared(shapes: Vec<Shape>, names: &mut Names) -> IndexMap<String, TypeDecl> {
    let mut types = IndexMap::new();
    for shape in shapes {
        let known: Vec<String> = types.keys().cloned().collect();
        let mut labels = names.clone();
        let def = match shape {
            Shape::Record(fields) => TypeDef::Record(named_fields(fields, &types)),
            Shape::Variant(payloads) => {
                let cases = payloads.into_iter().map(|payload| Case {
                    at: Location::default(),
                    name: labels.take(),
                    payload: payload.map(|ty| resolved(ty, &known)),
                });
                TypeDef::Variant(cases.collect())
            }
            Shape::Enum(count) => TypeDef::Enum((0..count).map(|_| labels.take()).collect()),
            Shape::Flags(count) => TypeDef::Flags((0..count).map(|_| labels.take()).collect()),
            Shape::Alias(ty) => TypeDef::Alias(resolved(ty, &known)),
        };
        let mut name = names.take();
        if name == "null" {
            name = names.take();
        }
        types.insert(name, TypeDecl { at: Location::default(), about: None, def });
    }
    types
}

/// An aggregate before its elements have names.
#[derive(Debug, Clone)]
struct AggregateDraft {
    state: Fields,
    commands: Vec<(Fields, Vec<Index>, Vec<Index>)>,
    events: Vec<(Fields, bool)>,
    rejections: Vec<Fields>,
    runtime: Runtime,
    about: Option<Index>,
    seed: u64,
}

fn aggregate() -> impl Strategy<Value = AggregateDraft> {
    let command = (fields(0), vec(any::<Index>(), 1..4), vec(any::<Index>(), 0..3));
    (
        fields(1),
        vec(command, 1..4),
        vec((fields(0), any::<bool>()), 1..5),
        vec(fields(0), 0..4),
        runtime(),
        option::of(any::<Index>()),
        any::<u64>(),
    )
        .prop_map(|(state, commands, events, rejections, runtime, about, seed)| {
            AggregateDraft { state, commands, events, rejections, runtime, about, seed }
        })
}

fn runtime() -> impl Strategy<Value = Runtime> {
    (1_u64..1000, 1_u64..100_000, 1_u32..1000, 1_u64..4096, any::<bool>()).prop_map(
        |(snapshot_every, ms, count, mebibytes, turn)| Runtime {
            snapshot_every,
            idle: Duration::from_secs(ms),
            mailbox: count,
            memory: mebibytes << 20,
            deadline: Duration::from_millis(ms),
            dedupe: count,
            isolation: if turn { Isolation::Turn } else { Isolation::Actor },
        },
    )
}

impl AggregateDraft {
    /// Names the elements and adds the aggregate, with a scenario, to `model`.
    fn build(self, name: String, model: &mut Model, mut names: Names) {
        let types = &model.types;
        let at = Location::default();
        let mut events = IndexMap::new();
        for (fields, renamed) in self.events {
            let name = names.take();
            let was = renamed.then(|| format!("old-{name}"));
            let fields = named_fields(fields, types);
            events.insert(name, Event { at, about: None, was, fields });
        }
        let mut rejections = IndexMap::new();
        for fields in self.rejections {
            let fields = named_fields(fields, types);
            rejections.insert(names.take(), Rejection { at, about: None, was: None, fields });
        }
        let mut commands = IndexMap::new();
        let chosen = |indices: Vec<Index>, from: Vec<&String>| -> Vec<String> {
            let mut chosen = indexmap::IndexSet::new();
            chosen.extend(
                indices.into_iter().filter(|_| !from.is_empty()).map(|i| (*i.get(&from)).clone()),
            );
            chosen.into_iter().collect()
        };
        for (fields, emits, rejects) in self.commands {
            let command = Command {
                at,
                about: None,
                fields: named_fields(fields, types),
                emits: chosen(emits, events.keys().collect()),
                rejects: chosen(rejects, rejections.keys().collect()),
            };
            commands.insert(names.take(), command);
        }
        let upcasts = upcasts(&events, types, self.seed);
        let about = self.about.map(described);
        let state = named_fields(self.state, types);
        let runtime = self.runtime;
        let aggregate = Aggregate {
            at,
            name: name.clone(),
            about,
            state,
            commands,
            events,
            rejections,
            upcasts,
            runtime,
        };
        model.scenarios.extend(scenario(&aggregate, types, self.seed));
        model.aggregates.insert(name, aggregate);
    }
}

/// Upcasts of events that no model here stores, and of some that it does.
fn upcasts(
    events: &IndexMap<String, Event>,
    types: &IndexMap<String, TypeDecl>,
    seed: u64,
) -> IndexMap<String, Upcast> {
    let at = Location::default();
    let mut upcasts = IndexMap::new();
    if seed.is_multiple_of(4) {
        upcasts.insert("zz-strange".to_owned(), Upcast { at, how: How::Component });
    }
    let Some((name, event)) = events.first().filter(|_| seed.is_multiple_of(2)) else {
        return upcasts;
    };
    let retired = Rules { to: Some(name.clone()), ..Rules::default() };
    upcasts.insert("zz-retired".to_owned(), Upcast { at, how: How::Rules(Box::new(retired)) });
    let mut rules = Rules { drop: vec!["zz-gone".to_owned()], ..Rules::default() };
    for (index, field) in event.fields.iter().enumerate() {
        let name = field.name.clone();
        let parts = record_of(types, &field.ty).unwrap_or_default();
        let moves = |part: &Field| event.fields.iter().all(|field| field.name != part.name);
        if !parts.is_empty() && parts.iter().all(moves) {
            rules.into.insert(name, parts.iter().map(|part| part.name.clone()).collect());
            if let Some(part) = parts.first() {
                rules.rename.insert("zz-part".to_owned(), part.name.clone());
            }
            break;
        }
        match index {
            0 => drop(rules.rename.insert("zz-was".to_owned(), name)),
            1 => drop(rules.set.insert(name, value(&field.ty, types, seed / 5))),
            _ => drop(rules.default.insert(name, value(&field.ty, types, seed / 7))),
        }
    }
    upcasts.insert(name.clone(), Upcast { at, how: How::Rules(Box::new(rules)) });
    upcasts
}

/// A scenario with every event behind it and one step per command.
fn scenario(of: &Aggregate, types: &IndexMap<String, TypeDecl>, seed: u64) -> Option<Scenario> {
    let named = |name: &String, fields: &[Field]| Named {
        at: Location::default(),
        name: name.clone(),
        fields: object(fields, types, seed),
    };
    let event = |name: &String| of.events.get(name).map(|event| named(name, &event.fields));
    let steps = of.commands.iter().map(|(name, command)| {
        let rejected = command.rejects.first().filter(|_| seed.is_multiple_of(3));
        let rejected = rejected.and_then(|name| Some((name, of.rejections.get(name)?)));
        let then = match rejected {
            Some((name, rejection)) => Then::Rejected(named(name, &rejection.fields)),
            None => Then::Accepted {
                events: Some(command.emits.iter().filter_map(event).collect()),
                state: seed.is_multiple_of(2).then(|| object(&of.state, types, seed)),
            },
        };
        Step {
            when: named(name, &command.fields),
            when_at: seed.is_multiple_of(2).then_some(seed % 4_000_000_000_000),
            by: seed.is_multiple_of(5).then(|| "alice: \"boss\"".into()),
            seed: (seed % 7 < 4).then_some(seed),
            then,
        }
    });
    Some(Scenario {
        at: Location::default(),
        name: format!("{} does: 'everything'", of.name),
        aggregate: of.name.clone(),
        id: TEXTS
            .get(usize::try_from(seed % 15).ok()?)
            .map_or_else(String::new, |text| format!("{text}/x")),
        given: of.events.keys().filter_map(event).collect(),
        steps: steps.collect(),
    })
}
