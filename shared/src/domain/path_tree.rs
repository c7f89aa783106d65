//! Finding many dotted paths in one JSON text, in one pass over it. What is found stays as it is written.

use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Paths, by their first segments.
#[derive(Debug, Default)]
pub struct PathTree<'p> {
    /// The path that ends here, if one does.
    path: Option<&'p str>,
    below: HashMap<&'p str, Self>,
}

impl<'p> PathTree<'p> {
    /// Adds a path: keys of nested objects, with dots between them.
    pub fn add(&mut self, path: &'p str) {
        let mut node = self;
        for segment in path.split('.') {
            node = node.below.entry(segment).or_default();
        }
        node.path = Some(path);
    }

    /// What is at the paths; paths at which there is nothing are left out. Of a key that is there twice the last one counts.
    ///
    /// The text is read once, and what one path has inside another once more for each such path.
    #[must_use]
    pub fn find<'j>(&self, json: &'j RawValue) -> HashMap<&'p str, &'j str> {
        let mut found = HashMap::new();
        self.search(json, &mut found);
        found
    }

    fn search<'j>(&self, json: &'j RawValue, found: &mut HashMap<&'p str, &'j str>) {
        let mut deserializer = serde_json::Deserializer::from_str(json.get());
        if (Inside { tree: self, found: &mut *found }).deserialize(&mut deserializer).is_err() {
            // A number beyond a double where a path goes on: read level by level, no such number is looked at.
            self.forget(found);
            self.search_by_level(json, found);
        }
    }

    fn search_by_level<'j>(&self, json: &'j RawValue, found: &mut HashMap<&'p str, &'j str>) {
        let Ok(object) = serde_json::from_str::<HashMap<String, &'j RawValue>>(json.get()) else { return };
        for (segment, node) in &self.below {
            let Some(value) = object.get(*segment) else { continue };
            if let Some(path) = node.path {
                found.insert(path, value.get());
            }
            if !node.below.is_empty() {
                node.search_by_level(value, found);
            }
        }
    }

    fn forget(&self, found: &mut HashMap<&'p str, &str>) {
        for node in self.below.values() {
            if let Some(path) = node.path {
                found.remove(path);
            }
            node.forget(found);
        }
    }
}

/// Reads a value for what is below a node of the tree.
struct Inside<'t, 'p, 'j> {
    tree: &'t PathTree<'p>,
    found: &'t mut HashMap<&'p str, &'j str>,
}

impl<'j> DeserializeSeed<'j> for Inside<'_, '_, 'j> {
    type Value = ();

    fn deserialize<D: Deserializer<'j>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'j> Visitor<'j> for Inside<'_, '_, 'j> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'j>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { tree, found } = self;
        while let Some(key) = map.next_key::<String>()? {
            let Some(node) = tree.below.get(key.as_str()) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            node.forget(found);
            let Some(path) = node.path else {
                map.next_value_seed(Inside { tree: node, found })?;
                continue;
            };
            let value: &'j RawValue = map.next_value()?;
            found.insert(path, value.get());
            if !node.below.is_empty() {
                node.search(value, found);
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'j>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str, paths: &[&str]) -> Vec<Option<String>> {
        let mut tree = PathTree::default();
        for path in paths {
            tree.add(path);
        }
        let json: Box<RawValue> = serde_json::from_str(json).unwrap();
        let found = tree.find(&json);
        paths.iter().map(|path| found.get(path).map(|text| (*text).to_owned())).collect()
    }

    #[test]
    fn paths_are_found_as_they_are_written_also_inside_one_another() {
        let json = r#"{"a": {"b": [1.0, 2], "c": {"d": null}}, "e": 1e400, "f": "x"}"#;
        let of = |paths: &[&str]| found(json, paths);
        assert_eq!(of(&["a.b", "a.c.d"]), [Some("[1.0, 2]".to_owned()), Some("null".to_owned())]);
        assert_eq!(of(&["a.c", "a.c.d"]), [Some(r#"{"d": null}"#.to_owned()), Some("null".to_owned())]);
        assert_eq!(of(&["e", "f"]), [Some("1e400".to_owned()), Some(r#""x""#.to_owned())]);
        assert_eq!(of(&["a.b.0", "f.x", "e.x", "a.x", "z"]), [None, None, None, None, None]);
    }

    #[test]
    fn last_of_a_doubled_key_counts() {
        assert_eq!(found(r#"{"a":{"b":1},"a":{"c":2}}"#, &["a.b", "a.c"]), [None, Some("2".to_owned())]);
        assert_eq!(found(r#"{"a":1,"a":2}"#, &["a"]), [Some("2".to_owned())]);
    }

    #[test]
    fn number_beyond_a_double_hides_nothing_behind_it() {
        assert_eq!(
            found(r#"{"a":{"n":1e999,"b":1},"c":2}"#, &["a.b", "c"]),
            [Some("1".to_owned()), Some("2".to_owned())]
        );
        assert_eq!(found(r#"{"a":1e999,"c":2}"#, &["a.b", "c"]), [None, Some("2".to_owned())]);
    }
}
