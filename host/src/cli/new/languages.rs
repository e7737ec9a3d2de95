//! The templates of `aether new`, one per language. `{{name}}` and the like are filled in.

use super::Language;

/// The model, the same in every language.
pub(super) const MODEL: &str = include_str!("templates/common/model.storm.yaml");

/// The name of its file.
pub(super) const MODEL_FILE: &str = "{{name}}.storm.yaml";

/// The README, with gaps for the language.
pub(super) const README: &str = include_str!("templates/common/README.md");

/// The name of its file.
pub(super) const README_FILE: &str = "README.md";

/// What a language has of its own.
pub(super) struct Template {
    /// Its files: path and text.
    pub files: &'static [(&'static str, &'static str)],
    /// Where the functions are.
    pub place: &'static str,
    /// Where missing tools go.
    pub into: &'static str,
    /// What follows a change of the model.
    pub then: &'static str,
    /// What else is good to know.
    pub hints: &'static str,
}

macro_rules! files {
    ($lang:literal: $($path:literal = $file:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("templates/", $lang, "/", $file)))),*]
    };
}

/// The template of a language.
pub(super) const fn template(lang: Language) -> Template {
    match lang {
        Language::Rust => RUST,
        Language::Ts => TS,
        Language::Python => PYTHON,
        Language::Go => GO,
        Language::C => C,
    }
}

const RUST: Template = Template {
    files: files!("rust":
        ".gitignore" = "gitignore",
        "Cargo.toml" = "Cargo.toml.in",
        "Makefile" = "Makefile",
        "src/lib.rs" = "src/lib.rs",
    ),
    place: "`src/lib.rs`",
    into: "",
    then: "the compiler shows each line of `src/lib.rs` that the change breaks.",
    hints: "`cargo build --release --target wasm32-wasip2` builds, `cargo test` runs the unit tests without\n\
        a sandbox. `aether-guest/` is the SDK; `aether bindings {{name}}.storm.yaml --lang rust --out\n\
        aether-guest` brings the one of a newer `aether`.",
};

const TS: Template = Template {
    files: files!("ts":
        ".gitignore" = "gitignore",
        "Makefile" = "Makefile",
        "package-lock.json" = "package-lock.json",
        "package.json" = "package.json",
        "src/counter.ts" = "src/counter.ts",
        "test/counter.test.ts" = "test/counter.test.ts",
        "test/tsconfig.json" = "test/tsconfig.json",
        "tsconfig.json" = "tsconfig.json",
    ),
    place: "`src/counter.ts`",
    into: " into node_modules/",
    then: "the types in `bindings/` follow, and `tsc` shows each line that the change breaks.",
    hints: "`npm run build` and `npm test` work once `make` has written `bindings/`. 64-bit integers are\n\
        `bigint`; what `decide` throws is the rejection, and an `Error` is a fault of the component.",
};

const PYTHON: Template = Template {
    files: files!("python":
        ".gitignore" = "gitignore",
        "Makefile" = "Makefile",
        "counter.py" = "counter.py",
        "pyproject.toml" = "pyproject.toml",
        "requirements.txt" = "requirements.txt",
        "test_counter.py" = "test_counter.py",
    ),
    place: "`counter.py`",
    into: " into .tools/",
    then: "the classes in `bindings/` follow.",
    hints: "`PYTHONPATH=bindings python3 -m unittest` runs the unit tests; point your editor's search path at\n\
        `bindings/` too. `decide` raises `Err(rejection)`; any other exception is a fault of the component.",
};

const GO: Template = Template {
    files: files!("go":
        ".gitignore" = "gitignore",
        "Makefile" = "Makefile",
        "component.go" = "component.go",
        "counter.go" = "counter.go",
        "counter_test.go" = "counter_test.go",
        "go.mod" = "go.mod.in",
    ),
    place: "`counter.go`",
    into: " into .tools/",
    then: "the packages in `bindings/` follow, and the compiler shows each line that the change breaks.",
    hints: "`go test .` runs the unit tests; nothing is downloaded, for `bindings/` holds all that is imported.\n\
        `make GO=go` uses the Go on the PATH, of version 1.27.",
};

const C: Template = Template {
    files: files!("c":
        ".gitignore" = "gitignore",
        "Makefile" = "Makefile",
        "cc.mjs" = "cc.mjs",
        "counter.c" = "counter.c",
        "package-lock.json" = "package-lock.json",
        "package.json" = "package.json",
        "run.mjs" = "run.mjs",
        "test_counter.c" = "test_counter.c",
    ),
    place: "`counter.c`",
    into: " into .tools/",
    then: "the header in `bindings/` follows, and the compiler shows each line that the change breaks.",
    hints: "clang comes from npm and runs in node. `make CC=\"clang-19 --target=wasm32-wasi\"` uses one that is\n\
        installed (Debian: clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32).",
};
