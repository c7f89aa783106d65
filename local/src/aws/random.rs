//! Ids and secrets that cannot be guessed.

/// A random UUID (version 4), for example `0b4e2a51-6c1f-4c09-9d2b-6c6a44e3a6ce`.
pub(super) fn uuid() -> String {
    let mut bytes = [0_u8; 16];
    fill(&mut bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    [&hex[0..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]].join("-")
}

/// `count` characters of `alphabet`, each as likely as the other; empty when the alphabet is.
pub(super) fn characters(alphabet: &[char], count: usize) -> String {
    let Ok(size) = u32::try_from(alphabet.len()) else { return String::new() };
    if size == 0 {
        return String::new();
    }
    // Draws above the largest multiple of the size are thrown away: they would favour the first characters.
    let fair_below = u32::MAX - u32::MAX % size;
    let mut text = String::with_capacity(count);
    let mut drawn = 0;
    while drawn < count {
        let mut bytes = [0_u8; 4];
        fill(&mut bytes);
        let draw = u32::from_be_bytes(bytes);
        if draw < fair_below {
            text.extend(usize::try_from(draw % size).ok().and_then(|index| alphabet.get(index)));
            drawn += 1;
        }
    }
    text
}

#[expect(clippy::expect_used, reason = "a system without randomness can serve nothing")]
fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the system gives randomness");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_has_the_form_of_version_4() {
        let id = uuid();
        assert_eq!(id.len(), 36);
        assert_eq!(id.as_bytes()[14], b'4');
        assert!("89ab".contains(char::from(id.as_bytes()[19])));
    }

    #[test]
    fn characters_come_from_the_alphabet_only() {
        let drawn = characters(&['a', 'b', 'c'], 200);
        assert_eq!(drawn.len(), 200);
        assert!(drawn.chars().all(|c| "abc".contains(c)));
        assert_eq!(characters(&[], 5), "");
    }
}
