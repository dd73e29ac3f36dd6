//! The checksum of a page of the database: xxh3 of its first 4,088 bytes, seeded with its number, in its last eight.
//!
//! The number is part of it so that a page that was written to, or read from, the wrong place is found as well.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How large a page is.
pub(crate) const BYTES: usize = 4096;
/// How many bytes at its end SQLite leaves to us.
pub(crate) const RESERVED_BYTES: usize = 8;
/// The page that holds SQLite's locks, at 1 GiB: it is never written.
const LOCK_PAGE: u64 = (1 << 30) / BYTES as u64 + 1;

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
pub(crate) fn damaged(path: &Path) -> io::Result<Vec<u64>> {
    let file = File::open(path)?;
    let mut page = [0; BYTES];
    let mut damaged = Vec::new();
    for number in (1..=file.metadata()?.len() / BYTES as u64).filter(|number| *number != LOCK_PAGE) {
        file.read_exact_at(&mut page, (number - 1) * BYTES as u64)?;
        if !is_whole(number, &page) {
            damaged.push(number);
        }
    }
    Ok(damaged)
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
}
