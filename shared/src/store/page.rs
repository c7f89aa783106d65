//! Pages: a part of a list, and where the next one begins.

/// How many entries a page has unless the caller says otherwise.
pub const PAGE_DEFAULT: u32 = 50;
/// The most entries of a page.
pub const PAGE_MAX: u32 = 100;

/// A part of a list, and behind which id the next one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, Id> {
    /// The entries.
    pub entries: Vec<T>,
    /// The last id that was examined, shown or not; `None` when this was the last page.
    pub next: Option<Id>,
}

impl<T, Id> Page<T, Id> {
    /// A page of the first `limit` entries; what is beyond them says only that there is more. `id_of` names the last entry shown.
    #[must_use]
    pub fn cut(mut entries: Vec<T>, limit: usize, id_of: impl Fn(&T) -> Id) -> Self {
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = if more { entries.last().map(id_of) } else { None };
        Self { entries, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_page_has_no_next() {
        assert_eq!(Page::cut(vec![1, 2], 2, |n| *n).next, None);
        assert_eq!(Page::cut(vec![1, 2, 3], 2, |n| *n), Page { entries: vec![1, 2], next: Some(2) });
    }
}
