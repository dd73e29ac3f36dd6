//! A world in which names have the addresses that a check gives them: what the system's resolver says to a real server.
//!
//! The server's environment says which file has them: [`VARIABLE`]. A line is `name first second …`; look-ups of the name
//! are answered in turn by the words behind it, and by the last one from then on. A word is one address, or several with
//! commas between them. Other names but `localhost` are nobody's: no check asks the world outside.
//!
//! This is the one place of the checks with `unsafe` code. A program's own `getaddrinfo` stands before that of the C
//! library, so everything that looks names up by the system comes here, whichever library it uses. Invariant: what is
//! given back was made by the C library's own function, so that its `freeaddrinfo` may free it.

#![expect(unsafe_code, reason = "it stands in for a C function; see above")]

use std::{
    collections::HashMap,
    ffi::{CStr, CString, c_char, c_int},
    net::IpAddr,
    sync::{Mutex, OnceLock, PoisonError},
};

use libc::{EAI_NONAME, RTLD_NEXT, addrinfo, dlsym};

/// Where a server finds its names.
pub const VARIABLE: &str = "PROOF_NAMES";

/// What remains to be answered for each name; C functions have no context to be handed it in.
static NAMES: OnceLock<Mutex<HashMap<String, Vec<String>>>> = OnceLock::new();

type Function = unsafe extern "C" fn(*const c_char, *const c_char, *const addrinfo, *mut *mut addrinfo) -> c_int;

/// Reads the names if the environment says where they are.
///
/// # Panics
/// They cannot be read: a check without its names would pass.
pub fn learn_by_environment() {
    let Ok(file) = std::env::var(VARIABLE) else { return };
    let text = std::fs::read_to_string(&file).expect("the file of names in PROOF_NAMES");
    let line = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let name = words.next().expect("a name in PROOF_NAMES");
        (name, words.rev().collect())
    };
    NAMES.set(Mutex::new(text.lines().map(line).collect())).expect("names are learnt once");
}

/// Who answers a look-up of a name.
enum Answer {
    /// The system.
    System,
    /// The file, with these addresses, commas between them.
    Addresses(String),
    /// Nobody.
    Nobody,
}

fn answer(name: &str) -> Answer {
    let Some(names) = NAMES.get() else { return Answer::System };
    let bare = name.trim_end_matches('.');
    if bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok() {
        return Answer::System;
    }
    let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(left) = names.get_mut(bare) else { return Answer::Nobody };
    let next = if left.len() > 1 { left.pop() } else { left.last().cloned() };
    next.map_or(Answer::Nobody, Answer::Addresses)
}

/// Stands in for the C library's.
///
/// # Safety
/// As for the function that it stands in for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    result: *mut *mut addrinfo,
) -> c_int {
    // Safety: the C library has a function of this name and type; callers hand in what it asks for.
    let system = unsafe {
        let found = dlsym(RTLD_NEXT, c"getaddrinfo".as_ptr());
        if found.is_null() {
            return EAI_NONAME;
        }
        std::mem::transmute::<*mut libc::c_void, Function>(found)
    };
    // Safety: a name is null or a C string.
    let name = if node.is_null() { None } else { unsafe { CStr::from_ptr(node) }.to_str().ok() };
    let addresses = match name.map_or(Answer::System, answer) {
        // Safety: the arguments are the caller's.
        Answer::System => return unsafe { system(node, service, hints, result) },
        Answer::Nobody => return EAI_NONAME,
        Answer::Addresses(addresses) => addresses,
    };
    // One look-up for each address, made into one list.
    let mut end = result;
    for address in addresses.split(',') {
        let Ok(address) = CString::new(address) else { return EAI_NONAME };
        // Safety: `end` is the caller's, or the end of a list that the C library made.
        unsafe {
            let code = system(address.as_ptr(), service, hints, end);
            if code != 0 {
                return code;
            }
            while !(*end).is_null() {
                end = &raw mut (**end).ai_next;
            }
        }
    }
    0
}
