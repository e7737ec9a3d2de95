//! A transfer: a small state machine that remembers how far money has come from one account to
//! another, so that whoever carries it out can stop anywhere and go on.

aether_guest::aggregate!("bank.storm.yaml", "transfer", Transfer);

/// The rules of transfers.
pub struct Transfer;

impl Aggregate for Transfer {
    fn initial(_id: String) -> State {
        State { phase: Phase::Unused, from: String::new(), to: String::new(), amount: 0 }
    }

    fn decide(_: Context, state: State, command: Command) -> Result<Vec<Event>, Rejection> {
        let event = match (command, state.phase) {
            (Command::Request(request), Phase::Unused) => requested(request)?,
            (Command::Request(_), _) => return Err(Rejection::AlreadyRequested),
            (Command::Debit, Phase::Requested) => Event::Debited,
            (Command::Credit, Phase::Debited) => Event::Credited,
            (Command::Settle, Phase::Credited) => Event::Settled,
            (Command::Fail(Fail { reason }), Phase::Requested) => {
                Event::Failed(Failed { reason, refund_due: false })
            }
            (Command::Fail(Fail { reason }), Phase::Debited) => {
                Event::Failed(Failed { reason, refund_due: true })
            }
            (Command::Debit | Command::Credit | Command::Settle | Command::Fail(_), phase) => {
                return Err(Rejection::WrongPhase(WrongPhase { phase }));
            }
        };
        Ok(vec![event])
    }

    fn evolve(state: State, events: Vec<Event>) -> State {
        events.into_iter().fold(state, |state, event| match event {
            Event::Requested(Requested { from, to, amount }) => {
                State { phase: Phase::Requested, from, to, amount }
            }
            Event::Debited => State { phase: Phase::Debited, ..state },
            Event::Credited => State { phase: Phase::Credited, ..state },
            Event::Settled => State { phase: Phase::Settled, ..state },
            Event::Failed(_) => State { phase: Phase::Failed, ..state },
        })
    }
}

fn requested(Request { from, to, amount }: Request) -> Result<Event, Rejection> {
    if from == to {
        return Err(Rejection::SameAccount);
    }
    if amount == 0 {
        return Err(Rejection::NoAmount);
    }
    Ok(Event::Requested(Requested { from, to, amount }))
}

#[cfg(test)]
mod tests {
    use aether_guest::given;

    use super::*;

    fn request() -> Event {
        Event::Requested(Requested { from: "alice".into(), to: "bob".into(), amount: 10 })
    }

    fn fail() -> Command {
        Command::Fail(Fail { reason: "the account is closed".into() })
    }

    fn failed(refund_due: bool) -> Event {
        Event::Failed(Failed { reason: "the account is closed".into(), refund_due })
    }

    const fn wrong(phase: Phase) -> Rejection {
        Rejection::WrongPhase(WrongPhase { phase })
    }

    #[test]
    fn a_failed_transfer_goes_no_further() {
        given::<Transfer>([request()])
            .when(fail())
            .then([failed(false)])
            .when(Command::Debit)
            .then_rejected(wrong(Phase::Failed))
            .when(fail())
            .then_rejected(wrong(Phase::Failed));
    }

    #[test]
    fn money_that_was_debited_is_owed() {
        given::<Transfer>([request(), Event::Debited]).when(fail()).then([failed(true)]);
    }

    #[test]
    fn a_transfer_that_was_never_requested_has_no_steps() {
        given::<Transfer>([])
            .when(Command::Debit)
            .then_rejected(wrong(Phase::Unused))
            .when(fail())
            .then_rejected(wrong(Phase::Unused));
    }

    #[test]
    fn a_transfer_keeps_what_was_requested() {
        let end = given::<Transfer>([request()])
            .when(Command::Debit)
            .then([Event::Debited])
            .when(Command::Credit)
            .then([Event::Credited])
            .when(Command::Settle)
            .then([Event::Settled]);
        let expected =
            State { phase: Phase::Settled, from: "alice".into(), to: "bob".into(), amount: 10 };
        assert_eq!(end.state(), expected);
    }
}
