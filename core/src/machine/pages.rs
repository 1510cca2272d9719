//! A map from port numbers to values, in O(1), allocated by the page.
//!
//! A page is allocated when a number in it is first entered, so a few ports cost one page.

use alloc::boxed::Box;
use alloc::vec::Vec;

const PAGE: usize = 128;
/// [`PAGE`] in the type of port numbers.
const PORTS_PER_PAGE: u32 = 128;
const _: () = assert!(PORTS_PER_PAGE as usize == PAGE);

type Page<T> = Box<[T; PAGE]>;

#[derive(Debug)]
pub(crate) struct Pages<T> {
    pages: Vec<Option<Page<T>>>,
}

impl<T> Default for Pages<T> {
    fn default() -> Pages<T> {
        Pages { pages: Vec::new() }
    }
}

const fn place(raw: u32) -> (usize, usize) {
    (raw as usize / PAGE, raw as usize % PAGE)
}

impl<T: Default> Pages<T> {
    #[inline]
    pub(crate) fn get(&self, raw: u32) -> Option<&T> {
        let (page, index) = place(raw);
        Some(&self.pages.get(page)?.as_ref()?[index])
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, raw: u32) -> Option<&mut T> {
        let (page, index) = place(raw);
        Some(&mut self.pages.get_mut(page)?.as_mut()?[index])
    }

    /// The place of a number. It is made if there is none.
    pub(crate) fn enter(&mut self, raw: u32) -> &mut T {
        let (page, index) = place(raw);
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        let fresh = || Box::new(core::array::from_fn(|_| T::default()));
        &mut self.pages[page].get_or_insert_with(fresh)[index]
    }

    /// Every place that was made, in the order of the numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let pages = self.pages.iter().zip(0u32..);
        pages.flat_map(|(page, number)| {
            let places = page.as_deref().map_or(&[][..], |places| &places[..]);
            let first = number * PORTS_PER_PAGE;
            (first..).zip(places)
        })
    }

    /// Every place that was made.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let pages = self.pages.iter_mut().flatten();
        pages.flat_map(|places| places.iter_mut())
    }

    /// Frees every page.
    pub(crate) fn clear(&mut self) {
        self.pages = Vec::new();
    }
}
