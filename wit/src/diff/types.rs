//! The rules for fields and types, and the list that the changes are gathered in.

use std::collections::{HashMap, HashSet, VecDeque};

use super::{Change, Impact, Side};
use crate::{
    Model,
    model::{Field, Location, Type, TypeDecl, TypeDef},
    wit::{resolve, spell},
};

/// What a value is used for: whose rules a change to it must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// Stored for good, and read by every later model.
    Event,
    /// Sent by callers.
    Command,
    /// Read by callers.
    Rejection,
    /// Made anew from the events.
    State,
}

/// An element and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    element: String,
    side: Side,
    at: Location,
}

impl Place {
    pub(super) const fn new(element: String, at: Location) -> Self {
        Self { element, side: Side::New, at }
    }

    pub(super) const fn removed(element: String, at: Location) -> Self {
        Self { element, side: Side::Old, at }
    }

    /// An element below this one.
    pub(super) fn child(&self, name: &str, at: Location) -> Self {
        Self::new(format!("{}.{name}", self.element), at)
    }

    /// An element below this one that only the old model has.
    pub(super) fn gone(&self, name: &str, at: Location) -> Self {
        Self { side: Side::Old, ..self.child(name, at) }
    }

    pub(super) const fn at(&self) -> Location {
        self.at
    }
}

/// How a new type takes the values of an old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// The same values, written the same way.
    Same,
    /// All old values, written the same way, and more.
    Wider,
    /// All old values, and none.
    Optional,
    /// Not all old values, or not as they are written.
    Other,
}

/// Two definitions that hold each other's place in the old and the new model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pair {
    old: String,
    new: String,
    role: Role,
}

/// Goes through two models and gathers what differs.
pub(super) struct Walk<'m> {
    old: &'m Model,
    new: &'m Model,
    changes: Vec<Change>,
    /// Where a change is in `changes`, by its element and its text without the reason.
    told: HashMap<(String, String), usize>,
    seen: HashSet<Pair>,
    /// Pairs still to compare, each with a place that reaches it.
    pairs: VecDeque<(Pair, String)>,
    /// How types of different names fit, so that each two are compared once.
    tried: HashMap<Pair, Fit>,
    /// Whether this walk only asks if two types fit.
    trial: bool,
}

impl<'m> Walk<'m> {
    pub(super) fn new(old: &'m Model, new: &'m Model) -> Self {
        Self {
            old,
            new,
            changes: Vec::new(),
            told: HashMap::new(),
            seen: HashSet::new(),
            pairs: VecDeque::new(),
            tried: HashMap::new(),
            trial: false,
        }
    }

    /// The changes in the order of the new text, removals last.
    pub(super) fn into_changes(mut self) -> Vec<Change> {
        self.changes.sort_by_key(|change| (change.side, change.at));
        self.changes
    }

    /// A compatible change.
    pub(super) fn fine(&mut self, place: &Place, what: &str) {
        self.note(Impact::Compatible, place, what, "");
    }

    /// A breaking change, and why it breaks.
    pub(super) fn breaking(&mut self, place: &Place, what: &str, why: &str) {
        self.note(Impact::Breaking, place, what, why);
    }

    /// Notes a change once; told again, the worse impact stays.
    fn note(&mut self, impact: Impact, place: &Place, what: &str, why: &str) {
        let change = Change {
            impact,
            element: place.element.clone(),
            what: if why.is_empty() { what.into() } else { format!("{what}: {why}") },
            side: place.side,
            at: place.at,
        };
        let key = (place.element.clone(), what.to_owned());
        match self.told.get(&key).and_then(|index| self.changes.get_mut(*index)) {
            Some(told) if told.impact < impact => *told = change,
            Some(_) => {}
            None => {
                self.told.insert(key, self.changes.len());
                self.changes.push(change);
            }
        }
    }

    /// An element's description.
    pub(super) fn about(&mut self, place: &Place, old: &Option<String>, new: &Option<String>) {
        if old != new && !self.trial {
            self.fine(place, "the description changed");
        }
    }

    /// An element's name and the name that it had before, in the old and in the new model.
    pub(super) fn name(
        &mut self,
        place: &Place,
        role: Role,
        (old, old_was): (&String, &Option<String>),
        (new, new_was): (&String, &Option<String>),
    ) {
        if old != new {
            self.fine(place, &format!("its name was `{old}` and is `{new}`"));
        }
        // Names that the old model could still read, and the new one cannot.
        let lost = old_was.as_ref().filter(|was| *was != new && Some(*was) != new_was.as_ref());
        let Some(lost) = lost else { return };
        let what = format!("its earlier name `{lost}` is no longer given by `was`");
        match role {
            Role::Event => {
                let why = "what is stored under that name can no longer be read";
                self.breaking(place, &what, why);
            }
            Role::Command => {
                self.breaking(place, &what, "callers that still send that name are refused");
            }
            Role::Rejection | Role::State => self.fine(place, &what),
        }
    }

    /// The fields of two records that hold each other's place.
    pub(super) fn fields(&mut self, place: &Place, role: Role, old: &[Field], new: &[Field]) {
        let olds: HashMap<&str, &Field> = old.iter().map(|it| (it.name.as_str(), it)).collect();
        let news: HashSet<&str> = new.iter().map(|it| it.name.as_str()).collect();
        let mut kept = HashSet::new();
        for field in new {
            let at = place.child(&field.name, field.at);
            let former = field.was.as_deref().filter(|was| !news.contains(was));
            let found = olds
                .get(field.name.as_str())
                .or_else(|| former.and_then(|was| olds.get(was)))
                .copied();
            match found {
                Some(before) if kept.insert(before.name.as_str()) => {
                    self.field(&at, role, before, field);
                }
                _ => self.new_field(&at, role, field),
            }
        }
        for field in old.iter().filter(|field| !kept.contains(field.name.as_str())) {
            self.removed_field(&place.gone(&field.name, field.at), role);
        }
    }

    fn field(&mut self, place: &Place, role: Role, old: &Field, new: &Field) {
        self.name(place, role, (&old.name, &old.was), (&new.name, &new.was));
        self.about(place, &old.about, &new.about);
        self.default(place, role, old, new);
        let mut fit = self.fit(&place.element, role, &old.ty, &new.ty);
        if fit == Fit::Other
            && let Type::Option(inner) = resolve(self.new, &new.ty)
            && !matches!(resolve(self.old, &old.ty), Type::Option(_))
            && self.fit(&place.element, role, &old.ty, inner) == Fit::Same
        {
            fit = Fit::Optional;
        }
        self.retyped(place, role, fit, &old.ty, &new.ty);
    }

    fn retyped(&mut self, place: &Place, role: Role, fit: Fit, old: &Type, new: &Type) {
        if fit == Fit::Same {
            return;
        }
        let what = match (spell(old), spell(new)) {
            (old, new) if old == new => format!("the meaning of its type `{old}` changed"),
            (old, new) => format!("its type was `{old}` and is `{new}`"),
        };
        let why = match (role, fit) {
            (Role::State, _)
            | (Role::Event, Fit::Wider)
            | (Role::Command, Fit::Wider | Fit::Optional) => return self.fine(place, &what),
            (Role::Event, _) => {
                "stored events hold the old type; only an upcast could read them, and aether has \
                 none"
            }
            (Role::Command, _) => "callers that send the old type are refused",
            (Role::Rejection, _) => "callers read the old type",
        };
        self.breaking(place, &what, why);
    }

    fn new_field(&mut self, place: &Place, role: Role, field: &Field) {
        let may_be_missing =
            field.default.is_some() || matches!(resolve(self.new, &field.ty), Type::Option(_));
        let what = if may_be_missing { "new field" } else { "new field that must be given" };
        let why = match role {
            Role::Event if !may_be_missing => {
                "stored events do not have it; make it an `option<..>`, give it a `default`, or \
                 say by `was` how it was called"
            }
            Role::Command if !may_be_missing => {
                "callers do not send it; make it an `option<..>`, give it a `default`, or say by \
                 `was` how it was called"
            }
            _ => return self.fine(place, what),
        };
        self.breaking(place, what, why);
    }

    fn removed_field(&mut self, place: &Place, role: Role) {
        let what = "the field was removed";
        match role {
            Role::Event => {
                let why = "stored events have it; only an upcast could read them, and aether has \
                           none";
                self.breaking(place, what, why);
            }
            Role::Command => self.breaking(place, what, "callers that send it are refused"),
            Role::Rejection => self.breaking(place, what, "callers may read it"),
            Role::State => self.fine(place, what),
        }
    }

    fn default(&mut self, place: &Place, role: Role, old: &Field, new: &Field) {
        let optional = matches!(resolve(self.old, &old.ty), Type::Option(_));
        let (what, why_event, why_command) = match (&old.default, &new.default) {
            (None, None) => return,
            (Some(before), Some(after)) if before == after => return,
            // Everything stored has the field, so the default is never asked for.
            (None, Some(after)) if !optional => {
                return self.fine(place, &format!("it has the default `{after}` now"));
            }
            (None, Some(after)) => (
                format!("it has the default `{after}` now"),
                "stored events without it were read as none",
                "",
            ),
            (Some(before), Some(after)) => (
                format!("its default was `{before}` and is `{after}`"),
                "stored events without it would read differently",
                "",
            ),
            (Some(before), None) => (
                format!("its default `{before}` was removed"),
                "stored events without it would read differently or not at all",
                if optional { "" } else { "callers that leave it out are refused" },
            ),
        };
        match role {
            Role::Event => self.breaking(place, &what, why_event),
            Role::Command if !why_command.is_empty() => self.breaking(place, &what, why_command),
            _ => self.fine(place, &what),
        }
    }

    /// Compares the definitions of all named types that the walk came by, and lists those that
    /// are new or gone.
    pub(super) fn named_types(&mut self) {
        self.compare_pairs();
        let seen: HashSet<&str> = self.seen.iter().map(|pair| pair.new.as_str()).collect();
        let seen_old: HashSet<&str> = self.seen.iter().map(|pair| pair.old.as_str()).collect();
        let (mut added, mut removed, mut unused) = (Vec::new(), Vec::new(), Vec::new());
        for (name, decl) in &self.new.types {
            if seen.contains(name.as_str()) {
            } else if self.old.types.contains_key(name) {
                unused.push(name.clone());
            } else {
                added.push(Place::new(format!("types.{name}"), decl.at));
            }
        }
        for (name, decl) in &self.old.types {
            if !self.new.types.contains_key(name) && !seen_old.contains(name.as_str()) {
                removed.push(Place::removed(format!("types.{name}"), decl.at));
            }
        }
        added.iter().for_each(|place| self.fine(place, "new type"));
        removed.iter().for_each(|place| self.fine(place, "the type was removed"));
        for name in unused {
            self.pair(&name, &name, Role::State, "");
        }
        self.compare_pairs();
    }

    /// Notes that two named types must be compared under the rules of `role`.
    fn pair(&mut self, old: &str, new: &str, role: Role, via: &str) {
        let pair = Pair { old: old.into(), new: new.into(), role };
        if self.seen.insert(pair.clone()) {
            self.pairs.push_back((pair, via.into()));
        }
    }

    fn compare_pairs(&mut self) {
        while let Some((pair, via)) = self.pairs.pop_front() {
            let (old, new) = (self.old, self.new);
            if let (Some(before), Some(after)) =
                (old.types.get(&pair.old), new.types.get(&pair.new))
            {
                self.declared(&pair, &via, before, after);
            }
        }
    }

    fn declared(&mut self, pair: &Pair, via: &str, old: &'m TypeDecl, new: &'m TypeDecl) {
        let place = Place::new(format!("types.{}", pair.new), new.at);
        if pair.old != pair.new {
            self.renamed_type(&place, pair);
        }
        self.about(&place, &old.about, &new.about);
        match (Shape::of(old), Shape::of(new)) {
            (Shape::Record(old), Shape::Record(new)) => self.fields(&place, pair.role, old, new),
            (Shape::Cases(old), Shape::Cases(new)) | (Shape::Flags(old), Shape::Flags(new)) => {
                self.cases(&place, pair.role, via, &old, &new);
            }
            (Shape::Alias(old), Shape::Alias(new)) => {
                let fit = self.fit(via, pair.role, old, new);
                self.retyped(&place, pair.role, fit, old, new);
            }
            (Shape::Alias(old), _) => {
                let new = Type::Named(pair.new.clone());
                let fit = self.fit(via, pair.role, old, &new);
                self.retyped(&place, pair.role, fit, old, &new);
            }
            (_, Shape::Alias(new)) => {
                let old = Type::Named(pair.old.clone());
                let fit = self.fit(via, pair.role, &old, new);
                self.retyped(&place, pair.role, fit, &old, new);
            }
            (was, is) => {
                let what = format!("it was {} and is {}", was.describe(), is.describe());
                self.unless_state(&place, pair.role, &what, via);
            }
        }
    }

    fn renamed_type(&mut self, place: &Place, pair: &Pair) {
        if !self.trial {
            self.fine(place, &format!("its name was `{}` and is `{}`", pair.old, pair.new));
        }
    }

    /// The cases of two variants, enums or sets of flags.
    fn cases(&mut self, place: &Place, role: Role, via: &str, old: &Cases<'_>, new: &Cases<'_>) {
        let olds: HashMap<&str, Option<&Type>> =
            old.iter().map(|(name, payload, _)| (*name, *payload)).collect();
        let news: HashSet<&str> = new.iter().map(|(name, ..)| *name).collect();
        for (name, payload, at) in new {
            let place = place.child(name, *at);
            match (olds.get(name), payload) {
                (None, _) => self.fine(&place, "new case"),
                (Some(None), None) => {}
                (Some(Some(old)), Some(new)) => {
                    let fit = self.fit(&place.element, role, old, new);
                    self.retyped(&place, role, fit, old, new);
                }
                (Some(None), Some(new)) => {
                    let what = format!("it had no payload and has `{}`", spell(new));
                    self.unless_state(&place, role, &what, via);
                }
                (Some(Some(old)), None) => {
                    let what = format!("it had the payload `{}` and has none", spell(old));
                    self.unless_state(&place, role, &what, via);
                }
            }
        }
        for (name, _, at) in old.iter().filter(|(name, ..)| !news.contains(name)) {
            self.unless_state(&place.gone(name, *at), role, "the case was removed", via);
        }
    }

    /// A change to a named type that breaks whatever is stored or sent.
    fn unless_state(&mut self, place: &Place, role: Role, what: &str, via: &str) {
        let why = match role {
            Role::State => return self.fine(place, what),
            Role::Event => format!(
                "stored events may hold it (`{via}`); only an upcast could read them, and aether \
                 has none"
            ),
            Role::Command => format!("callers may send it (`{via}`)"),
            Role::Rejection => format!("callers may read it (`{via}`)"),
        };
        self.breaking(place, what, &why);
    }

    /// How `new` takes the values of `old`. What differs inside named types that hold each
    /// other's place is told there, and is `Same` here.
    fn fit(&mut self, via: &str, role: Role, old: &Type, new: &Type) -> Fit {
        if let (Type::Named(before), Type::Named(after)) = (old, new)
            && self.same_or_renamed(before, after)
        {
            self.pair(before, after, role, via);
            return Fit::Same;
        }
        match (resolve(self.old, old), resolve(self.new, new)) {
            (Type::Named(old), Type::Named(new)) => self.fit_named(via, role, old, new),
            (Type::List(old), Type::List(new)) => {
                // Bytes are written as base64, all other lists as arrays.
                let bytes = |model, item| *resolve(model, item) == Type::U8;
                if bytes(self.old, old) == bytes(self.new, new) {
                    self.fit(via, role, old, new)
                } else {
                    Fit::Other
                }
            }
            (Type::Option(old), Type::Option(new)) => {
                // An option directly inside an option is written in another way.
                let nested = |model, inner| matches!(resolve(model, inner), Type::Option(_));
                if nested(self.old, old) == nested(self.new, new) {
                    self.fit(via, role, old, new)
                } else {
                    Fit::Other
                }
            }
            (Type::Tuple(old), Type::Tuple(new)) if old.len() == new.len() => old
                .iter()
                .zip(new)
                .map(|(old, new)| self.fit(via, role, old, new))
                .max()
                .unwrap_or(Fit::Same),
            (Type::Result { ok: old, err: old_err }, Type::Result { ok: new, err: new_err }) => {
                let ok = self.fit_side(via, role, old.as_deref(), new.as_deref());
                ok.max(self.fit_side(via, role, old_err.as_deref(), new_err.as_deref()))
            }
            (old, new) if old == new => Fit::Same,
            (old, new) if widens(old, new) => Fit::Wider,
            _ => Fit::Other,
        }
    }

    fn fit_side(&mut self, via: &str, role: Role, old: Option<&Type>, new: Option<&Type>) -> Fit {
        match (old, new) {
            (None, None) => Fit::Same,
            (Some(old), Some(new)) => self.fit(via, role, old, new),
            _ => Fit::Other,
        }
    }

    /// Whether two names stand for one type: the same name, or one that only the old model has
    /// and one that only the new model has.
    fn same_or_renamed(&self, old: &str, new: &str) -> bool {
        old == new || !self.new.types.contains_key(old) && !self.old.types.contains_key(new)
    }

    /// Compares two types of different names by their structure.
    fn fit_named(&mut self, via: &str, role: Role, old: &str, new: &str) -> Fit {
        let pair = Pair { old: old.into(), new: new.into(), role };
        if old == new || self.trial {
            self.pair(old, new, role, via);
            return Fit::Same;
        }
        if let Some(fit) = self.tried.get(&pair) {
            return *fit;
        }
        let mut trial = Walk { trial: true, ..Walk::new(self.old, self.new) };
        trial.pair(old, new, role, via);
        trial.compare_pairs();
        let fit = match trial.changes.iter().map(|change| change.impact).max() {
            None => Fit::Same,
            Some(Impact::Compatible) => Fit::Wider,
            Some(Impact::Breaking) => Fit::Other,
        };
        self.tried.insert(pair, fit);
        fit
    }
}

/// Names, what they carry, and where they stand.
type Cases<'m> = Vec<(&'m str, Option<&'m Type>, Location)>;

/// A definition by what decides how its values are written.
enum Shape<'m> {
    Record(&'m [Field]),
    /// A variant or an enum: both write a case without payload as its name.
    Cases(Cases<'m>),
    Flags(Cases<'m>),
    Alias(&'m Type),
}

impl<'m> Shape<'m> {
    fn of(decl: &'m TypeDecl) -> Self {
        let bare = |names: &'m [String]| {
            names.iter().map(|name| (name.as_str(), None, decl.at)).collect::<Cases<'m>>()
        };
        match &decl.def {
            TypeDef::Record(fields) => Self::Record(fields),
            TypeDef::Variant(cases) => Self::Cases(
                cases.iter().map(|it| (it.name.as_str(), it.payload.as_ref(), it.at)).collect(),
            ),
            TypeDef::Enum(names) => Self::Cases(bare(names)),
            TypeDef::Flags(names) => Self::Flags(bare(names)),
            TypeDef::Alias(ty) => Self::Alias(ty),
        }
    }

    const fn describe(&self) -> &'static str {
        match self {
            Self::Record(_) => "a record",
            Self::Cases(_) => "a variant or enum",
            Self::Flags(_) => "a set of flags",
            Self::Alias(_) => "another name",
        }
    }
}

/// Whether `new` is a number type that holds every value of the number type `old`.
fn widens(old: &Type, new: &Type) -> bool {
    let integer = |ty: &Type| match ty {
        Type::U8 => Some((false, 8)),
        Type::U16 => Some((false, 16)),
        Type::U32 => Some((false, 32)),
        Type::U64 => Some((false, 64)),
        Type::S8 => Some((true, 8)),
        Type::S16 => Some((true, 16)),
        Type::S32 => Some((true, 32)),
        Type::S64 => Some((true, 64)),
        _ => None,
    };
    match (integer(old), integer(new)) {
        (Some((old_signed, old_bits)), Some((new_signed, new_bits))) => {
            old_bits < new_bits && (new_signed || !old_signed)
        }
        _ => *old == Type::F32 && *new == Type::F64,
    }
}
