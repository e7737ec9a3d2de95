//! Types as JSON Schema: what their values look like in JSON.

use serde_json::{Map, Value, json};

use super::describe;
use crate::{
    Model,
    model::{Field, Type, TypeDecl, TypeDef},
    wit::resolve,
};

/// A reference to one of the document's schemas.
pub(super) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// Whether a caller may leave `field` out.
pub(super) fn is_optional(model: &Model, field: &Field) -> bool {
    field.default.is_some() || is_option(model, &field.ty)
}

/// The schema of a named type.
pub(super) fn declared(model: &Model, decl: &TypeDecl) -> Value {
    let mut schema = match &decl.def {
        TypeDef::Record(fields) => fields_schema(model, fields),
        TypeDef::Variant(variant) => cases(variant.iter().map(|case| {
            (case.name.as_str(), case.payload.as_ref().map(|payload| type_schema(model, payload)))
        })),
        TypeDef::Enum(names) => json!({"type": "string", "enum": names}),
        TypeDef::Flags(names) => json!({
            "type": "array",
            "items": {"type": "string", "enum": names},
            "uniqueItems": true,
        }),
        TypeDef::Alias(ty) => type_schema(model, ty),
    };
    describe(&mut schema, decl.about.as_deref());
    schema
}

/// The schema of an object with these fields and no others.
pub(super) fn fields_schema(model: &Model, fields: &[Field]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in fields {
        let mut schema = type_schema(model, &field.ty);
        describe(&mut schema, field.about.as_deref());
        if let (Some(default), Some(schema)) = (&field.default, schema.as_object_mut()) {
            schema.insert("default".into(), default.clone());
        }
        if !is_optional(model, field) {
            required.push(&field.name);
        }
        properties.insert(field.name.clone(), schema);
    }
    let mut schema = object(properties);
    if let (false, Some(schema)) = (required.is_empty(), schema.as_object_mut()) {
        schema.insert("required".into(), json!(required));
    }
    schema
}

/// The schema of a variant: its name for a case without payload, else an object with one key.
pub(super) fn cases<'c>(cases: impl Iterator<Item = (&'c str, Option<Value>)>) -> Value {
    let (mut bare, mut objects) = (Vec::new(), Vec::new());
    for (name, payload) in cases {
        match payload {
            None => bare.push(name),
            Some(payload) => objects.push(single(name, payload)),
        }
    }
    if !bare.is_empty() {
        objects.insert(0, json!({"type": "string", "enum": bare}));
    }
    one_of(objects)
}

fn type_schema(model: &Model, ty: &Type) -> Value {
    let integer = |min: i64, max: i64| json!({"type": "integer", "minimum": min, "maximum": max});
    match ty {
        Type::Bool => json!({"type": "boolean"}),
        Type::S8 => integer(i8::MIN.into(), i8::MAX.into()),
        Type::S16 => integer(i16::MIN.into(), i16::MAX.into()),
        Type::S32 => integer(i32::MIN.into(), i32::MAX.into()),
        Type::U8 => integer(0, u8::MAX.into()),
        Type::U16 => integer(0, u16::MAX.into()),
        Type::U32 => integer(0, u32::MAX.into()),
        Type::S64 => reference("s64"),
        Type::U64 => reference("u64"),
        Type::F32 | Type::F64 => reference("float"),
        Type::Char => json!({"type": "string", "minLength": 1, "maxLength": 1}),
        Type::String => json!({"type": "string"}),
        Type::List(item) if *resolve(model, item) == Type::U8 => {
            json!({"type": "string", "contentEncoding": "base64"})
        }
        Type::List(item) => json!({"type": "array", "items": type_schema(model, item)}),
        Type::Option(some) if is_option(model, some) => {
            one_of(vec![single("some", type_schema(model, some)), json!({"type": "null"})])
        }
        Type::Option(some) => one_of(vec![type_schema(model, some), json!({"type": "null"})]),
        Type::Tuple(items) => json!({
            "type": "array",
            "prefixItems": items.iter().map(|item| type_schema(model, item)).collect::<Vec<_>>(),
            "items": false,
            "minItems": items.len(),
        }),
        Type::Result { ok, err } => {
            let side = |name, ty: &Option<Box<Type>>| {
                let none = || json!({"type": "null"});
                single(name, ty.as_ref().map_or_else(none, |ty| type_schema(model, ty)))
            };
            one_of(vec![side("ok", ok), side("err", err)])
        }
        Type::Named(name) => reference(&format!("{}.{name}", model.context)),
    }
}

fn is_option(model: &Model, ty: &Type) -> bool {
    matches!(resolve(model, ty), Type::Option(_))
}

fn one_of(mut schemas: Vec<Value>) -> Value {
    match schemas.pop() {
        Some(only) if schemas.is_empty() => only,
        Some(last) => {
            schemas.push(last);
            json!({"oneOf": schemas})
        }
        None => json!(false),
    }
}

/// An object with exactly the key `name`.
fn single(name: &str, value: Value) -> Value {
    let mut schema = object(Map::from_iter([(name.to_owned(), value)]));
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("required".into(), json!([name]));
    }
    schema
}

fn object(properties: Map<String, Value>) -> Value {
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}
