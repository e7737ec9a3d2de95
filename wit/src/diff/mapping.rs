//! What the rules of an upcast do to the events that one model declares.
//!
//! The steps are worked out on the declared fields as they would run on stored ones, so that what
//! comes out can be compared with the event that the new model declares.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;

use super::types::Walk;
use crate::{
    model::{Field, Rules, Type},
    upcast::{Move, Step},
};

/// What the rules do, and what they leave.
#[derive(Default)]
pub(super) struct Mapped<'m> {
    /// The steps.
    pub steps: Vec<Step>,
    /// Stored fields that stay where they are.
    pub kept: Vec<Field>,
    /// Stored fields that come to stand somewhere else, or for something else.
    pub moved: Vec<Moved<'m>>,
    /// Fields of the new event that need nothing more.
    pub given: HashSet<&'m str>,
    /// Stored fields that are left out or replaced.
    pub taken: Vec<&'m Field>,
    /// Fields of a record that must be there, and nothing gives, with the field that the record is.
    pub lacking: Vec<(&'m str, &'m Field)>,
}

/// A stored field that becomes another.
pub(super) struct Moved<'m> {
    pub from: &'m Field,
    /// Whether a stored none is replaced.
    pub some: bool,
    /// The field of the event into whose record it moves.
    pub record: Option<&'m str>,
    pub to: &'m Field,
}

/// What stands at a name of the event on its way.
#[derive(Clone, Copy)]
enum Slot<'m> {
    /// A stored field, untouched.
    Kept(&'m Field),
    /// A stored field that was moved, or whose none was replaced.
    Moved(&'m Field, bool),
    /// A value that fits.
    Given,
}

/// Works out what `rules` do to the fields `old`, of which the fields `new` must come.
pub(super) fn mapped<'m>(
    walk: &Walk<'m>,
    rules: &'m Rules,
    old: &'m [Field],
    new: &'m [Field],
) -> Mapped<'m> {
    let mut mapper = Mapper {
        walk,
        rules,
        new,
        read: HashMap::new(),
        shape: old.iter().map(|field| (field.name.as_str(), Slot::Kept(field))).collect(),
        out: Mapped::default(),
    };
    mapper.find_read(old);
    mapper.drop_fields();
    mapper.rename();
    let records = mapper.records();
    mapper.set(&records);
    mapper.default(&records);
    mapper.fill_records(&records);
    mapper.finish()
}

struct Mapper<'w, 'm> {
    walk: &'w Walk<'m>,
    rules: &'m Rules,
    new: &'m [Field],
    /// The stored fields that are read as they stand, each with the field that it is read as.
    read: HashMap<&'m str, &'m str>,
    shape: IndexMap<&'m str, Slot<'m>>,
    out: Mapped<'m>,
}

/// A record that fields move into: the field that it is, its own fields, and those that move.
type Record<'m> = (&'m str, &'m [Field], &'m [String]);

impl<'m> Mapper<'_, 'm> {
    fn find_read(&mut self, old: &'m [Field]) {
        for field in old {
            let named = self.named(&field.name);
            let former = || self.new.iter().find(|it| it.was.as_ref() == Some(&field.name));
            if let Some(now) = named.or_else(former)
                && self.walk.reads(&field.ty, &now.ty)
            {
                self.read.insert(&field.name, &now.name);
            }
        }
    }

    fn named(&self, name: &str) -> Option<&'m Field> {
        self.new.iter().find(|field| field.name == name)
    }

    /// Whether something stands at `name`, or is read as it.
    fn has(&self, name: &str) -> bool {
        let read_so = |(stored, slot): (&&'m str, &Slot<'m>)| {
            matches!(slot, Slot::Kept(_)) && self.read.get(stored) == Some(&name)
        };
        self.shape.contains_key(name) || self.shape.iter().any(read_so)
    }

    /// Whether what stands at `name` is a stored field that may be taken from there.
    fn is_free(&self, name: &str) -> bool {
        match self.shape.get(name) {
            Some(Slot::Kept(_)) => !self.read.contains_key(name),
            Some(Slot::Moved(..)) => true,
            Some(Slot::Given) | None => false,
        }
    }

    fn drop_fields(&mut self) {
        for name in &self.rules.drop {
            if self.is_free(name)
                && let Some(Slot::Kept(field)) = self.shape.shift_remove(name.as_str())
            {
                self.out.taken.push(field);
                self.out.steps.push(Step::Drop(name.clone()));
            }
        }
    }

    fn rename(&mut self) {
        let mut moves: Vec<(&'m str, &'m str)> =
            self.rules.rename.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
        moves.retain(|(from, _)| self.is_free(from));
        // A name is free if nothing stands there, or what stands there moves away itself.
        loop {
            let leaving: HashSet<&str> = moves.iter().map(|(from, _)| *from).collect();
            let before = moves.len();
            moves.retain(|(_, to)| leaving.contains(to) || !self.has(to));
            if moves.len() == before {
                break;
            }
        }
        let mut arrived = Vec::new();
        let mut steps = Vec::new();
        for (from, to) in moves {
            let Some(Slot::Kept(field)) = self.shape.shift_remove(from) else { continue };
            let optional = self.walk.was_option(&field.ty).is_some();
            steps.push(Move { from: from.to_owned(), to: to.to_owned(), optional });
            arrived.push((to, Slot::Moved(field, false)));
        }
        self.shape.extend(arrived);
        if !steps.is_empty() {
            self.out.steps.push(Step::Rename(steps));
        }
    }

    /// The records that fields move into: those that are not there yet, and of which the stored
    /// event has a part.
    fn records(&self) -> Vec<Record<'m>> {
        let into = self.rules.into.iter().filter_map(|(name, parts)| {
            let own = parts.contains(name) && self.is_free(name);
            let wanted = own || !self.has(name);
            let has_part = parts.iter().any(|part| self.is_free(part));
            let fields = self.walk.record(&self.named(name)?.ty)?;
            (wanted && has_part).then_some((name.as_str(), fields, parts.as_slice()))
        });
        into.collect()
    }

    /// The type that is wanted at `name`.
    fn wanted(&self, records: &[Record<'m>], name: &str) -> Option<&'m Type> {
        let part = || {
            let moves = |(_, _, parts): &&Record<'m>| parts.iter().any(|part| part == name);
            let (_, fields, _) = records.iter().find(moves)?;
            fields.iter().find(|field| field.name == name)
        };
        self.named(name).or_else(part).map(|field| &field.ty)
    }

    /// Whether what stands at `name` is read as `wanted`.
    fn fits(&self, name: &str, field: &Field, wanted: &Type) -> bool {
        self.read.contains_key(name) || self.walk.takes(&field.ty, wanted)
    }

    fn set(&mut self, records: &[Record<'m>]) {
        for (name, value) in &self.rules.set {
            let Some(wanted) = self.wanted(records, name) else { continue };
            match self.shape.get(name.as_str()).copied() {
                None if self.has(name) => continue,
                None => {}
                Some(Slot::Kept(field) | Slot::Moved(field, _)) => {
                    if self.fits(name, field, wanted) {
                        continue;
                    }
                    self.out.taken.push(field);
                }
                Some(Slot::Given) => continue,
            }
            self.shape.insert(name, Slot::Given);
            self.out.steps.push(Step::Give(name.clone(), value.to_string()));
        }
    }

    fn default(&mut self, records: &[Record<'m>]) {
        for (name, value) in &self.rules.default {
            let Some(wanted) = self.wanted(records, name) else { continue };
            match self.shape.get(name.as_str()).copied() {
                None if self.has(name) => {}
                None => {
                    self.shape.insert(name, Slot::Given);
                    self.out.steps.push(Step::Give(name.clone(), value.to_string()));
                }
                Some(Slot::Kept(field) | Slot::Moved(field, _)) => {
                    let some = self.walk.was_option(&field.ty);
                    if !self.fits(name, field, wanted)
                        && some.is_some_and(|some| self.walk.takes(some, wanted))
                    {
                        self.shape.insert(name, Slot::Moved(field, true));
                        self.out.steps.push(Step::GiveIfNone(name.clone(), value.to_string()));
                    }
                }
                Some(Slot::Given) => {}
            }
        }
    }

    fn fill_records(&mut self, records: &[Record<'m>]) {
        for (record, fields, parts) in records.iter().copied() {
            let mut steps = Vec::new();
            for part in parts {
                let Some(to) = fields.iter().find(|field| field.name == *part) else { continue };
                let given = matches!(self.shape.get(part.as_str()), Some(Slot::Given));
                let slot = if given || self.is_free(part) {
                    self.shape.shift_remove(part.as_str())
                } else {
                    None
                };
                match slot {
                    Some(Slot::Kept(from)) => {
                        self.out.moved.push(Moved { from, some: false, record: Some(record), to });
                    }
                    Some(Slot::Moved(from, some)) => {
                        self.out.moved.push(Moved { from, some, record: Some(record), to });
                    }
                    Some(Slot::Given) => {}
                    None if self.walk.may_be_missing(to) => continue,
                    None => {
                        self.out.lacking.push((record, to));
                        continue;
                    }
                }
                steps.push(part.clone());
            }
            self.shape.insert(record, Slot::Given);
            self.out.steps.push(Step::Into(record.to_owned(), steps));
        }
    }

    fn finish(mut self) -> Mapped<'m> {
        for (name, slot) in &self.shape {
            match (*slot, self.named(name)) {
                (Slot::Kept(field), _) => self.out.kept.push(field.clone()),
                (Slot::Moved(from, some), Some(to)) => {
                    self.out.given.insert(name);
                    self.out.moved.push(Moved { from, some, record: None, to });
                }
                // It was renamed to be part of a record that is there already.
                (Slot::Moved(field, _), None) => self.out.kept.push(field.clone()),
                (Slot::Given, _) => drop(self.out.given.insert(name)),
            }
        }
        self.out
    }
}
