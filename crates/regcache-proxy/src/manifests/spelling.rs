//! Whether a manifest says the same to everybody who reads it. Pure.
//!
//! Registries are written in languages whose readers take `Layers` for `layers`, and of the two the last one. One that
//! checks that a repository has the layers that a manifest names may so have checked others than we read, or have taken
//! a layer for one that lies elsewhere. No tool writes such a thing; what it names is asked about.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Whether no field that counts is spelt in two ways or in another one. What is no JSON is not plain either.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    DOCUMENT.deserialize(&mut reader).is_ok() && reader.end().is_ok()
}

const DOCUMENT: Object = Object {
    fields: &["mediaType", "config", "layers", "blobs", "manifests"],
    within: Some(&DESCRIPTOR),
};
const DESCRIPTOR: Object = Object {
    fields: &["mediaType", "digest", "urls"],
    within: None,
};

/// An object, or a list of such.
#[derive(Clone, Copy)]
struct Object {
    /// Those that count.
    fields: &'static [&'static str],
    /// What is in these.
    within: Option<&'static Object>,
}

/// The name of a field, borrowed where there are no escapes in it.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> DeserializeSeed<'de> for Object {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Object {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object in plain spelling")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            // There are letters beyond ASCII that count as the same as one within.
            let counts = self.fields.iter().any(|field| field.eq_ignore_ascii_case(&name));
            let plain = name.is_ascii() && (!counts || self.fields.contains(&&*name));
            if !plain {
                return Err(A::Error::custom("a field in another spelling"));
            }
            match self.within.filter(|_| counts) {
                Some(within) => map.next_value_seed(*within)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(
        r#"{"layers": [{"digest": "a", "annotations": {"Digest": "x", "ä": 1}}], "Size": 1}"#,
        true
    )]
    #[case(
        r#"{"config": null, "layers": [], "mediaType": "x", "schemaVersion": 2, "x": 1.5, "y": true}"#,
        true
    )]
    #[case(r#"{"layers": [], "Layers": []}"#, false)]
    #[case(r#"{"LAYERS": []}"#, false)]
    #[case(r#"{"layer\u017f": []}"#, false)]
    #[case(r#"{"\u004cayers": []}"#, false)]
    #[case(r#"{"MediaType": "x"}"#, false)]
    #[case(r#"{"layers": [{"digest": "a"}, {"digest": "a", "URLs": ["b"]}]}"#, false)]
    #[case(r#"{"config": {"digest": "a", "Digest": "b"}}"#, false)]
    #[case(r#"{"layers": []} {}"#, false)]
    #[case("", false)]
    fn one_spelling_of_what_counts_is_plain(#[case] document: &str, #[case] plain: bool) {
        assert_eq!(is_plain(document.as_bytes()), plain);
    }
}
