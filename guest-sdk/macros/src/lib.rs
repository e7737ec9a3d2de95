//! The macro of `aether-guest`: from a model file to typed Rust, while the crate compiles.
//!
//! A model is written for every language at once, so its types must reach Rust by some way: a
//! build script, a generated file that is checked in, or a macro. This is the macro: it reads the
//! model with the compiler that the host uses, hands the WIT to `wit-bindgen`, and exports what
//! the author implements. The model's bytes are named with `include_bytes!`, so that cargo
//! compiles the crate again when the model changes. The cost is a proc macro with a YAML parser
//! behind it: some seconds at the first build, none later.

use proc_macro::{Delimiter, Group, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

mod expand;
mod names;

/// Binds a Rust type to an aggregate of a model.
///
/// `aggregate!("MODEL.storm.yaml", "AGGREGATE", Type)` reads the model, from the folder of the
/// crate's `Cargo.toml`, and brings the aggregate's types into the module: `State`, `Command`,
/// `Event`, `Rejection`, `Context`, a struct for each command, event and rejection that has
/// fields, the model's named types, and the trait `Aggregate`, which `Type` must implement. Where
/// the model's `upcasts` list events for the component, `Type` must implement the trait `Upcasts`
/// too, whose `upcast` makes an `Event` of a stored one. When it is compiled for `wasm32`, the crate's component exports the aggregate.
///
/// Each aggregate needs a module of its own. The generated module has the aggregate's name: where
/// the model gives a type the name of one of Rust's own, e.g. `string`, the short name stays
/// Rust's and the model's is `AGGREGATE::String`.
///
/// # Errors
/// Mistakes in the model are compile errors with file, line and column of the model.
#[proc_macro]
pub fn aggregate(input: TokenStream) -> TokenStream {
    let arguments = match Arguments::parse(input) {
        Ok(arguments) => arguments,
        Err(mistake) => return mistake.into(),
    };
    let Some(folder) = std::env::var_os("CARGO_MANIFEST_DIR") else {
        return Mistake::new(arguments.model.span, "`aggregate!` needs to be built by cargo")
            .into();
    };
    let expanded = expand::expand(
        folder.as_ref(),
        &arguments.model.text,
        &arguments.aggregate.text,
        &arguments.implementor.text,
    );
    match expanded {
        Ok(code) => code.parse().unwrap_or_else(|error| {
            Mistake::new(arguments.model.span, format!("the generated code is no Rust: {error}"))
                .into()
        }),
        Err(expand::Failure::Model(message)) => Mistake::new(arguments.model.span, message).into(),
        Err(expand::Failure::Aggregate(message)) => {
            Mistake::new(arguments.aggregate.span, message).into()
        }
    }
}

/// The three arguments of the macro.
struct Arguments {
    model: Spanned,
    aggregate: Spanned,
    implementor: Spanned,
}

struct Spanned {
    text: String,
    span: Span,
}

impl Arguments {
    fn parse(input: TokenStream) -> Result<Self, Mistake> {
        let mut tokens = input.into_iter();
        let model = string(tokens.next())?;
        comma(tokens.next())?;
        let aggregate = string(tokens.next())?;
        comma(tokens.next())?;
        let implementor = match tokens.next() {
            Some(TokenTree::Ident(name)) => Spanned { text: name.to_string(), span: name.span() },
            other => return Err(usage(other)),
        };
        match tokens.next() {
            None => {}
            Some(TokenTree::Punct(comma)) if comma.as_char() == ',' => {
                if let Some(more) = tokens.next() {
                    return Err(usage(Some(more)));
                }
            }
            other => return Err(usage(other)),
        }
        Ok(Self { model, aggregate, implementor })
    }
}

fn string(token: Option<TokenTree>) -> Result<Spanned, Mistake> {
    if let Some(TokenTree::Literal(literal)) = &token {
        let source = literal.to_string();
        if let Some(text) = source.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))
            && !text.contains('\\')
        {
            return Ok(Spanned { text: text.into(), span: literal.span() });
        }
    }
    Err(usage(token))
}

fn comma(token: Option<TokenTree>) -> Result<(), Mistake> {
    match token {
        Some(TokenTree::Punct(punct)) if punct.as_char() == ',' => Ok(()),
        other => Err(usage(other)),
    }
}

fn usage(found: Option<TokenTree>) -> Mistake {
    Mistake::new(
        found.map_or_else(Span::call_site, |token| token.span()),
        "expected `aggregate!(\"MODEL.storm.yaml\", \"AGGREGATE\", Type)`, both strings plain",
    )
}

/// What becomes a compile error at `span`.
struct Mistake {
    span: Span,
    message: String,
}

impl Mistake {
    fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into() }
    }
}

impl From<Mistake> for TokenStream {
    fn from(Mistake { span, message }: Mistake) -> Self {
        let literal = TokenTree::from(Literal::string(&message));
        let mut tokens: Vec<TokenTree> = vec![
            TokenTree::Ident(proc_macro::Ident::new("compile_error", span)),
            Punct::new('!', Spacing::Alone).into(),
            Group::new(Delimiter::Parenthesis, literal.into()).into(),
            Punct::new(';', Spacing::Alone).into(),
        ];
        for token in &mut tokens {
            token.set_span(span);
        }
        tokens.into_iter().collect()
    }
}
