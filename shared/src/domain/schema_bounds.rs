//! Whether a JSON Schema can be held against the largest event in bounded time. Pure.
//!
//! Checking data visits each of its places once, and at each place everything of the schema that applies there. Schemas that apply to one place together
//! are a state; from the state of an object or a list follow those of what is in it. A schema is bounded if all states that can come about are small. So
//! a chain of parts that each refer twice to the next is not, nor one that refers to itself twice for the same place; a tree is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// The most that applies to one place: keywords, and what they list. An event has some 100,000 places at the most.
const WORK_PER_PLACE_MAX: usize = 1_000;
/// How many different states are looked at before a schema is taken for too intricate.
const STATES_MAX: usize = 4_000;
/// How deep a schema can be nested.
const DEPTH_MAX: usize = 64;

/// The rule for a schema whose checking would take too long.
const TOO_MUCH: &str = "is too much to be checked: at most 1000 keywords and listed values may apply to one place of the data, references followed";

/// How often more what applies to a place is looked at to find what of it has been evaluated.
const UNEVALUATED_REPEATS: usize = 2;

/// Keywords whose schemas apply to the same place.
const IN_PLACE: [&str; 7] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else"];

type Place = usize;

/// A schema, and where in it the parts are that apply elsewhere.
#[derive(Debug, Default)]
struct Part {
    work: usize,
    in_place: Vec<Place>,
    /// How often more what applies to the same place is looked at.
    repeats: usize,
    reference: Option<String>,
    properties: BTreeMap<String, Place>,
    /// For values of every other key.
    additional: Option<Place>,
    /// For values of keys that cannot be told from here.
    some_values: Vec<Place>,
    prefix: Vec<Place>,
    items: Option<Place>,
    some_items: Vec<Place>,
}

/// How much of a schema applies to one place of the data at the most, if that is bounded.
///
/// # Errors
/// The rule that it breaks.
pub fn check(schema: &Value) -> Result<usize, String> {
    let mut parts = Parts::default();
    parts.add(schema, "#", 0)?;
    parts.resolve()?;
    parts.explore()
}

#[derive(Debug, Default)]
struct Parts {
    parts: Vec<Part>,
    by_pointer: BTreeMap<String, Place>,
}

impl Parts {
    fn add(&mut self, schema: &Value, pointer: &str, depth: usize) -> Result<Place, String> {
        if depth > DEPTH_MAX {
            return Err(format!("must be nested at most {DEPTH_MAX} deep"));
        }
        let place = self.parts.len();
        self.parts.push(Part { work: 1, ..Part::default() });
        self.by_pointer.insert(pointer.to_owned(), place);
        let Value::Object(keywords) = schema else { return Ok(place) };
        for (keyword, value) in keywords {
            let below = format!("{pointer}/{}", escaped(keyword));
            let work = self.read_keyword(place, keyword, value, &below, depth)?;
            self.parts[place].work += work;
        }
        Ok(place)
    }

    /// Reads one keyword; what it adds to the work at its place.
    fn read_keyword(
        &mut self,
        place: Place,
        keyword: &str,
        value: &Value,
        below: &str,
        depth: usize,
    ) -> Result<usize, String> {
        match (keyword, value) {
            ("dependencies", _) => {
                return Err("must not use dependencies; dependentSchemas and dependentRequired are what it has become"
                    .to_owned());
            }
            ("additionalItems", _) => {
                return Err("must not use additionalItems; prefixItems with items is what it has become".to_owned());
            }
            ("$dynamicRef" | "$recursiveRef" | "$anchor" | "$dynamicAnchor", _) => {
                return Err(format!("must not use {keyword}; $ref with a JSON pointer refers to its own parts"));
            }
            ("$id", _) if depth > 0 => return Err("must not use $id but at its top".to_owned()),
            ("$ref", Value::String(to)) => self.parts[place].reference = Some(to.clone()),
            ("properties", Value::Object(all)) => {
                let added = self.add_each(all, below, depth)?;
                self.parts[place].properties.extend(added);
            }
            ("patternProperties", Value::Object(all)) => {
                let added = self.add_each(all, below, depth)?;
                self.parts[place].some_values.extend(added.into_iter().map(|(_, place)| place));
                return Ok(all.keys().map(|pattern| 1 + pattern.len() / 8).sum());
            }
            ("dependentSchemas", Value::Object(all)) => {
                let added = self.add_each(all, below, depth)?;
                self.parts[place].in_place.extend(added.into_iter().map(|(_, place)| place));
            }
            ("$defs" | "definitions", Value::Object(all)) => {
                self.add_each(all, below, depth)?;
                return Ok(0);
            }
            ("additionalProperties", schema) => {
                let added = self.add(schema, below, depth + 1)?;
                self.parts[place].additional = Some(added);
            }
            ("unevaluatedProperties" | "propertyNames", schema) => {
                let added = self.add(schema, below, depth + 1)?;
                self.parts[place].some_values.push(added);
                self.parts[place].repeats += if keyword == "propertyNames" { 0 } else { UNEVALUATED_REPEATS };
            }
            ("prefixItems", Value::Array(all)) => {
                for (n, schema) in all.iter().enumerate() {
                    let added = self.add(schema, &format!("{below}/{n}"), depth + 1)?;
                    self.parts[place].prefix.push(added);
                }
            }
            ("items", schema) => {
                let added = self.add(schema, below, depth + 1)?;
                self.parts[place].items = Some(added);
            }
            ("contains" | "unevaluatedItems", schema) => {
                let added = self.add(schema, below, depth + 1)?;
                self.parts[place].some_items.push(added);
                self.parts[place].repeats += if keyword == "contains" { 0 } else { UNEVALUATED_REPEATS };
            }
            (_, Value::Array(all)) if IN_PLACE.contains(&keyword) => {
                for (n, schema) in all.iter().enumerate() {
                    let added = self.add(schema, &format!("{below}/{n}"), depth + 1)?;
                    self.parts[place].in_place.push(added);
                }
            }
            (_, schema) if IN_PLACE.contains(&keyword) => {
                let added = self.add(schema, below, depth + 1)?;
                self.parts[place].in_place.push(added);
            }
            ("pattern", Value::String(pattern)) => return Ok(1 + pattern.len() / 8),
            ("dependentRequired", Value::Object(all)) => {
                return Ok(all.values().map(|names| 1 + names.as_array().map_or(0, Vec::len)).sum());
            }
            ("enum" | "required" | "type", Value::Array(all)) => return Ok(all.len()),
            _ => {}
        }
        Ok(1)
    }

    fn add_each(
        &mut self,
        all: &Map<String, Value>,
        below: &str,
        depth: usize,
    ) -> Result<Vec<(String, Place)>, String> {
        let add = |(name, schema): (&String, &Value)| {
            let place = self.add(schema, &format!("{below}/{}", escaped(name)), depth + 1)?;
            Ok((name.clone(), place))
        };
        all.iter().map(add).collect()
    }

    /// Makes references parts that apply to the same place.
    fn resolve(&mut self) -> Result<(), String> {
        for place in 0..self.parts.len() {
            let Some(reference) = self.parts[place].reference.take() else { continue };
            let found = self.by_pointer.get(&reference).copied();
            let to = found.ok_or_else(|| {
                format!("must refer only to its own schemas, by JSON pointer, and not to {reference}")
            })?;
            self.parts[place].in_place.push(to);
        }
        Ok(())
    }

    /// Looks at every state that can come about.
    fn explore(&self) -> Result<usize, String> {
        let work_of = |state: &[Place]| state.iter().map(|place| self.parts[*place].work).sum::<usize>();
        let mut open = vec![self.state([0])?];
        let mut most = 0;
        let mut seen: BTreeSet<Vec<Place>> = open.iter().cloned().collect();
        while let Some(state) = open.pop() {
            most = most.max(work_of(&state));
            for next in self.states_within(&state)? {
                if seen.insert(next.clone()) {
                    open.push(next);
                }
            }
            if seen.len() > STATES_MAX {
                return Err(TOO_MUCH.to_owned());
            }
        }
        Ok(most)
    }

    /// Everything that applies where these do.
    fn state(&self, places: impl IntoIterator<Item = Place>) -> Result<Vec<Place>, String> {
        let (mut state, mut work) = (Vec::new(), 0);
        let mut open: Vec<Place> = places.into_iter().collect();
        while let Some(place) = open.pop() {
            work += self.parts[place].work;
            // A part that refers to itself for the same place grows without end.
            if work > WORK_PER_PLACE_MAX {
                return Err(TOO_MUCH.to_owned());
            }
            state.push(place);
            for _ in 0..=self.parts[place].repeats {
                open.extend(&self.parts[place].in_place);
            }
        }
        state.sort_unstable();
        Ok(state)
    }

    /// The states of what is within an object or a list of this state.
    fn states_within(&self, state: &[Place]) -> Result<Vec<Vec<Place>>, String> {
        let parts = || state.iter().map(|place| &self.parts[*place]);
        let mut states = Vec::new();
        let keys: BTreeSet<&str> = parts().flat_map(|part| part.properties.keys()).map(String::as_str).collect();
        for key in keys.into_iter().map(Some).chain([None]) {
            let of_part = |part: &Part| {
                let own = key.and_then(|key| part.properties.get(key)).copied().or(part.additional);
                own.into_iter().chain(part.some_values.iter().copied()).collect::<Vec<_>>()
            };
            states.push(self.state(parts().flat_map(of_part))?);
        }
        let longest = parts().map(|part| part.prefix.len()).max().unwrap_or(0);
        for n in 0..=longest {
            let of_part = |part: &Part| {
                let own = part.prefix.get(n).copied().or(part.items);
                own.into_iter().chain(part.some_items.iter().copied()).collect::<Vec<_>>()
            };
            states.push(self.state(parts().flat_map(of_part))?);
        }
        states.retain(|state| !state.is_empty());
        Ok(states)
    }
}

/// A key in a JSON pointer (RFC 6901).
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chain(links: usize, link: impl Fn(&str) -> Value) -> Value {
        let defs: Map<_, _> = (0..links).map(|n| (n.to_string(), link(&format!("#/$defs/{}", n + 1)))).collect();
        let mut schema = json!({ "$ref": "#/$defs/0", "$defs": defs });
        schema["$defs"][links.to_string()] = json!({ "type": "string" });
        schema
    }

    #[test]
    fn usual_schemas_are_bounded_trees_and_any_json_too() {
        for schema in [
            json!({ "type": "object", "required": ["id"], "properties": { "id": { "type": "integer" }, "tags": { "items": { "type": "string" } } } }),
            json!({ "$defs": { "tree": { "properties": { "left": { "$ref": "#/$defs/tree" }, "right": { "$ref": "#/$defs/tree" } } } }, "$ref": "#/$defs/tree" }),
            json!({ "anyOf": [{ "type": "string" }, { "items": { "$ref": "#" } }, { "additionalProperties": { "$ref": "#" } }] }),
            json!({ "properties": { "country": { "enum": (0..500).collect::<Vec<_>>() } } }),
            json!({ "properties": (0..900).map(|n| (n.to_string(), json!({ "type": "string", "maxLength": n }))).collect::<Map<_, _>>() }),
            json!(true),
            chain(50, |next| json!({ "allOf": [{ "$ref": next }] })),
        ] {
            assert!(check(&schema).is_ok(), "{schema}");
        }
    }

    #[test]
    fn chains_that_double_and_schemas_that_meet_themselves_are_not() {
        for schema in [
            chain(12, |next| json!({ "allOf": [{ "$ref": next }, { "$ref": next }] })),
            chain(12, |next| json!({ "items": { "allOf": [{ "$ref": next }, { "$ref": next }] } })),
            json!({ "$ref": "#" }),
            json!({ "allOf": [{ "anyOf": [{ "$ref": "#" }] }] }),
            json!({ "allOf": [{ "items": { "$ref": "#" } }, { "items": { "$ref": "#" } }] }),
            json!({ "items": { "$ref": "#" }, "contains": { "$ref": "#" } }),
            json!({ "items": { "enum": (0..1_000).collect::<Vec<_>>() } }),
            (0..40).fold(json!({}), |inner, _| json!({ "allOf": [inner], "unevaluatedProperties": {} })),
        ] {
            assert_eq!(check(&schema), Err(TOO_MUCH.to_owned()), "{schema}");
        }
    }

    #[test]
    fn work_at_one_place_is_allowed_up_to_its_number() {
        let values = |count: usize| json!({ "enum": (0..count).collect::<Vec<_>>() });
        assert!(check(&values(WORK_PER_PLACE_MAX - 1)).is_ok());
        assert!(check(&values(WORK_PER_PLACE_MAX)).is_err());
    }

    #[test]
    fn references_lead_to_its_own_schemas_and_nowhere_else() {
        for reference in [
            "https://example.com/x",
            "#anchor",
            "#/properties",
            "#/$defs/none/",
            "#/properties/a/",
            "other.json",
            "#/$defs/none",
        ] {
            let schema = json!({ "properties": { "a": { "$ref": reference } } });
            assert!(check(&schema).unwrap_err().contains("refer only to its own"), "{reference}");
        }
        assert!(check(&json!({ "properties": { "a/b": { "$ref": "#/properties/a~1b/items", "items": {} } } })).is_ok());
        for other in ["$dynamicRef", "dependencies", "additionalItems"] {
            assert!(check(&json!({ other: "#" })).unwrap_err().contains(other));
        }
    }
}
