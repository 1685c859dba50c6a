//! What may become of a copy, and how those that go on are in touch.

use std::fmt;
use std::str::FromStr;

/// One way of restoring, for every pair of moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variant {
    pub(super) copy: Copied,
    pub(super) subject: Subject,
    pub(super) route: Route,
    pub(super) writes: Writes,
}

/// What is copied, and what happens to the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copied {
    /// A backup of the file takes the place of the file.
    Restore,
    /// A copy of the file becomes a second node.
    File,
    /// A copy of the running machine becomes a second one.
    Machine,
    /// The running machine is set back to its copy.
    SetBack,
}

/// Who is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The node that writes most.
    Leaf,
    /// The node through which the others know each other.
    Hub,
}

/// Whom those that go on meet in each round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The peer, which meets the third node after them.
    Direct,
    /// The third node, which meets the peer after them.
    Third,
    /// Each other first, then one of them the peer.
    Face,
}

/// When those that go on write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writes {
    Before,
    After,
    Both,
}

impl Variant {
    /// Those that are always tried; the others take minutes. Writing before contact and after it covers either
    /// alone.
    pub(super) fn always() -> Vec<Self> {
        let mut always = Self::all();
        always.retain(|it| {
            let is_tried = match it.subject {
                Subject::Leaf => it.copy != Copied::SetBack && it.route != Route::Face,
                Subject::Hub => it.copy == Copied::Restore && it.route == Route::Direct,
            };
            is_tried && it.writes == Writes::Both
        });
        always
    }

    /// All of them, those first that are always tried.
    pub(super) fn in_turn() -> Vec<Self> {
        let (mut all, always) = (Self::all(), Self::always());
        all.sort_by_key(|it| !always.contains(it));
        all
    }

    pub(super) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for copy in [Copied::Restore, Copied::File, Copied::Machine, Copied::SetBack] {
            for subject in [Subject::Leaf, Subject::Hub] {
                for route in [Route::Direct, Route::Third, Route::Face] {
                    for writes in [Writes::Before, Writes::After, Writes::Both] {
                        if route != Route::Face || copy.is_clone() {
                            all.push(Self { copy, subject, route, writes });
                        }
                    }
                }
            }
        }
        all
    }
}

impl Copied {
    /// Whether copy and original both go on.
    pub(super) fn is_clone(self) -> bool {
        matches!(self, Self::File | Self::Machine)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { copy, subject, route, writes } = self;
        write!(f, "{}", format!("{copy:?}-{subject:?}-{route:?}-{writes:?}").to_lowercase())
    }
}

impl FromStr for Variant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self::all().into_iter();
        all.find(|it| it.to_string() == text).ok_or_else(|| format!("there is no variant {text:?}"))
    }
}
