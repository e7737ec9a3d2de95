//! Steps: the places where the host waits for a store, and where a store waits for what lies
//! behind it.
//!
//! *Problem.* A host may die between any two of them, and what it was told before must still be
//! true after. Which places these are must be written in the code itself, or a new one is
//! forgotten.
//!
//! *Mechanism.* Each is written `step!("NAME", CALL)`, the name being unique. Built with the
//! feature `faults`, the process can be made to kill itself just before or just behind the Nth
//! passage of one step, and it can note the steps that it passed.
//!
//! *Cost.* Without the feature none: `step!("NAME", CALL)` is `CALL`.

#[cfg(feature = "faults")]
pub use armed::{CRASH_VARIABLE, FILE_VARIABLE, Side, arm, pass};

/// `step!("NAME", CALL)` is `CALL`, a place where tests can have the process die.
#[cfg(feature = "faults")]
macro_rules! step {
    ($name:literal, $call:expr) => {{
        $crate::step::pass($name, $crate::step::Side::Before);
        let done = $call;
        $crate::step::pass($name, $crate::step::Side::After);
        done
    }};
}

/// `step!("NAME", CALL)` is `CALL`, a place where tests can have the process die.
#[cfg(not(feature = "faults"))]
macro_rules! step {
    ($name:literal, $call:expr) => {
        $call
    };
}

pub(crate) use step;

#[cfg(feature = "faults")]
mod armed {
    use std::{
        collections::HashMap,
        fs::File,
        io::Write as _,
        sync::{Mutex, OnceLock, PoisonError},
    };

    use anyhow::Context as _;
    use rustix::process::{Signal, getpid, kill_process};

    /// The environment variable that says where to die: `STEP:before:N` or `STEP:after:N`.
    pub const CRASH_VARIABLE: &str = "AETHER_CRASH";

    /// The environment variable that names a file for the steps that were passed. A line
    /// `STEP:SIDE:N` is added at the Nth passage, N being 1, 2, 4, 8 …, and at the one that
    /// kills the process, the last line then.
    pub const FILE_VARIABLE: &str = "AETHER_STEPS_FILE";

    static PLAN: OnceLock<Plan> = OnceLock::new();

    /// Which side of a step.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Side {
        /// It is about to be done.
        Before,
        /// It is done, and nobody has been told.
        After,
    }

    impl Side {
        const fn word(self) -> &'static str {
            match self {
                Self::Before => "before",
                Self::After => "after",
            }
        }
    }

    #[derive(Debug)]
    struct Plan {
        crash: Option<(String, Side, u64)>,
        passed: Mutex<Passed>,
    }

    #[derive(Debug)]
    struct Passed {
        counts: HashMap<(&'static str, Side), u64>,
        file: Option<File>,
    }

    /// Reads from the environment where this process is to die and what it notes.
    ///
    /// # Errors
    /// If a variable does not have the form that it must.
    pub fn arm() -> anyhow::Result<()> {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let crash = set(CRASH_VARIABLE).map(|text| {
            place(&text).with_context(|| {
                format!("{CRASH_VARIABLE}={text}: expected STEP:before:N or STEP:after:N")
            })
        });
        let file = set(FILE_VARIABLE).map(|path| {
            let file = File::options().create(true).append(true).open(&path);
            file.with_context(|| format!("{FILE_VARIABLE}={path}"))
        });
        let (crash, file) = (crash.transpose()?, file.transpose()?);
        if crash.is_some() || file.is_some() {
            let passed = Mutex::new(Passed { counts: HashMap::new(), file });
            let _ = PLAN.set(Plan { crash, passed });
        }
        Ok(())
    }

    fn place(text: &str) -> Option<(String, Side, u64)> {
        let (rest, nth) = text.rsplit_once(':')?;
        let (step, side) = rest.rsplit_once(':')?;
        let side = [Side::Before, Side::After].into_iter().find(|it| it.word() == side)?;
        let nth = nth.parse().ok().filter(|nth| *nth > 0)?;
        Some((step.to_owned(), side, nth))
    }

    /// The process is at this side of a step.
    pub fn pass(step: &'static str, side: Side) {
        if let Some(plan) = PLAN.get() {
            plan.pass(step, side);
        }
    }

    impl Plan {
        fn pass(&self, step: &'static str, side: Side) {
            let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
            let count = passed.counts.entry((step, side)).or_default();
            *count += 1;
            let nth = *count;
            let dies = self
                .crash
                .as_ref()
                .is_some_and(|(name, at, n)| (name.as_str(), *at, *n) == (step, side, nth));
            if let Some(file) = &mut passed.file
                && (dies || nth.is_power_of_two())
            {
                // A test that misses the line fails.
                let _ = file.write_all(format!("{step}:{}:{nth}\n", side.word()).as_bytes());
            }
            if dies {
                die();
            }
        }
    }

    /// Ends the process as a power cut would: no destructor runs, nothing is flushed.
    fn die() -> ! {
        let _ = kill_process(getpid(), Signal::KILL);
        std::process::abort()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_place_is_a_step_a_side_and_a_number() {
            let read = place("turn.append:after:12");
            assert_eq!(read, Some(("turn.append".to_owned(), Side::After, 12)));
            for wrong in ["", "x", "x:after", "x:beside:1", "x:after:0", "x:after:-1"] {
                assert_eq!(place(wrong), None, "{wrong}");
            }
        }
    }
}
