//! The sections of a core module, as far as they matter here.

/// How a core module begins.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// How a component begins.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// The id of custom sections.
const CUSTOM: u8 = 0;

/// What bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A core module.
    Module,
    /// A component.
    Component,
    /// No WebAssembly that is known.
    Other,
}

/// What `bytes` are, by how they begin.
#[must_use]
pub fn kind(bytes: &[u8]) -> Kind {
    if bytes.starts_with(MODULE) {
        Kind::Module
    } else if bytes.starts_with(COMPONENT) {
        Kind::Component
    } else {
        Kind::Other
    }
}

/// A module without names and debug information; none if its sections do not end where it ends.
#[must_use]
pub fn strip(module: &[u8]) -> Option<Vec<u8>> {
    let (head, mut rest) = module.split_at_checked(MODULE.len())?;
    let mut kept = head.to_vec();
    while let Some((&id, after)) = rest.split_first() {
        let (size, after) = number(after)?;
        let (content, next) = after.split_at_checked(size)?;
        let whole = rest.get(..rest.len() - next.len())?;
        if id != CUSTOM || !droppable(content) {
            kept.extend_from_slice(whole);
        }
        rest = next;
    }
    Some(kept)
}

/// Whether a custom section only helps people.
fn droppable(content: &[u8]) -> bool {
    let name = number(content).and_then(|(length, rest)| rest.get(..length));
    name.is_some_and(|name| name == b"name" || name.starts_with(b".debug_"))
}

/// A number of 32 bits in LEB128, and what follows it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, bytes.get(at + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_debug_information_go_and_the_rest_stays() {
        let text = "(module $named (func $f (export \"f\"))
            (@custom \".debug_info\" \"long\") (@custom \"component-type\" \"x\"))";
        let module = wat::parse_str(text).unwrap();
        let stripped = strip(&module).unwrap();
        let has = |bytes: &[u8], name: &[u8]| bytes.windows(name.len()).any(|it| it == name);
        assert!(has(&module, b".debug_info") && !has(&stripped, b".debug_info"));
        assert!(has(&module, b"\x04name") && !has(&stripped, b"\x04name"));
        assert!(has(&stripped, b"component-type"));
        assert_eq!(strip(&stripped).unwrap(), stripped);
        for end in MODULE.len() + 1..stripped.len() {
            // Cut inside a section it is damaged; between two it is a module.
            if let Some(cut) = strip(&stripped[..end]) {
                assert_eq!(cut, &stripped[..end]);
            }
        }
        assert_eq!(strip(&stripped[..stripped.len() - 1]), None);
    }
}
