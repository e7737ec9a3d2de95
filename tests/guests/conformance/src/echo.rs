//! Says back what it is told.

aether_guest::aggregate!("conformance.storm.yaml", "echo", Echo);

/// Keeps the last value.
pub struct Echo;

impl Aggregate for Echo {
    fn initial(_id: String) -> State {
        State { count: 0, last: None }
    }

    fn decide(_: Context, _: State, command: Command) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Keep(Keep { values }) => Ok(values.into_iter().map(kept).collect()),
            Command::Refuse(Refuse { number, value }) => refuse(number, value),
        }
    }

    fn evolve(state: State, events: Vec<Event>) -> State {
        events.into_iter().fold(state, |state, Event::Kept(Kept { value })| State {
            count: state.count + 1,
            last: Some(value),
        })
    }
}

const fn kept(value: Sample) -> Event {
    Event::Kept(Kept { value })
}

#[expect(clippy::result_large_err, reason = "a rejection with a value of every type is wanted")]
fn refuse(number: u8, value: Sample) -> Result<Vec<Event>, Rejection> {
    use Rejection::*;
    #[rustfmt::skip]
    let bare = [
        R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10, R11, R12, R13,
        R14, R15, R16, R17, R18, R19, R20, R21, R22, R23, R24, R25, R26, R27,
        R28, R29, R30, R31, R32, R33, R34, R35, R36, R37, R38, R39, R40, R41,
        R42, R43, R44, R45, R46, R47, R48, R49, R50, R51, R52, R53, R54, R55,
        R56, R57, R58, R59, R60, R61, R62, R63, R64, R65, R66, R67, R68, R69,
        R70, R71, R72, R73, R74, R75, R76, R77, R78, R79, R80, R81, R82, R83,
        R84, R85, R86, R87, R88, R89, R90, R91, R92, R93, R94, R95, R96, R97,
    ];
    match number {
        98 => Err(R98(self::R98 { why: value.text })),
        99 => Err(R99(self::R99 { value })),
        _ => match bare.into_iter().nth(usize::from(number)) {
            Some(reason) => Err(reason),
            None => Ok(vec![kept(value)]),
        },
    }
}
