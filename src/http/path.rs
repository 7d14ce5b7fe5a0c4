//! The path of a request, in the one form in which paths are compared: [`Path`].

use super::percent;

/// A path, decoded segment by segment, so that `/%68ealthz` is `/healthz` for every rule. `%2F` is
/// part of a segment and never separates two (RFC 3986 section 2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Vec<Vec<u8>>);

impl Path {
    /// Decodes the path of a request. The empty path, that of `*`, has no segments; `/` has an empty
    /// one.
    pub fn decode(path: &str) -> Path {
        Path(path.split('/').skip(1).map(percent::decode).collect())
    }

    /// A path that is not percent-encoded, such as one from an option.
    pub(crate) fn plain(path: &str) -> Path {
        let segments = path.split('/').skip(1);
        Path(segments.map(|it| it.as_bytes().to_vec()).collect())
    }

    /// The decoded path, to be shown.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let segments = self.0.iter();
        segments.flat_map(|it| [b"/", &it[..]].concat()).collect()
    }

    /// Whether this is `path`, which is not percent-encoded.
    pub(crate) fn is(&self, path: &str) -> bool {
        self.below(path).is_some_and(<[_]>::is_empty)
    }

    /// The segments below `prefix`, which is not percent-encoded, if this path begins with all of its
    /// segments. The empty prefix is that of every path.
    pub(super) fn below(&self, prefix: &str) -> Option<&[Vec<u8>]> {
        let mut segments = self.0.as_slice();
        for own in prefix.split('/').skip(1) {
            let (first, rest) = segments.split_first()?;
            if first != own.as_bytes() {
                return None;
            }
            segments = rest;
        }
        Some(segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_decoded_and_by_segments() {
        for path in ["/a/b", "/%61/b", "/a/%62", "/%61/%62"] {
            assert!(Path::decode(path).is("/a/b"), "{path}");
        }
        for path in [
            "", "/", "/a", "/a/b/", "//a/b", "/a%2Fb", "/a%2fb", "/A/b", "/a/b/c", "/%2561/b",
        ] {
            assert!(!Path::decode(path).is("/a/b"), "{path}");
        }
        assert!(Path::decode("/").is("/") && Path::decode("").is(""));
        assert!(!Path::decode("").is("/") && !Path::decode("/").is(""));
        assert_eq!(Path::plain("/%61"), Path(vec![b"%61".to_vec()]));
        let below = |path: &str, prefix: &str| Path::decode(path).below(prefix).map(<[_]>::len);
        assert_eq!(below("/a/b", "/a"), Some(1));
        assert_eq!(below("/a/", "/a"), Some(1));
        assert_eq!(below("/a", ""), Some(1));
        assert_eq!(below("/ab", "/a"), None);
    }
}
