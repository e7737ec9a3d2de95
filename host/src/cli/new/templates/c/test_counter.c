// Runs without a host, compiled to WebAssembly like the component: `make test`.

#include <stdio.h>
#include <stdlib.h>

#include "{{header}}.h"

static int failures = 0;

static void check(bool holds, const char *what) {
    printf("%s: %s\n", holds ? "ok" : "FAILED", what);
    failures += !holds;
}

// A counter to which this much was added.
static counter_state_t after(uint32_t amount) {
    counter_event_t *added = malloc(sizeof *added);
    *added = (counter_event_t){.tag = COUNTER_EVENT_ADDED, .val.added.amount = amount};
    counter_list_event_t events = {.ptr = added, .len = 1};
    {{world}}_string_t id;
    {{world}}_string_dup(&id, "door");
    counter_state_t state;
    counter_initial(&id, &state);
    counter_evolve(&state, &events, &state);
    return state;
}

static bool add(counter_state_t state, uint32_t amount, counter_list_event_t *events,
                counter_rejection_t *rejection) {
    counter_context_t context = {0};
    counter_command_t command = {.tag = COUNTER_COMMAND_ADD, .val.add.amount = amount};
    return counter_decide(&context, &state, &command, events, rejection);
}

int main(void) {
    counter_list_event_t events;
    counter_rejection_t rejection;

    bool accepted = add(after(0), 3, &events, &rejection);
    check(accepted && events.len == 1 && events.ptr[0].val.added.amount == 3, "a counter counts");
    counter_list_event_free(&events);

    accepted = add(after(99), 2, &events, &rejection);
    check(!accepted && rejection.val.too_many.room == 1, "a counter holds a hundred");
    return failures != 0;
}
