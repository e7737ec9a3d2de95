// A counter that holds no more than a hundred.
//
// Who frees what:
// - Arguments are given away: what a function does not pass on, it frees. A kept instance that forgets
//   one grows until it is refused memory. For each type that holds memory the header has a `_free`.
// - What is returned in `ret` or `err` is the host's, which frees it: its memory comes from malloc.

#include <stdlib.h>

#include "{{header}}.h"

// What a counter holds at most.
static const uint32_t LIMIT = 100;

void counter_initial({{world}}_string_t *id, counter_state_t *ret) {
    {{world}}_string_free(id);
    *ret = (counter_state_t){.count = 0};
}

// One event in a list, which whoever gets it frees.
static void one(counter_list_event_t *list, counter_event_t event) {
    list->ptr = malloc(sizeof event);
    if (list->ptr == NULL) {
        abort();
    }
    list->ptr[0] = event;
    list->len = 1;
}

// True with the events of a command, false with the reason why it is refused.
bool counter_decide(counter_context_t *context, counter_state_t *state, counter_command_t *command,
                    counter_list_event_t *ret, counter_rejection_t *err) {
    *ret = (counter_list_event_t){0};
    bool accepted = true;
    switch (command->tag) {
    case COUNTER_COMMAND_ADD: {
        uint32_t amount = command->val.add.amount;
        uint32_t room = state->count < LIMIT ? LIMIT - state->count : 0;
        if (amount > room) {
            err->tag = COUNTER_REJECTION_TOO_MANY;
            err->val.too_many.room = room;
            accepted = false;
        } else {
            one(ret, (counter_event_t){.tag = COUNTER_EVENT_ADDED, .val.added.amount = amount});
        }
        break;
    }
    case COUNTER_COMMAND_CLEAR:
        if (state->count > 0) {
            one(ret, (counter_event_t){.tag = COUNTER_EVENT_CLEARED});
        }
        break;
    }
    // This state and these commands are numbers alone: there is nothing in them to free.
    counter_context_free(context);
    return accepted;
}

void counter_evolve(counter_state_t *state, counter_list_event_t *events, counter_state_t *ret) {
    *ret = *state;
    for (size_t i = 0; i < events->len; i++) {
        const counter_event_t *event = &events->ptr[i];
        switch (event->tag) {
        case COUNTER_EVENT_ADDED:
            if (__builtin_add_overflow(ret->count, event->val.added.amount, &ret->count)) {
                ret->count = UINT32_MAX;
            }
            break;
        case COUNTER_EVENT_CLEARED:
            ret->count = 0;
            break;
        }
    }
    counter_list_event_free(events);
}
