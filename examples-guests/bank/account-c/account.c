// An account: it holds money, and within its limits its owner may owe the bank some.
//
// The host gives its arguments away: what a function does not pass on, it frees.

#include <stdlib.h>

#include "bindings/bank.h"

static uint64_t min(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static uint64_t saturating_add(uint64_t a, uint64_t b) {
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

void account_initial(bank_string_t *id, account_state_t *ret) {
    bank_string_free(id);
    *ret = (account_state_t){0};
}

// ---- decide: every rule appends its events to `events`, or gives its reason as `why`.

static bool accept(account_list_event_t *events, account_event_t event) {
    account_event_t *grown = realloc(events->ptr, (events->len + 1) * sizeof event);
    if (grown == NULL) {
        abort();
    }
    grown[events->len] = event;
    events->ptr = grown;
    events->len += 1;
    return true;
}

static bool reject(account_rejection_t *why, uint8_t tag) {
    *why = (account_rejection_t){.tag = tag};
    return false;
}

static bool reject_in_debt(account_rejection_t *why, const account_state_t *state) {
    reject(why, ACCOUNT_REJECTION_IN_DEBT);
    why->val.in_debt.overdrawn = state->overdrawn;
    return false;
}

static bool open(const account_state_t *state, account_open_t *command,
                 account_list_event_t *events, account_rejection_t *why) {
    if (state->closed) {
        return reject(why, ACCOUNT_REJECTION_CLOSED_FOR_GOOD);
    }
    if (state->open) {
        return reject(why, ACCOUNT_REJECTION_ALREADY_OPEN);
    }
    account_event_t opened = {.tag = ACCOUNT_EVENT_OPENED, .val.opened.owner = command->owner};
    command->owner = (bank_string_t){0}; // It is the event's now.
    return accept(events, opened);
}

static bool deposit(const account_state_t *state, uint64_t amount,
                    account_list_event_t *events, account_rejection_t *why) {
    if (amount == 0) {
        return reject(why, ACCOUNT_REJECTION_NO_AMOUNT);
    }
    uint64_t kept = amount - min(amount, state->overdrawn);
    if (kept > UINT64_MAX - state->balance) {
        return reject(why, ACCOUNT_REJECTION_BALANCE_TOO_LARGE);
    }
    account_event_t deposited = {.tag = ACCOUNT_EVENT_DEPOSITED, .val.deposited.amount = amount};
    return accept(events, deposited);
}

static bool withdraw(const account_state_t *state, uint64_t amount,
                     account_list_event_t *events, account_rejection_t *why) {
    if (amount == 0) {
        return reject(why, ACCOUNT_REJECTION_NO_AMOUNT);
    }
    if (state->per_withdrawal.is_some && amount > state->per_withdrawal.val) {
        reject(why, ACCOUNT_REJECTION_OVER_LIMIT);
        why->val.over_limit.per_withdrawal = state->per_withdrawal.val;
        return false;
    }
    uint64_t credit = state->overdraft - min(state->overdraft, state->overdrawn);
    if (amount > saturating_add(state->balance, credit)) {
        reject(why, ACCOUNT_REJECTION_INSUFFICIENT_FUNDS);
        why->val.insufficient_funds.balance = state->balance;
        return false;
    }
    account_event_t withdrawn = {.tag = ACCOUNT_EVENT_WITHDRAWN, .val.withdrawn.amount = amount};
    return accept(events, withdrawn);
}

static bool set_limits(const account_state_t *state, const account_set_limits_t *limits,
                       account_list_event_t *events, account_rejection_t *why) {
    if (limits->overdraft < state->overdrawn) {
        return reject_in_debt(why, state);
    }
    account_event_t limits_set = {
        .tag = ACCOUNT_EVENT_LIMITS_SET,
        .val.limits_set = {limits->overdraft, limits->per_withdrawal},
    };
    return accept(events, limits_set);
}

static bool close(const account_state_t *state, account_list_event_t *events,
                  account_rejection_t *why) {
    if (state->overdrawn > 0) {
        return reject_in_debt(why, state);
    }
    if (state->balance > 0) {
        account_event_t rest = {.tag = ACCOUNT_EVENT_WITHDRAWN,
                                .val.withdrawn.amount = state->balance};
        accept(events, rest);
    }
    return accept(events, (account_event_t){.tag = ACCOUNT_EVENT_CLOSED});
}

static bool decide(const account_state_t *state, account_command_t *command,
                   account_list_event_t *events, account_rejection_t *why) {
    if (command->tag == ACCOUNT_COMMAND_OPEN) {
        return open(state, &command->val.open, events, why);
    }
    if (!state->open) {
        return reject(why, ACCOUNT_REJECTION_NOT_OPEN);
    }
    switch (command->tag) {
    case ACCOUNT_COMMAND_DEPOSIT:
        return deposit(state, command->val.deposit.amount, events, why);
    case ACCOUNT_COMMAND_WITHDRAW:
        return withdraw(state, command->val.withdraw.amount, events, why);
    case ACCOUNT_COMMAND_SET_LIMITS:
        return set_limits(state, &command->val.set_limits, events, why);
    case ACCOUNT_COMMAND_CLOSE:
        return close(state, events, why);
    default:
        abort();
    }
}

bool account_decide(account_context_t *context, account_state_t *state, account_command_t *command,
                    account_list_event_t *ret, account_rejection_t *err) {
    *ret = (account_list_event_t){0};
    bool accepted = decide(state, command, ret, err);
    account_context_free(context);
    account_state_free(state);
    account_command_free(command);
    return accepted;
}

// ---- evolve

// Changes the state by one event. Sums end at the largest number, where `decide` has seen to it
// that they fit, so that every history has a state.
static void apply(account_state_t *state, account_event_t *event) {
    switch (event->tag) {
    case ACCOUNT_EVENT_OPENED:
        bank_string_free(&state->owner);
        state->owner = event->val.opened.owner;
        event->val.opened.owner = (bank_string_t){0}; // It is the state's now.
        state->open = true;
        break;
    case ACCOUNT_EVENT_DEPOSITED: {
        uint64_t amount = event->val.deposited.amount;
        uint64_t paid_back = min(amount, state->overdrawn);
        state->overdrawn -= paid_back;
        state->balance = saturating_add(state->balance, amount - paid_back);
        break;
    }
    case ACCOUNT_EVENT_WITHDRAWN: {
        uint64_t amount = event->val.withdrawn.amount;
        uint64_t from_balance = min(amount, state->balance);
        state->balance -= from_balance;
        state->overdrawn = saturating_add(state->overdrawn, amount - from_balance);
        break;
    }
    case ACCOUNT_EVENT_LIMITS_SET:
        state->overdraft = event->val.limits_set.overdraft;
        state->per_withdrawal = event->val.limits_set.per_withdrawal;
        break;
    case ACCOUNT_EVENT_CLOSED:
        state->open = false;
        state->closed = true;
        break;
    }
}

void account_evolve(account_state_t *state, account_list_event_t *events, account_state_t *ret) {
    for (size_t i = 0; i < events->len; i++) {
        apply(state, &events->ptr[i]);
    }
    account_list_event_free(events);
    *ret = *state;
}
