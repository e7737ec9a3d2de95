//! Values of every type, and those at which toolchains break.

use serde_json::{Value, json};

/// A value without anything odd.
pub fn plain() -> Value {
    json!({
        "flag": true, "tiny": -1, "small": -2, "medium": -3, "large": -4,
        "utiny": 1, "usmall": 2, "umedium": 3, "ularge": 4, "single": 1.5, "double": 0.1,
        "letter": "a", "text": "text", "account": "DE00", "bytes": "AAEC/w==",
        "numbers": [1, 2, 3], "texts": ["one", "", "three"],
        "charges": [{ "card": { "cents": 1000, "currency": "EUR" } }],
        "nested": [[], [1], [-1, 2]], "maybe": 7, "perhaps": { "some": "so" },
        "pair": [-5, "pair", 2.5], "outcome": { "ok": { "points": -9 } }, "done": { "err": 7 },
        "level": "silver", "marked": ["read", "archived"],
        "price": { "cents": 99, "currency": "EUR" },
        "said": {
            "type": 1, "class": 2, "func": 3, "int": 4, "from": 5, "import": 6, "default": 7, "match": 8
        },
        "one-of-many": "c0",
    })
}

/// [`plain`] with other fields.
fn with(fields: &Value) -> Value {
    let mut value = plain();
    for (name, field) in fields.as_object().unwrap() {
        assert!(!value[name].is_null(), "no field `{name}`");
        value[name] = field.clone();
    }
    value
}

/// Each with a name for messages.
pub fn all() -> Vec<(String, Value)> {
    let fields = [numbers(), floats(), texts(), lists(), choices()].concat();
    let mut all: Vec<_> = fields
        .into_iter()
        .map(|fields| {
            let mut what = fields.to_string();
            what.truncate(what.char_indices().nth(80).map_or(what.len(), |(at, _)| at));
            (what, with(&fields))
        })
        .collect();
    all.push(("plain".to_owned(), plain()));
    all
}

fn numbers() -> Vec<Value> {
    let two_53: i64 = 1 << 53;
    let mut all = vec![
        json!({ "tiny": i8::MIN, "small": i16::MIN, "medium": i32::MIN, "large": i64::MIN }),
        json!({ "tiny": i8::MAX, "small": i16::MAX, "medium": i32::MAX, "large": i64::MAX }),
        json!({ "utiny": u8::MAX, "usmall": u16::MAX, "umedium": u32::MAX, "ularge": u64::MAX }),
        json!({ "utiny": 0, "usmall": 0, "umedium": 0, "ularge": 0, "flag": false }),
        json!({ "numbers": [0, two_53 - 1, two_53, two_53 + 1, i64::MAX, 1_u64 << 63, u64::MAX] }),
        json!({ "maybe": u64::MAX }),
        json!({ "pair": [i64::MIN, "", -0.0] }),
    ];
    all.extend([-two_53 - 1, -two_53, -two_53 + 1, -1, 0, two_53 - 1, two_53, two_53 + 1].map(
        |large| json!({ "large": large, "price": { "cents": large.unsigned_abs(), "currency": "" } }),
    ));
    all
}

fn floats() -> Vec<Value> {
    let mut all: Vec<_> = ["NaN", "Infinity", "-Infinity"]
        .map(|odd| json!({ "single": odd, "double": odd, "pair": [0, "", odd] }))
        .into();
    all.extend(
        [-0.0, 5e-324, f64::MAX, f64::MIN, f64::EPSILON, 1e21, 0.1 + 0.2, 9_007_199_254_740_993.0]
            .map(|double| json!({ "double": double })),
    );
    all.extend(
        [-0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE, f32::from_bits(1), 0.1]
            .map(|single| json!({ "single": single })),
    );
    all
}

fn texts() -> Vec<Value> {
    let mut all: Vec<_> = [
        "",
        "\0",
        "a\0b\n\r\t\u{1b}\u{7f}\u{85}",
        "\"\\/'`${}<>&",
        "e\u{301} \u{e9} \u{df} \u{1e9e} \u{130}",
        "\u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{202e}abc\u{202c} \u{645}\u{631}\u{62d}\u{628}\u{627}",
        "\u{4f60}\u{597d} \u{d55c}\u{ad6d}\u{c5b4} \u{1112}\u{1161}\u{11ab}",
        "\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{1f1e9}\u{1f1ea} \u{1d11e}",
        "\u{d7ff}\u{e000}\u{fffd}\u{fffe}\u{ffff}\u{10000}\u{10ffff}",
        "\u{2028}\u{2029}\u{a0}\u{3000}\u{200b}",
    ]
    .map(|text| json!({ "text": text, "account": text, "texts": [text, "", text], "perhaps": { "some": text } }))
    .into();
    all.extend(
        [
            '\0',
            '\u{7f}',
            '\u{80}',
            '\u{7ff}',
            '\u{800}',
            '\u{d7ff}',
            '\u{e000}',
            '\u{ffff}',
            '\u{10000}',
            '\u{10ffff}',
        ]
        .map(|letter| json!({ "letter": letter })),
    );
    // 1 MiB each of one, two, three and four bytes a character.
    all.extend(
        [("x", 1 << 20), ("\u{e9}", 1 << 19), ("\u{20ac}", (1 << 20) / 3), ("\u{1f600}", 1 << 18)]
            .map(|(letter, count)| json!({ "text": letter.repeat(count) })),
    );
    all
}

/// A text that begins with a byte order mark, as if it were a file.
pub fn byte_order_mark() -> Value {
    with(&json!({ "text": "\u{feff}text" }))
}

fn lists() -> Vec<Value> {
    let many: Vec<u64> = (0..10_000).map(|n| u64::MAX - n).collect();
    let texts: Vec<_> = (0..10_000).map(|n| format!("number {n}")).collect();
    let charges: Vec<_> = (0..10_000).map(charge).collect();
    vec![
        json!({ "bytes": "", "numbers": [], "texts": [], "charges": [], "nested": [], "marked": [] }),
        json!({ "numbers": many }),
        json!({ "texts": texts }),
        json!({ "charges": charges }),
        json!({ "nested": vec![vec![i16::MIN, 0, i16::MAX]; 10_000] }),
        json!({ "bytes": base64(&vec![0xA5; 100_000]) }),
        json!({ "marked": ["read", "starred", "archived"] }),
    ]
}

/// A charge of each kind in turn, with a payload that says which it is.
fn charge(n: u32) -> Value {
    match n % 5 {
        0 => json!({ "card": { "cents": u64::from(n) + 1000, "currency": format!("C{n}") } }),
        1 => json!({ "voucher": format!("voucher {n}") }),
        2 => json!({ "points": -i64::from(n) }),
        3 => json!({ "parts": vec![n % 1000; (n % 7) as usize] }),
        _ => json!("waived"),
    }
}

fn choices() -> Vec<Value> {
    let mut all = vec![
        json!({ "maybe": null }),
        json!({ "perhaps": null }),
        json!({ "perhaps": { "some": null } }),
        json!({ "perhaps": { "some": "" } }),
        json!({ "outcome": { "err": "no" } }),
        json!({ "done": { "ok": null } }),
        json!({ "level": "basic" }),
        json!({ "level": "gold" }),
    ];
    all.extend(
        (0..10).map(
            |n| json!({ "outcome": { "ok": charge(n) }, "charges": [charge(n), charge(n + 1)] }),
        ),
    );
    all
}

/// A value for each case of the large variant.
pub fn wide() -> Vec<Value> {
    let case = |n: u32| {
        let payload = match n % 10 {
            0 => return json!(format!("c{n}")),
            1 => json!(n),
            2 => json!(format!("case {n}")),
            3 => json!({ "cents": n, "currency": "EUR" }),
            4 => json!([n, u32::MAX]),
            5 => json!(i64::MIN + i64::from(n)),
            6 => json!("gold"),
            7 if n % 20 == 7 => json!(null),
            7 => json!(format!("perhaps {n}")),
            8 => json!(f64::from(n) + 0.5),
            _ => json!(true),
        };
        json!({ format!("c{n}"): payload })
    };
    (0..200).map(|n| with(&json!({ "one-of-many": case(n) }))).collect()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
