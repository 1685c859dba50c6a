#![no_main]

use std::sync::Once;

static QUIET: Once = Once::new();

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    // redb's panics are caught by the store; the hook would end the process before they can be. One that gets
    // through ends it all the same.
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    syncro_sim::fuzz::store_file(input)
});
