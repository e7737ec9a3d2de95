#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/bank.h"

#define CHECK(condition)                                                     \
    do {                                                                     \
        if (!(condition)) {                                                  \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                         \
        }                                                                    \
    } while (0)

static account_event_t opened(void) {
    account_event_t event = {.tag = ACCOUNT_EVENT_OPENED};
    bank_string_dup(&event.val.opened.owner, "Alice");
    return event;
}

static account_event_t deposited(uint64_t amount) {
    return (account_event_t){.tag = ACCOUNT_EVENT_DEPOSITED, .val.deposited.amount = amount};
}

static account_event_t withdrawn(uint64_t amount) {
    return (account_event_t){.tag = ACCOUNT_EVENT_WITHDRAWN, .val.withdrawn.amount = amount};
}

static account_event_t limits_set(uint64_t overdraft, bank_option_u64_t per_withdrawal) {
    return (account_event_t){.tag = ACCOUNT_EVENT_LIMITS_SET,
                             .val.limits_set = {overdraft, per_withdrawal}};
}

static account_command_t deposit(uint64_t amount) {
    return (account_command_t){.tag = ACCOUNT_COMMAND_DEPOSIT, .val.deposit.amount = amount};
}

static account_command_t withdraw(uint64_t amount) {
    return (account_command_t){.tag = ACCOUNT_COMMAND_WITHDRAW, .val.withdraw.amount = amount};
}

static const bank_option_u64_t any_amount = {.is_some = false};
static const bank_option_u64_t at_most_4 = {.is_some = true, .val = 4};

// The account that is tested. Functions that are called on it get copies of it, which they free.
static account_state_t account;

static account_state_t copy(void) {
    account_state_t state = account;
    state.owner.ptr = malloc(account.owner.len);
    memcpy(state.owner.ptr, account.owner.ptr, account.owner.len);
    return state;
}

static void evolve(account_event_t event) {
    account_list_event_t events = {.ptr = malloc(sizeof event), .len = 1};
    events.ptr[0] = event;
    account_state_t before = account;
    account_evolve(&before, &events, &account);
}

// A new account that Alice has opened.
static void open_account(void) {
    account_state_free(&account);
    bank_string_t id;
    bank_string_dup(&id, "alice");
    account_initial(&id, &account);
    evolve(opened());
}

static bool decide(account_command_t command, account_list_event_t *events,
                   account_rejection_t *why) {
    account_context_t context = {0};
    account_state_t state = copy();
    return account_decide(&context, &state, &command, events, why);
}

// The command gives one event, with the tag and the amount of `event`; it happens.
static void accepts(account_command_t command, account_event_t event) {
    account_list_event_t events;
    account_rejection_t why;
    CHECK(decide(command, &events, &why));
    CHECK(events.len == 1);
    CHECK(events.ptr[0].tag == event.tag);
    if (event.tag == ACCOUNT_EVENT_DEPOSITED) {
        CHECK(events.ptr[0].val.deposited.amount == event.val.deposited.amount);
    }
    if (event.tag == ACCOUNT_EVENT_WITHDRAWN) {
        CHECK(events.ptr[0].val.withdrawn.amount == event.val.withdrawn.amount);
    }
    account_list_event_free(&events);
    evolve(event);
}

static account_rejection_t refuses(account_command_t command, uint8_t tag) {
    account_list_event_t events;
    account_rejection_t why;
    CHECK(!decide(command, &events, &why));
    CHECK(why.tag == tag);
    return why;
}

static void the_whole_overdraft_can_be_used_and_no_more(void) {
    open_account();
    evolve(deposited(10));
    evolve(limits_set(5, any_amount));
    account_rejection_t why = refuses(withdraw(16), ACCOUNT_REJECTION_INSUFFICIENT_FUNDS);
    CHECK(why.val.insufficient_funds.balance == 10);
    accepts(withdraw(15), withdrawn(15));
    why = refuses(withdraw(1), ACCOUNT_REJECTION_INSUFFICIENT_FUNDS);
    CHECK(why.val.insufficient_funds.balance == 0);
}

static void a_withdrawal_at_its_limit_is_allowed(void) {
    open_account();
    evolve(deposited(10));
    evolve(limits_set(0, at_most_4));
    account_rejection_t why = refuses(withdraw(5), ACCOUNT_REJECTION_OVER_LIMIT);
    CHECK(why.val.over_limit.per_withdrawal == 4);
    accepts(withdraw(4), withdrawn(4));
}

static void limits_can_be_taken_away(void) {
    open_account();
    evolve(deposited(10));
    evolve(limits_set(0, at_most_4));
    account_command_t none = {.tag = ACCOUNT_COMMAND_SET_LIMITS};
    accepts(none, limits_set(0, any_amount));
    accepts(withdraw(10), withdrawn(10));
}

static void the_largest_amounts_do_not_overflow(void) {
    open_account();
    evolve(limits_set(UINT64_MAX, any_amount));
    evolve(withdrawn(UINT64_MAX));
    accepts(deposit(UINT64_MAX), deposited(UINT64_MAX));
    CHECK(account.balance == 0 && account.overdrawn == 0);
    accepts(deposit(UINT64_MAX), deposited(UINT64_MAX));
    refuses(deposit(1), ACCOUNT_REJECTION_BALANCE_TOO_LARGE);
    accepts(withdraw(UINT64_MAX), withdrawn(UINT64_MAX));
}

static void a_deposit_that_pays_back_may_exceed_what_fits_a_balance(void) {
    open_account();
    evolve(limits_set(1, any_amount));
    evolve(withdrawn(1));
    accepts(deposit(UINT64_MAX), deposited(UINT64_MAX));
    refuses(deposit(2), ACCOUNT_REJECTION_BALANCE_TOO_LARGE);
    accepts(deposit(1), deposited(1));
}

static void closing_pays_out_the_balance_for_good(void) {
    open_account();
    evolve(deposited(7));
    account_list_event_t events;
    account_rejection_t why;
    CHECK(decide((account_command_t){.tag = ACCOUNT_COMMAND_CLOSE}, &events, &why));
    CHECK(events.len == 2);
    CHECK(events.ptr[0].tag == ACCOUNT_EVENT_WITHDRAWN);
    CHECK(events.ptr[0].val.withdrawn.amount == 7);
    CHECK(events.ptr[1].tag == ACCOUNT_EVENT_CLOSED);
    account_state_t before = account;
    account_evolve(&before, &events, &account);
    CHECK(account.balance == 0 && !account.open);
    account_command_t again = {.tag = ACCOUNT_COMMAND_OPEN};
    bank_string_dup(&again.val.open.owner, "Alice");
    refuses(again, ACCOUNT_REJECTION_CLOSED_FOR_GOOD);
}

static void a_history_that_no_decision_would_give_still_has_a_state(void) {
    open_account();
    evolve(deposited(UINT64_MAX));
    evolve(deposited(1));
    evolve(withdrawn(UINT64_MAX));
    CHECK(account.balance == 0);
}

int main(void) {
    the_whole_overdraft_can_be_used_and_no_more();
    a_withdrawal_at_its_limit_is_allowed();
    limits_can_be_taken_away();
    the_largest_amounts_do_not_overflow();
    a_deposit_that_pays_back_may_exceed_what_fits_a_balance();
    closing_pays_out_the_balance_for_good();
    a_history_that_no_decision_would_give_still_has_a_state();
    puts("7 passed, 0 failed");
    return 0;
}
