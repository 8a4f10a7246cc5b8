//! Extendible hashing: a directory by the leading bits of a 32-bit hash, in which one full page splits
//! without moving any other. A table grows page by page, so no transaction pays for a rehash.

use std::sync::Arc;

use crate::cow::CowVec;

/// Leading bits that the directory of an empty table tells apart: one node of the page vector.
const MIN_DEPTH: u32 = 6;
/// Most leading bits; what is left of the hash places an entry within its page.
pub(crate) const MAX_DEPTH: u32 = 25;

/// What the directory needs to know of its pages.
pub(crate) trait Page: Clone {
    /// How many leading bits of the hash all entries of this page share.
    fn depth(&self) -> u32;

    /// Two pages of one more bit of depth: entries with that bit clear, entries with that bit set.
    fn split(&self) -> (Self, Self);
}

/// Pages by the leading bits of a hash. Neighbouring entries of the directory share a page that has
/// not needed all of the bits yet.
pub(crate) struct Directory<P> {
    pages: CowVec<P>,
    depth: u32,
    /// Stands in for a page while that is written.
    placeholder: Arc<P>,
}

impl<P> Clone for Directory<P> {
    fn clone(&self) -> Self {
        Self {
            pages: self.pages.clone(),
            depth: self.depth,
            placeholder: Arc::clone(&self.placeholder),
        }
    }
}

impl<P: Page> Directory<P> {
    /// A directory of empty pages, made of `page`, which must be empty and of depth 0. They are apart from the beginning: a page that many
    /// entries share costs every write all of these references, and a small map that every route changes has few pages for ever.
    pub(crate) fn new(page: P) -> Self {
        let placeholder = Arc::new(page.clone());
        let mut pages = vec![page];
        for _ in 0..MIN_DEPTH {
            let halves = pages.iter().map(Page::split);
            pages = halves.flat_map(|(clear, set)| [clear, set]).collect();
        }
        let pages: Vec<Arc<P>> = pages.into_iter().map(Arc::new).collect();
        Self {
            pages: CowVec::from_arcs(&pages),
            depth: MIN_DEPTH,
            placeholder,
        }
    }

    /// The page that holds the entries with this hash.
    #[inline(always)]
    pub(crate) fn page(&self, hash: u32) -> &P {
        self.pages.get(self.index(hash))
    }

    /// Writes the page of this hash; it is copied first if another generation has it too.
    pub(crate) fn update<R>(&mut self, hash: u32, write: impl FnOnce(&mut P) -> R) -> R {
        let (first, count) = self.range(hash);
        if count == 1 {
            return write(self.pages.get_mut(first));
        }
        // The references of this generation must not look like those of another one.
        let mut page = Arc::clone(self.pages.arc(first));
        self.point(first, count, &Arc::clone(&self.placeholder));
        let result = write(Arc::make_mut(&mut page));
        self.point(first, count, &page);
        result
    }

    /// Splits the page of this hash in two, and the directory if that tells too few bits apart.
    /// Returns false, and does nothing, at `MAX_DEPTH`.
    pub(crate) fn split(&mut self, hash: u32) -> bool {
        if self.page(hash).depth() == MAX_DEPTH {
            return false;
        }
        if self.page(hash).depth() == self.depth {
            self.double();
        }
        let (first, count) = self.range(hash);
        let (clear, set) = self.page(hash).split();
        self.point(first, count / 2, &Arc::new(clear));
        self.point(first + count / 2, count / 2, &Arc::new(set));
        true
    }

    /// Every page once.
    pub(crate) fn pages(&self) -> impl Iterator<Item = &P> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let page = (next < 1 << self.depth).then(|| self.pages.get(next))?;
            next += 1 << (self.depth - page.depth());
            Some(page)
        })
    }

    /// Whether each page has as many entries as its depth says, one behind the other.
    pub(crate) fn is_sound(&self) -> bool {
        let end = 1 << self.depth;
        let mut at = 0;
        while at < end {
            let page = self.pages.arc(at);
            if page.depth() > self.depth {
                return false;
            }
            let count = 1 << (self.depth - page.depth());
            let is_its = |entry| Arc::ptr_eq(self.pages.arc(entry), page);
            if at % count != 0 || !(at..at + count).all(is_its) {
                return false;
            }
            at += count;
        }
        true
    }

    /// Bytes of all pages and the directory.
    pub(crate) fn bytes(&self) -> usize {
        self.pages().count() * size_of::<P>() + self.pages.len() * size_of::<Arc<P>>()
    }

    #[inline(always)]
    fn index(&self, hash: u32) -> usize {
        (hash >> (32 - self.depth)) as usize
    }

    /// First directory entry of this hash's page, and how many share that page.
    fn range(&self, hash: u32) -> (usize, usize) {
        let index = self.index(hash);
        let count = 1 << (self.depth - self.pages.get(index).depth());
        (index & !(count - 1), count)
    }

    fn point(&mut self, first: usize, count: usize, page: &Arc<P>) {
        for index in first..first + count {
            self.pages.set(index, Arc::clone(page));
        }
    }

    fn double(&mut self) {
        let twice = (0..self.pages.len() * 2).map(|i| Arc::clone(self.pages.arc(i / 2)));
        self.pages = CowVec::from_arcs(&twice.collect::<Vec<_>>());
        self.depth += 1;
    }
}
