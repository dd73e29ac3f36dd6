//! What only the start needed is given back to the system: an idle server is small.
//!
//! Starting reads pages of the program file all over it, and leaves memory behind that was needed once. The pages come
//! back when they are used again, from the system's own copy of the file.
//!
//! This is the one place of this crate where `unsafe` is allowed. Invariant: only mappings of the program file that
//! nobody can write and that the loader has not written either are let go of, so nothing is lost by it.

#![expect(unsafe_code, reason = "the two calls of the system have no safe form; see above")]

use std::ops::Range;

/// Gives back what is not needed to go on. Where the system knows no way to, nothing happens.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_back() {
    // SAFETY: it takes no address of ours, and may be called whenever `malloc` may.
    unsafe { libc::malloc_trim(0) };
    let program = std::env::current_exe().unwrap_or_default();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for pages in never_written(&maps, &program.to_string_lossy()) {
        // SAFETY: these pages are the file's own, private and never written: whoever touches one again reads the same.
        let failed = unsafe { libc::madvise(pages.start as *mut libc::c_void, pages.len(), libc::MADV_DONTNEED) };
        if failed != 0 {
            tracing::debug!(error = %std::io::Error::last_os_error(), "pages of the program could not be given back");
        }
    }
}

/// Gives back what is not needed to go on. Where the system knows no way to, nothing happens.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}

/// Where the code of a program lies, and the beginning of its file, among the mappings of `/proc/self/maps`. What lies
/// between code and data may have been written by the loader before it was made read-only: it is left alone.
fn never_written(maps: &str, program: &str) -> Vec<Range<usize>> {
    let pages = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (range, rights, offset) = (words.next()?, words.next()?, words.next()?);
        let is_program = line.split_once('/').is_some_and(|(_, path)| program.strip_prefix('/') == Some(path));
        let is_code = rights == "r-xp";
        let is_beginning = rights == "r--p" && offset.bytes().all(|digit| digit == b'0');
        let (start, end) = range.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        (is_program && (is_code || is_beginning)).then_some(address(start)?..address(end)?)
    };
    maps.lines().filter_map(pages).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_wrote_is_let_go_of() {
        let maps = "\
55aa00000000-55aa00800000 r--p 00000000 fe:00 77   /opt/windlass
55aa00800000-55aa02200000 r-xp 0082d000 fe:00 77   /opt/windlass
55aa02200000-55aa023b0000 r--p 0228b000 fe:00 77   /opt/windlass
55aa023b0000-55aa023c0000 rw-p 02444000 fe:00 77   /opt/windlass
7f0000000000-7f0000100000 r-xp 00026000 fe:00 78   /usr/lib/libc.so.6
7f0000200000-7f0000300000 rw-p 00000000 00:00 0
";
        let given = never_written(maps, "/opt/windlass");
        assert_eq!(given, [0x55aa_0000_0000..0x55aa_0080_0000, 0x55aa_0080_0000..0x55aa_0220_0000]);
        assert!(never_written(maps, "/opt/other").is_empty());
    }

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn a_program_goes_on_without_the_pages_it_gave_back() {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("our mappings");
        let program = std::env::current_exe().expect("our file");
        assert!(!never_written(&maps, &program.to_string_lossy()).is_empty());
        give_back();
    }
}
