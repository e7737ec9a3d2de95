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
    /// Where the component is built to.
    pub component: &'static str,
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

/// Where most languages put their component: beside the model.
const BESIDE: &str = "counter.wasm";

const RUST: Template = Template {
    files: files!("rust":
        ".gitignore" = "gitignore",
        "Cargo.toml" = "Cargo.toml.in",
        "Makefile" = "Makefile",
        "src/lib.rs" = "src/lib.rs",
    ),
    place: "`src/lib.rs`",
    component: "target/wasm32-wasip2/release/counter.wasm",
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
    component: BESIDE,
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
    component: BESIDE,
    into: " into .tools/",
    then: "the classes in `bindings/` follow.",
    hints: "Libraries of pure Python go into `requirements.txt`; what is imported comes from `.tools/python`, whatever\n\
        else the machine has. Point your editor's search path at `bindings/` too. `decide` raises\n\
        `Err(rejection)`; any other exception is a fault of the component.",
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
    component: BESIDE,
    into: " into .tools/",
    then: "the packages in `bindings/` follow; lines that no longer fit do not compile, and new cases are yours\n\
        to add.",
    hints: "Nothing is downloaded, for `bindings/` holds all that is imported; with modules of others,\n\
        `make GOPROXY=https://proxy.golang.org`. `make GO=go` uses the Go on the PATH, of version 1.27;\n\
        without it, `.tools/go/bin/go test ./...` runs the unit tests.",
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
    component: BESIDE,
    into: " into .tools/",
    then: "the header in `bindings/` follows; lines that no longer fit do not compile, and new cases are yours\n\
        to add.",
    hints: "Each `*.c` of this folder is compiled, those called `test_*.c` for `make test` only. clang comes from npm and runs in node. `make CC=\"clang-19 --target=wasm32-wasi\"` uses one that is\n\
        installed (Debian: clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32).",
};
