//! Panics as findings: a panic in a world is a law broken, at some place in the code.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::world::{Failure, Law};

thread_local! {
    /// Whether whoever catches the panics of this thread tells them, too.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
    /// Where this thread panicked last.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Does something. A panic of it is a failure; one that unwinds with a failure is that one.
pub(crate) fn caught<T>(something: impl FnOnce() -> T) -> Result<T, Failure> {
    listen();
    PLACE.take();
    catch_unwind(AssertUnwindSafe(something)).map_err(|panic| {
        let text = match panic.downcast::<Failure>() {
            Ok(failure) => return *failure,
            Err(panic) => match panic.downcast::<String>() {
                Ok(text) => *text,
                Err(panic) => {
                    panic.downcast_ref::<&str>().map(ToString::to_string).unwrap_or_default()
                }
            },
        };
        Failure { place: PLACE.take(), ..Law::Panic.broken(text) }
    })
}

/// Does something whose panics are told by whoever finds them: each is found again and again until it is shrunk. Those
/// of other threads are told as they ever were.
pub(crate) fn quietly<T>(something: impl FnOnce() -> T) -> T {
    IS_QUIET.set(true);
    let done = something();
    IS_QUIET.set(false);
    done
}

/// Notes where threads panic, which those who catch it are not told.
fn listen() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PLACE.set(info.location().map(|place| format!("{}:{}", place.file(), place.line())));
            if !IS_QUIET.get() {
                before(info);
            }
        }));
    });
}
