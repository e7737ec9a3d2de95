//! The rules for fields and types, and the list that the changes are gathered in.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet, VecDeque},
};

use serde_json::Value;

use super::{
    Change, EventRef, Impact, Side,
    mapping::Moved,
    shape::{Cases, Shape, widens},
};
use crate::{
    Model,
    model::{Event, Field, Location, Rules, Type, TypeDecl},
    wit::{reached_from, resolve, spell},
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

    /// Another part of what this is a part of.
    pub(super) fn beside(&self, name: &str, at: Location) -> Self {
        let above = self.element.rsplit_once('.').map_or("", |(above, _)| above);
        Self::new(format!("{above}.{name}"), at)
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

/// The stored events that are being compared.
pub(super) struct Subject<'m> {
    pub aggregate: &'m str,
    /// The name that they are stored under.
    pub event: &'m str,
    /// The name that their upcast stands under.
    pub upcast: Option<&'m str>,
    /// What the upcast does, if the model does it.
    pub rules: Option<&'m Rules>,
    /// Whether the component reads them, whatever has changed.
    pub covered: bool,
}

/// A change, and what is needed to tell which stored events it concerns.
struct Noted {
    change: Change,
    /// The old type that it is in, if stored events may hold it.
    held_in: Option<String>,
}

/// Goes through two models and gathers what differs.
pub(super) struct Walk<'m> {
    old: &'m Model,
    new: &'m Model,
    changes: Vec<Noted>,
    /// The stored events that are compared now.
    subject: Option<Subject<'m>>,
    /// The old type that is compared now under the rules of stored events.
    holder: Option<String>,
    /// Fields of stored events that are read as they stand or moved, with their types.
    roots: Vec<(EventRef, Type)>,
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
            subject: None,
            holder: None,
            roots: Vec::new(),
            told: HashMap::new(),
            seen: HashSet::new(),
            pairs: VecDeque::new(),
            tried: HashMap::new(),
            trial: false,
        }
    }

    /// A walk that only asks whether values of one model are values of the other.
    pub(super) fn trial(old: &'m Model, new: &'m Model) -> Self {
        Self { trial: true, ..Self::new(old, new) }
    }

    /// The changes in the order of the new text, removals last.
    pub(super) fn into_changes(mut self) -> Vec<Change> {
        let held: Vec<HashSet<&str>> =
            self.roots.iter().map(|(_, ty)| reached_from(self.old, vec![ty])).collect();
        for Noted { change, held_in } in &mut self.changes {
            let Some(ty) = held_in else { continue };
            for ((event, _), held) in self.roots.iter().zip(&held) {
                if held.contains(ty.as_str()) && !change.stored.contains(event) {
                    change.stored.push(event.clone());
                }
            }
        }
        let mut changes: Vec<Change> = self.changes.into_iter().map(|noted| noted.change).collect();
        changes.sort_by_key(|change| (change.side, change.at));
        changes
    }

    /// Says which stored events are compared from now on; none = no stored ones.
    pub(super) fn about_events(&mut self, subject: Option<Subject<'m>>) {
        self.subject = subject;
    }

    /// A compatible change.
    pub(super) fn fine(&mut self, place: &Place, what: &str) {
        self.note(Impact::Compatible, place, what, "", Vec::new());
    }

    /// A breaking change, and why it breaks.
    pub(super) fn breaking(&mut self, place: &Place, what: &str, why: &str) {
        self.note(Impact::Breaking, place, what, why, Vec::new());
    }

    /// A change with which stored events cannot be read any more, and why, unless an upcast
    /// covers it. `field` is the stored field that it is about.
    pub(super) fn unread(&mut self, place: &Place, what: &str, why: &str, field: Option<&str>) {
        let stored: Vec<EventRef> = self.concerned(field).into_iter().collect();
        match &self.subject {
            Some(Subject { covered: true, upcast: Some(name), .. }) => {
                let why = covered(name);
                self.note(Impact::Compatible, place, what, &why, stored);
            }
            Some(Subject { upcast: Some(name), .. }) => {
                let why =
                    format!("{why}, and the upcast of `{name}` does not say what becomes of it");
                self.note(Impact::NeedsUpcast, place, what, &why, stored);
            }
            _ => self.note(Impact::NeedsUpcast, place, what, why, stored),
        }
    }

    /// A change to stored events that their upcast covers.
    pub(super) fn covered(&mut self, place: &Place, what: &str, field: Option<&str>) {
        let Some(name) = self.subject.as_ref().and_then(|subject| subject.upcast) else { return };
        let stored = self.concerned(field).into_iter().collect();
        self.note(Impact::Compatible, place, what, &covered(name), stored);
    }

    fn concerned(&self, field: Option<&str>) -> Option<EventRef> {
        let Subject { aggregate, event, .. } = self.subject.as_ref()?;
        let (aggregate, event) = ((*aggregate).to_owned(), (*event).to_owned());
        Some(EventRef { aggregate, event, field: field.map(str::to_owned) })
    }

    /// A change that breaks whoever has the role; `field` is the old field that it is about.
    fn refuse(&mut self, role: Role, place: &Place, what: &str, why: &str, field: Option<&str>) {
        if role == Role::Event {
            self.unread(place, what, why, field);
        } else {
            self.breaking(place, what, why);
        }
    }

    /// Notes a change once; told again, the worse impact stays.
    fn note(
        &mut self,
        impact: Impact,
        place: &Place,
        what: &str,
        why: &str,
        stored: Vec<EventRef>,
    ) {
        let change = Change {
            impact,
            element: place.element.clone(),
            what: if why.is_empty() { what.into() } else { format!("{what}: {why}") },
            side: place.side,
            at: place.at,
            stored,
        };
        let held_in = self.holder.clone().filter(|_| impact == Impact::NeedsUpcast);
        let key = (place.element.clone(), what.to_owned());
        match self.told.get(&key).and_then(|index| self.changes.get_mut(*index)) {
            Some(told) => {
                told.held_in = told.held_in.take().or(held_in);
                match told.change.impact.cmp(&impact) {
                    Ordering::Less => told.change = change,
                    Ordering::Equal => {
                        let known = &mut told.change.stored;
                        let new = change.stored.into_iter().filter(|event| !known.contains(event));
                        let new: Vec<_> = new.collect();
                        known.extend(new);
                    }
                    Ordering::Greater => {}
                }
            }
            None => {
                self.told.insert(key, self.changes.len());
                self.changes.push(Noted { change, held_in });
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
            Role::Event if self.rules().is_some_and(|rules| rules.takes(lost)) => {
                self.covered(place, &what, Some(old));
            }
            Role::Event => {
                let why = "what is stored under that name can no longer be read";
                self.unread(place, &what, why, Some(old));
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
            self.removed_field(&place.gone(&field.name, field.at), role, &field.name);
        }
    }

    /// A stored field that an upcast moves to `moved.to`, which stands at `place`.
    pub(super) fn moved(&mut self, place: &Place, moved: &Moved<'m>) {
        let Moved { from, some, to, .. } = moved;
        let ty = if *some { self.was_option(&from.ty).unwrap_or(&from.ty) } else { &from.ty };
        self.root(from);
        if self.fit_or_none(&place.element, Role::Event, ty, &to.ty) == Fit::Other {
            let what = format!("its type was `{}` and is `{}`", spell(&from.ty), spell(&to.ty));
            let upcast = self.subject.as_ref().and_then(|subject| subject.upcast);
            let why = format!(
                "the upcast of `{}` moves `{}` here as it is stored",
                upcast.unwrap_or_default(),
                from.name
            );
            let stored = self.concerned(Some(&from.name)).into_iter().collect();
            self.note(Impact::NeedsUpcast, place, &what, &why, stored);
        }
    }

    /// A field of a record that must be given, and that the upcast which makes the record does
    /// not give.
    pub(super) fn lacking(&mut self, place: &Place, to: &Field) {
        let upcast = self.subject.as_ref().and_then(|subject| subject.upcast);
        let what = format!(
            "the upcast of `{}` gives no `{}`, which must be given",
            upcast.unwrap_or_default(),
            to.name
        );
        let stored = self.concerned(None).into_iter().collect();
        self.note(Impact::NeedsUpcast, place, &what, "say it by `set` or `default`", stored);
    }

    /// Remembers that stored events hold a field.
    fn root(&mut self, field: &Field) {
        let covered = self.subject.as_ref().is_some_and(|subject| subject.covered);
        if !covered && let Some(event) = self.concerned(Some(&field.name)) {
            self.roots.push((event, field.ty.clone()));
        }
    }

    fn rules(&self) -> Option<&'m Rules> {
        self.subject.as_ref().and_then(|subject| subject.rules)
    }

    /// Whether values of `old` are read as `new` where they stand.
    pub(super) fn reads(&self, old: &Type, new: &Type) -> bool {
        let fit = self.tried_fit(old, new, Self::fit);
        matches!(fit, Fit::Same | Fit::Wider)
    }

    /// Whether values of `old` are values of `new`, which may also be an option of theirs.
    pub(super) fn takes(&self, old: &Type, new: &Type) -> bool {
        self.tried_fit(old, new, Self::fit_or_none) != Fit::Other
    }

    /// Whether stored events are read as `name` where they stand, without an upcast.
    pub(super) fn reads_event(&self, group: &Place, old: &Event, name: &str, new: &Event) -> bool {
        let mut trial = Self::trial(self.old, self.new);
        trial.fields(&group.child(name, new.at), Role::Event, &old.fields, &new.fields);
        trial.compare_pairs();
        trial.changes.iter().all(|noted| noted.change.impact == Impact::Compatible)
    }

    fn tried_fit(
        &self,
        old: &Type,
        new: &Type,
        fit: impl Fn(&mut Self, &str, Role, &Type, &Type) -> Fit,
    ) -> Fit {
        let mut trial = Self::trial(self.old, self.new);
        let fit = fit(&mut trial, "", Role::Event, old, new);
        trial.compare_pairs();
        let compatible = |noted: &Noted| noted.change.impact == Impact::Compatible;
        if trial.changes.iter().all(compatible) { fit } else { Fit::Other }
    }

    /// What an old type holds if it is an option.
    pub(super) fn was_option<'t>(&self, old: &'t Type) -> Option<&'t Type>
    where
        'm: 't,
    {
        match resolve(self.old, old) {
            Type::Option(some) => Some(some),
            _ => None,
        }
    }

    /// The fields of a new type that is a record, or an option of one.
    pub(super) fn record(&self, ty: &'m Type) -> Option<&'m [Field]> {
        crate::wit::record_of(&self.new.types, ty)
    }

    /// Whether a value of the new model may lack this field.
    pub(super) fn may_be_missing(&self, field: &Field) -> bool {
        field.default.is_some() || matches!(resolve(self.new, &field.ty), Type::Option(_))
    }

    fn fit_or_none(&mut self, via: &str, role: Role, old: &Type, new: &Type) -> Fit {
        let fit = self.fit(via, role, old, new);
        if fit == Fit::Other
            && let Type::Option(inner) = resolve(self.new, new)
            && !matches!(resolve(self.old, old), Type::Option(_))
            && self.fit(via, role, old, inner) == Fit::Same
        {
            return Fit::Optional;
        }
        fit
    }

    fn field(&mut self, place: &Place, role: Role, old: &Field, new: &Field) {
        self.name(place, role, (&old.name, &old.was), (&new.name, &new.was));
        self.about(place, &old.about, &new.about);
        self.default(place, role, old, new);
        if role == Role::Event && self.holder.is_none() {
            self.root(old);
        }
        let fit = self.fit_or_none(&place.element, role, &old.ty, &new.ty);
        self.retyped(place, role, fit, (&old.ty, &new.ty), Some(&old.name));
    }

    fn retyped(
        &mut self,
        place: &Place,
        role: Role,
        fit: Fit,
        (old, new): (&Type, &Type),
        field: Option<&str>,
    ) {
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
            (Role::Event, _) => "stored events hold the old type",
            (Role::Command, _) => "callers that send the old type are refused",
            (Role::Rejection, _) => "callers read the old type",
        };
        self.refuse(role, place, &what, why, field);
    }

    fn new_field(&mut self, place: &Place, role: Role, field: &Field) {
        let may_be_missing = self.may_be_missing(field);
        let what = if may_be_missing { "new field" } else { "new field that must be given" };
        let why = match role {
            Role::Event if !may_be_missing => {
                "stored events do not have it (an `option<..>`, a `default` and `was` make old \
                 events readable)"
            }
            Role::Command if !may_be_missing => {
                "callers do not send it; make it an `option<..>`, give it a `default`, or say by \
                 `was` how it was called"
            }
            _ => return self.fine(place, what),
        };
        self.refuse(role, place, what, why, None);
    }

    fn removed_field(&mut self, place: &Place, role: Role, name: &str) {
        let what = "the field was removed";
        match role {
            Role::Event => self.unread(place, what, "stored events have it", Some(name)),
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
        let none = (optional && old.default.is_none()).then_some(&Value::Null);
        let given = self.rules().filter(|_| self.holder.is_none());
        let given = given.and_then(|rules| rules.gives(&new.name));
        match role {
            // Whatever was stored without it is given what it was read as.
            Role::Event if given.is_some() && given == old.default.as_ref().or(none) => {
                self.covered(place, &what, None);
            }
            Role::Event => self.unread(place, &what, why_event, None),
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
        // What the component reads is told at the event.
        let covered = self.subject.as_ref().is_some_and(|subject| subject.covered);
        let role = if role == Role::Event && covered { Role::State } else { role };
        let pair = Pair { old: old.into(), new: new.into(), role };
        if self.seen.insert(pair.clone()) {
            self.pairs.push_back((pair, via.into()));
        }
    }

    pub(super) fn compare_pairs(&mut self) {
        self.subject = None;
        while let Some((pair, via)) = self.pairs.pop_front() {
            let (old, new) = (self.old, self.new);
            if let (Some(before), Some(after)) =
                (old.types.get(&pair.old), new.types.get(&pair.new))
            {
                self.holder = (pair.role == Role::Event).then(|| pair.old.clone());
                self.declared(&pair, &via, before, after);
            }
        }
        self.holder = None;
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
                self.retyped(&place, pair.role, fit, (old, new), None);
            }
            (Shape::Alias(old), _) => {
                let new = Type::Named(pair.new.clone());
                let fit = self.fit(via, pair.role, old, &new);
                self.retyped(&place, pair.role, fit, (old, &new), None);
            }
            (_, Shape::Alias(new)) => {
                let old = Type::Named(pair.old.clone());
                let fit = self.fit(via, pair.role, &old, new);
                self.retyped(&place, pair.role, fit, (&old, new), None);
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
                    self.retyped(&place, role, fit, (old, new), None);
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
            Role::Event => format!("stored events may hold it (`{via}`)"),
            Role::Command => format!("callers may send it (`{via}`)"),
            Role::Rejection => format!("callers may read it (`{via}`)"),
        };
        self.refuse(role, place, what, &why, None);
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
        let mut trial = Walk::trial(self.old, self.new);
        trial.pair(old, new, role, via);
        trial.compare_pairs();
        let fit = match trial.changes.iter().map(|noted| noted.change.impact).max() {
            None => Fit::Same,
            Some(Impact::Compatible) => Fit::Wider,
            Some(Impact::NeedsUpcast | Impact::Breaking) => Fit::Other,
        };
        self.tried.insert(pair, fit);
        fit
    }
}

/// Why a change to stored events is compatible all the same.
fn covered(upcast: &str) -> String {
    format!("covered by the upcast of `{upcast}`")
}
