//! What compiling a component would cost, told from its bytes before anything is compiled.
//!
//! Compiling takes time and memory that nothing interrupts, and both can grow far faster than the
//! file: a function with many variables and many jumps with their product; components that
//! instantiate each other with a power of their nesting; types nested in types until the parser's
//! stack is gone, and the process with it. So the bytes are read once, without recursion and
//! without keeping anything, and what would be too dear is refused. It costs a few milliseconds
//! for each MiB. The result depends on the bytes only: all hosts with the same limits agree.
//!
//! Whether the bytes are valid is told by the compiler's own check, which comes after; what this
//! reader cannot read is no component either.

use wasmparser::{
    BinaryReader, CanonicalFunction, ComponentAlias, ComponentExternName, ComponentImport,
    ComponentInstance, ComponentType, ComponentTypeRef, CompositeInnerType, CoreType, FunctionBody,
    Instance, Operator, Parser, Payload, RecGroup, SectionLimited,
};

use super::{
    LoadError,
    limits::{CROSSINGS, CompileLimits},
};

/// Most instances of modules that one instance of the component may consist of. Those of nested
/// components count as often as they are made; a component of a toolchain has under ten.
const MAX_INSTANCES: u64 = 1000;

/// Deepest that components may lie in components, and types in types.
const MAX_NESTING: usize = 64;

/// What was counted.
#[derive(Debug, Default)]
struct Survey {
    limits: CompileLimits,
    cost: u64,
    functions: u64,
    structure_bytes: u64,
    type_bytes: u64,
    lowered: u64,
    /// Instances in the largest component that has been read to its end.
    largest: u64,
    open: Vec<Open>,
}

/// A module or component that is being read.
#[derive(Debug, Default)]
struct Open {
    /// Instances that one instance of it makes.
    instances: u64,
    /// Most parameters and results of one of its function types.
    arity: u64,
}

/// Why the reading stops.
enum Stop {
    Refused(LoadError),
    Unreadable(wasmparser::Error),
}

impl From<wasmparser::Error> for Stop {
    fn from(error: wasmparser::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// Reads `bytes` and compares what compiling would cost with `limits`.
///
/// # Errors
/// [`LoadError::TooCostly`], naming what is too much; [`LoadError::NotAComponent`], if the bytes
/// cannot be read.
pub(super) fn survey(bytes: &[u8], limits: &CompileLimits) -> Result<(), LoadError> {
    let mut survey = Survey { limits: limits.clone(), ..Survey::default() };
    let read = Parser::new(0).parse_all(bytes).try_for_each(|payload| {
        payload.map_err(Stop::from).and_then(|part| survey.part(&part, bytes))
    });
    read.map_err(|stop| match stop {
        Stop::Refused(error) => error,
        Stop::Unreadable(error) => LoadError::NotAComponent(error.to_string()),
    })
}

fn at_most(
    what: &'static str,
    found: u64,
    limit: u64,
    setting: Option<&'static str>,
) -> Result<(), Stop> {
    if found <= limit {
        return Ok(());
    }
    Err(Stop::Refused(LoadError::TooCostly { what, found, limit, setting }))
}

impl Survey {
    fn part(&mut self, part: &Payload<'_>, bytes: &[u8]) -> Result<(), Stop> {
        self.structure(part)?;
        match part {
            Payload::Version { .. } => {
                self.open.push(Open::default());
                let deep = self.open.len() as u64;
                at_most("components within each other", deep, MAX_NESTING as u64, None)
            }
            Payload::End(_) => {
                self.end();
                Ok(())
            }
            Payload::TypeSection(types) => self.function_types(types),
            Payload::CodeSectionEntry(body) => self.function(body),
            Payload::InstanceSection(instances) => {
                instances.clone().into_iter().try_for_each(|it| {
                    let made = matches!(it?, Instance::Instantiate { .. });
                    self.instances(u64::from(made))
                })
            }
            Payload::ComponentInstanceSection(instances) => {
                instances.clone().into_iter().try_for_each(|it| {
                    let made = matches!(it?, ComponentInstance::Instantiate { .. });
                    // Which component it is does not matter: none is larger.
                    self.instances(if made { self.largest } else { 0 })
                })
            }
            Payload::ComponentCanonicalSection(functions) => {
                functions.clone().into_iter().try_for_each(|it| {
                    let lowered = matches!(it?, CanonicalFunction::Lower { .. });
                    self.lowered += u64::from(lowered);
                    self.cost_is_bearable()
                })
            }
            Payload::ComponentImportSection(imports) => {
                imports.clone().into_iter().try_for_each(|import| of_components(import?.ty))
            }
            Payload::ComponentTypeSection(types) => {
                let range = types.range();
                self.type_bytes += range.len() as u64;
                self.cost_is_bearable()?;
                types_of(bytes.get(range.clone()).unwrap_or_default(), range.start)
            }
            _ => Ok(()),
        }
    }

    fn structure(&mut self, part: &Payload<'_>) -> Result<(), Stop> {
        let range = match part {
            Payload::CodeSectionStart { .. }
            | Payload::DataSection(_)
            | Payload::CustomSection(_)
            | Payload::ModuleSection { .. }
            | Payload::ComponentSection { .. } => None,
            structure => structure.as_section(),
        };
        self.structure_bytes += range.map_or(0, |(_, range)| range.len() as u64);
        let what = "bytes of types, imports, exports and tables";
        let limit = self.limits.structure_bytes;
        at_most(what, self.structure_bytes, limit, Some("max-component-structure"))
    }

    fn function_types(&mut self, types: &SectionLimited<'_, RecGroup>) -> Result<(), Stop> {
        let open = self.innermost()?;
        for group in types.clone() {
            for ty in group?.types() {
                if let CompositeInnerType::Func(ty) = &ty.composite_type.inner {
                    let arity = ty.params().len() + ty.results().len();
                    open.arity = open.arity.max(arity as u64);
                }
            }
        }
        Ok(())
    }

    fn end(&mut self) {
        if let Some(ended) = self.open.pop() {
            // A component without modules still takes a little.
            self.largest = self.largest.max(ended.instances + 1);
        }
    }

    fn innermost(&mut self) -> Result<&mut Open, Stop> {
        let nothing = || LoadError::NotAComponent("a section stands outside of everything".into());
        self.open.last_mut().ok_or_else(|| Stop::Refused(nothing()))
    }

    fn instances(&mut self, made: u64) -> Result<(), Stop> {
        let open = self.innermost()?;
        open.instances = open.instances.saturating_add(made);
        let found = open.instances;
        at_most("instances of modules in one of its own", found, MAX_INSTANCES, None)
    }

    fn function(&mut self, body: &FunctionBody<'_>) -> Result<(), Stop> {
        self.functions += 1;
        at_most(
            "functions",
            self.functions,
            self.limits.functions,
            Some("max-component-functions"),
        )?;
        let bytes = body.range().len() as u64;
        let limit = self.limits.function;
        at_most("bytes in one function", bytes, limit, Some("max-function-cost"))?;
        let mut variables = self.innermost()?.arity;
        for group in body.get_locals_reader()? {
            variables = variables.saturating_add(u64::from(group?.0));
        }
        let (mut jumps, mut loops, mut open) = (1_u64, 0_u64, vec![]);
        for operator in body.get_operators_reader()? {
            let operator = operator?;
            match operator {
                Operator::Loop { .. } => {
                    loops += 1;
                    open.push(true);
                }
                Operator::Block { .. } | Operator::If { .. } | Operator::TryTable { .. } => {
                    open.push(false);
                }
                Operator::End => loops -= u64::from(open.pop().unwrap_or(false)),
                _ => {}
            }
            // What changes in a loop may have another value in each loop around it.
            jumps = jumps.saturating_add(self::jumps(&operator).saturating_mul(1 + loops));
        }
        let cost = bytes.saturating_add(variables.saturating_mul(jumps) / CROSSINGS);
        let what = "units of cost in one function (its bytes, and variables × jumps / 8)";
        at_most(what, cost, limit, Some("max-function-cost"))?;
        self.cost = self.cost.saturating_add(cost);
        self.cost_is_bearable()
    }

    /// Where a component calls another one, code is made that copies values of any type.
    fn cost_is_bearable(&self) -> Result<(), Stop> {
        let copying = self.lowered.saturating_mul(self.type_bytes) / CROSSINGS;
        let what = "units of cost (bytes of code, variables × jumps / 8 of each function, and imported functions × bytes of types / 8)";
        let cost = self.cost.saturating_add(copying);
        at_most(what, cost, self.limits.component, Some("max-component-cost"))
    }
}

/// Places where the function's flow joins, parts or hands over values.
fn jumps(operator: &Operator<'_>) -> u64 {
    match operator {
        Operator::Block { .. }
        | Operator::Loop { .. }
        | Operator::If { .. }
        | Operator::Else
        | Operator::Br { .. }
        | Operator::BrIf { .. }
        | Operator::Return
        | Operator::Call { .. }
        | Operator::CallIndirect { .. }
        | Operator::ReturnCall { .. }
        | Operator::ReturnCallIndirect { .. }
        | Operator::Throw { .. } => 1,
        Operator::BrTable { targets } => u64::from(targets.len()) + 1,
        Operator::TryTable { try_table } => try_table.catches.len() as u64 + 1,
        _ => 0,
    }
}

/// Components as arguments: what they hold is only known when all is put together.
fn of_components(ty: ComponentTypeRef) -> Result<(), Stop> {
    let found = u64::from(matches!(ty, ComponentTypeRef::Component(_)));
    at_most("components that are imported or come with an instance", found, 0, None)
}

/// Reads a section of component types, of which the parser's own reader goes down one frame of
/// the stack for each level.
fn types_of(section: &[u8], start: usize) -> Result<(), Stop> {
    let mut reader = BinaryReader::new(section, start);
    // How many items are still to come, for each level.
    let mut open = vec![reader.read_var_u32()?];
    while let Some(left) = open.last_mut() {
        if *left == 0 {
            open.pop();
            continue;
        }
        *left -= 1;
        // The outermost are types; within a type there are declarations, of which one kind is.
        let tag = if open.len() == 1 { 0x01 } else { reader.read_u8()? };
        match tag {
            0x00 => {
                reader.read::<CoreType<'_>>()?;
            }
            0x02 => {
                reader.read::<ComponentAlias<'_>>()?;
            }
            0x03 => of_components(reader.read::<ComponentImport<'_>>()?.ty)?,
            0x04 => {
                reader.read::<ComponentExternName<'_>>()?;
                of_components(reader.read::<ComponentTypeRef>()?)?;
            }
            _ => {
                let mut ahead = reader.clone();
                // The type of a component, or of an instance.
                if matches!(ahead.read_u8()?, 0x41 | 0x42) {
                    reader = ahead;
                    open.push(reader.read_var_u32()?);
                    at_most(
                        "types within each other",
                        open.len() as u64,
                        MAX_NESTING as u64,
                        None,
                    )?;
                } else {
                    reader.read::<ComponentType<'_>>()?;
                }
            }
        }
    }
    Ok(())
}
