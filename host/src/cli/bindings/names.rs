//! A model's names in the styles of other languages. They are kebab-case, and each word starts with a
//! letter, so nothing is lost.

/// `line-item` → `lineItem`.
#[must_use]
pub fn camel(name: &str) -> String {
    let mut words = name.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |text, word| text + &capital(word))
}

/// `line-item` → `LineItem`.
#[must_use]
pub fn pascal(name: &str) -> String {
    name.split('-').map(capital).collect()
}

/// `line-item` → `line_item`.
#[must_use]
pub fn snake(name: &str) -> String {
    name.replace('-', "_")
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_other_styles() {
        assert_eq!(camel("a1-line-item"), "a1LineItem");
        assert_eq!(pascal("a1-line-item"), "A1LineItem");
        assert_eq!(snake("a1-line-item"), "a1_line_item");
    }
}
