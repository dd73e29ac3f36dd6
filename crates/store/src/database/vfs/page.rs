//! The checksum of a page of the database: xxh3 of its first 4,088 bytes, seeded with its number, in its last eight.
//!
//! The number is part of it so that a page that was written to, or read from, the wrong place is found as well.

use std::{collections::BTreeSet, fs::File, io, os::unix::fs::FileExt as _, path::Path};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How large a page is.
pub(crate) const BYTES: usize = 4096;
/// How many bytes at its end SQLite leaves to us.
pub(crate) const RESERVED_BYTES: usize = 8;
/// The page that holds SQLite's locks, at 1 GiB: it is never written.
const LOCK_PAGE: u64 = (1 << 30) / BYTES as u64 + 1;

/// Where the first page says which page the list of free ones begins with.
const FIRST_TRUNK: usize = 32;

const CONTENT_BYTES: usize = BYTES - RESERVED_BYTES;

/// A page's content with its checksum, as it goes to disk.
pub(crate) fn sealed(number: u64, content: &[u8; BYTES]) -> [u8; BYTES] {
    let mut page = *content;
    let checksum = xxh3_64_with_seed(&page[..CONTENT_BYTES], number);
    page[CONTENT_BYTES..].copy_from_slice(&checksum.to_le_bytes());
    page
}

/// Whether a page is what was written.
pub(crate) fn is_whole(number: u64, page: &[u8; BYTES]) -> bool {
    page[CONTENT_BYTES..] == xxh3_64_with_seed(&page[..CONTENT_BYTES], number).to_le_bytes()
}

/// What is said of a damaged page.
pub(crate) fn problem(number: u64) -> String {
    format!("page {number} of windlass.db is not what was written (its checksum is wrong)")
}

/// The numbers of all damaged pages of a file.
///
/// A page that one transaction both took and freed was never written: it is a hole, and no damage as long as it is free.
pub(crate) fn damaged(path: &Path) -> io::Result<Vec<u64>> {
    let file = File::open(path)?;
    let mut damaged = Vec::new();
    let mut holes = Vec::new();
    for number in (1..=file.metadata()?.len() / BYTES as u64).filter(|number| *number != LOCK_PAGE) {
        let page = read(&file, number)?;
        if !is_whole(number, &page) {
            if page == [0; BYTES] { &mut holes } else { &mut damaged }.push(number);
        }
    }
    if !holes.is_empty() {
        let free = free_pages(&file)?;
        damaged.extend(holes.into_iter().filter(|number| !free.contains(number)));
        damaged.sort_unstable();
    }
    Ok(damaged)
}

/// The pages that the database does not use, by its own list ("The Freelist" of SQLite's file format), as far as the list is whole.
fn free_pages(file: &File) -> io::Result<BTreeSet<u64>> {
    let mut free = BTreeSet::new();
    let first = read(file, 1)?;
    let mut trunk = if is_whole(1, &first) { word(&first, FIRST_TRUNK) } else { 0 };
    while trunk != 0 && free.insert(trunk) {
        let page = read(file, trunk)?;
        if !is_whole(trunk, &page) {
            break;
        }
        let leaves = (word(&page, 4) as usize).min(CONTENT_BYTES / 4 - 2);
        free.extend((0..leaves).map(|leaf| word(&page, 8 + leaf * 4)));
        trunk = word(&page, 0);
    }
    Ok(free)
}

fn read(file: &File, number: u64) -> io::Result<[u8; BYTES]> {
    let mut page = [0; BYTES];
    file.read_exact_at(&mut page, (number - 1) * BYTES as u64)?;
    Ok(page)
}

/// Four bytes of a page, the greatest first.
fn word(page: &[u8; BYTES], at: usize) -> u64 {
    page[at..at + 4].iter().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_found() {
        let page = sealed(7, &std::array::from_fn(|at| at.to_le_bytes()[0]));
        assert!(is_whole(7, &page));
        for bit in 0..BYTES * 8 {
            let mut flipped = page;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_whole(7, &flipped), "bit {bit}");
        }
    }

    #[test]
    fn a_page_from_elsewhere_and_an_empty_one_are_found() {
        let page = sealed(7, &[1; BYTES]);
        assert!(!is_whole(8, &page));
        assert!((1..1_000).all(|number| !is_whole(number, &[0; BYTES])));
    }

    /// A page of words, at these places.
    fn words(number: u64, words: &[(usize, u32)]) -> [u8; BYTES] {
        let mut page = [0; BYTES];
        for (at, word) in words {
            page[*at..at + 4].copy_from_slice(&word.to_be_bytes());
        }
        sealed(number, &page)
    }

    #[test]
    fn holes_are_no_damage_where_they_are_free() {
        let hole = [0; BYTES];
        let first = words(1, &[(FIRST_TRUNK, 2)]);
        // One leaf, 3, and the list goes on with 5, which has 6.
        let (trunk, next) = (words(2, &[(0, 5), (4, 1), (8, 3)]), words(5, &[(4, 1), (8, 6)]));
        let flipped = |page: [u8; BYTES]| {
            let mut page = page;
            page[100] ^= 1;
            page
        };
        let used = words(4, &[]);
        for (pages, wanted) in [
            ([first, trunk, hole, used, next, hole], &[][..]),
            ([first, trunk, hole, hole, next, hole], &[4]),
            ([first, trunk, hole, used, flipped(next), hole], &[5, 6]),
            ([first, flipped(trunk), hole, used, next, hole], &[2, 3, 6]),
            ([flipped(first), trunk, hole, used, next, hole], &[1, 3, 6]),
            ([first, trunk, flipped(hole), used, next, hole], &[3]),
            ([words(1, &[]), trunk, hole, used, next, used], &[3, 6]),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), pages.concat()).unwrap();
            assert_eq!(damaged(file.path()).unwrap(), wanted);
        }
    }
}
