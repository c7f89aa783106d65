//! `GetRandomPassword`.

use serde::{Deserialize, Serialize};

use super::errors;
use crate::aws::protocol::AwsError;
use crate::aws::random;

/// The longest password. Source: `GetRandomPassword`.
const CHARACTERS_MAX: usize = 4_096;

const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Wish {
    password_length: Option<usize>,
    #[serde(default)]
    exclude_characters: String,
    #[serde(default)]
    exclude_numbers: bool,
    #[serde(default)]
    exclude_punctuation: bool,
    #[serde(default)]
    exclude_uppercase: bool,
    #[serde(default)]
    exclude_lowercase: bool,
    #[serde(default)]
    include_space: bool,
    require_each_included_type: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Password {
    random_password: String,
}

/// A password as wished: 32 characters with one of each kind, unless said otherwise.
///
/// # Errors
/// When the length is not allowed or no characters are left.
pub(super) fn random(wish: &Wish) -> Result<Password, AwsError> {
    let length = wish.password_length.unwrap_or(32);
    if !(1..=CHARACTERS_MAX).contains(&length) {
        return Err(errors::invalid_parameter(format!("PasswordLength is 1 to {CHARACTERS_MAX}, got {length}")));
    }
    let kinds = [
        (wish.exclude_uppercase, ('A'..='Z').collect::<Vec<char>>()),
        (wish.exclude_lowercase, ('a'..='z').collect()),
        (wish.exclude_numbers, ('0'..='9').collect()),
        (wish.exclude_punctuation, PUNCTUATION.chars().collect()),
        (!wish.include_space, vec![' ']),
    ];
    let kept = |alphabet: Vec<char>| -> Vec<char> {
        alphabet.into_iter().filter(|character| !wish.exclude_characters.contains(*character)).collect()
    };
    let kinds: Vec<Vec<char>> = kinds.into_iter().filter(|(excluded, _)| !excluded).map(|(_, all)| kept(all)).collect();
    let kinds: Vec<Vec<char>> = kinds.into_iter().filter(|kind| !kind.is_empty()).collect();
    let all = kinds.concat();
    let required = wish.require_each_included_type.unwrap_or(true);
    if all.is_empty() || (required && length < kinds.len()) {
        return Err(errors::invalid_parameter("no such password can be made: too short or no characters left"));
    }
    // Drawn until it fits: the chance to miss a kind is small enough, except for very short passwords, which are quick.
    loop {
        let random_password = random::characters(&all, length);
        let has = |kind: &Vec<char>| random_password.chars().any(|character| kind.contains(&character));
        if !required || kinds.iter().all(has) {
            return Ok(Password { random_password });
        }
    }
}
