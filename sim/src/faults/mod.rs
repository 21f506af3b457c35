//! Faults as plain data: what happens to whom, when, and for how long.
//!
//! A schedule is drawn from the seed before the run (`draw.rs`), printed, parsed and shrunk as text (`text.rs`), and done
//! by the driver (`injector.rs`). Whom a fault hits may be a role: it is looked up when its time has come.

pub mod deed;
pub mod draw;
pub mod injector;
pub mod links;
pub mod quorum;
mod roles;
mod rolling;
mod text;

pub use text::ParseError;

/// What happens to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It vanishes without a word, and its containers with it; then it comes back empty.
    Lose,
    /// Its cloud announces that it vanishes in so many seconds, and then it does. It is away for the fault's duration.
    Notice(u32),
    /// Its process dies and another starts in its place at once; its containers live on. Has no duration.
    Restart,
    /// No word passes between it and other machines, either way. Clients still reach it.
    CutOff,
    /// It hears others, but nobody hears it.
    Mute,
    /// Others hear it, but it hears nobody.
    Deaf,
    /// Each message from or to it takes so many milliseconds.
    Slow(u32),
    /// Its process is not scheduled.
    Pause,
    /// Its clocks run at so many percent of the true rate, and its wall clock jumps by so many milliseconds.
    Skew {
        /// Of the true rate.
        percent: u32,
        /// Forwards or back.
        jump_ms: i32,
    },
    /// No word passes between some machines and all others.
    Split,
    /// No word passes between two machines; both hear all others.
    Link,
}

/// Whom it hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Whoever leads then.
    Leader,
    /// One of the voters that do not lead, by number (modulo how many there are).
    Follower(u8),
    /// One of the members that do not vote.
    Learner(u8),
    /// One of the machines that hold no replica.
    Worker(u8),
    /// The machine of this number, from 1.
    Machine(u8),
    /// Some machines together.
    Machines(Group),
}

/// Some machines by number, from 1 to [`Group::NUMBER_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group(u32);

impl Group {
    /// There are no more machines in a world.
    pub const NUMBER_MAX: u8 = 31;

    /// One more.
    ///
    /// # Panics
    /// If the number is greater than [`Group::NUMBER_MAX`].
    #[must_use]
    pub fn with(self, number: u8) -> Self {
        assert!(number <= Self::NUMBER_MAX, "machine {number}");
        Self(self.0 | 1 << number)
    }

    /// Their numbers, in order.
    pub fn numbers(self) -> impl Iterator<Item = u8> {
        (0..=Self::NUMBER_MAX).filter(move |number| self.0 & 1 << number != 0)
    }
}

/// What a fault is part of, for whoever reads a schedule, and for the coverage counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// It comes alone.
    Single,
    /// Several machines vanish at the same moment.
    Together,
    /// Machines are cut off one by one and healed in another order.
    Swizzle,
    /// All processes restart, one after the other (`rolling.rs`).
    Rolling,
    /// Many processes start at the same moment.
    JoinStorm,
}

/// One fault of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Planned {
    /// Milliseconds from the schedule's beginning.
    pub at_ms: u64,
    /// What happens.
    pub fault: Fault,
    /// To whom.
    pub target: Target,
    /// For how long; 0 for what has no duration.
    pub for_ms: u64,
    /// As part of what.
    pub pattern: Pattern,
}

/// Faults in order of their time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule(Vec<Planned>);

impl Schedule {
    /// Puts faults in order.
    pub fn new(mut faults: Vec<Planned>) -> Self {
        faults.sort();
        Self(faults)
    }

    /// Its faults.
    pub fn faults(&self) -> &[Planned] {
        &self.0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same without some of them, by position.
    #[must_use]
    pub fn without(&self, range: std::ops::Range<usize>) -> Self {
        let kept = self.0.iter().enumerate();
        let kept = kept.filter(|(at, _)| !range.contains(at));
        Self(kept.map(|(_, fault)| *fault).collect())
    }
}

impl Fault {
    /// Its name in coverage tables and in text, without its figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lose => "lose",
            Self::Notice(_) => "notice",
            Self::Restart => "restart",
            Self::CutOff => "cut-off",
            Self::Mute => "mute",
            Self::Deaf => "deaf",
            Self::Slow(_) => "slow",
            Self::Pause => "pause",
            Self::Skew { .. } => "skew",
            Self::Split => "split",
            Self::Link => "link",
        }
    }

    /// Whether a voter that suffers it may fail to do its part.
    pub fn hampers(self) -> bool {
        !matches!(self, Self::Skew { .. } | Self::Notice(_))
    }
}

impl Pattern {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Single,
        Self::Together,
        Self::Swizzle,
        Self::Rolling,
        Self::JoinStorm,
    ];

    /// Its name in coverage tables and in text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Together => "together",
            Self::Swizzle => "swizzle",
            Self::Rolling => "rolling",
            Self::JoinStorm => "join-storm",
        }
    }
}

/// Every kind of fault that schedules are drawn from, by name.
pub const FAULTS: [&str; 11] = [
    "lose", "notice", "restart", "cut-off", "mute", "deaf", "slow", "pause", "skew", "split",
    "link",
];
