// What every language's component is held to; see ../src/lib.rs.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bindings/conformance.h"

static void *allocate(size_t count, size_t size) {
    void *room = calloc(count, size);
    if (room == NULL && count > 0) {
        abort();
    }
    return room;
}

// ---- The aggregate echo says back what it is told.

void echo_initial(conformance_string_t *id, echo_state_t *ret) {
    conformance_string_free(id);
    *ret = (echo_state_t){0};
}

// An event for each value; the values are the events' then.
static void keep(echo_sample_t *values, size_t len, echo_list_event_t *events) {
    events->ptr = allocate(len, sizeof *events->ptr);
    events->len = len;
    for (size_t i = 0; i < len; i++) {
        events->ptr[i] = (echo_event_t){.tag = ECHO_EVENT_KEPT, .val.kept.value = values[i]};
    }
}

static bool refuse(echo_refuse_t *refuse, echo_list_event_t *events, echo_rejection_t *why) {
    if (refuse->number > 99) {
        keep(&refuse->value, 1, events);
        return true;
    }
    // The cases stand in the order of their numbers.
    why->tag = refuse->number;
    switch (why->tag) {
    case ECHO_REJECTION_R99:
        why->val.r99.value = refuse->value;
        return false;
    case ECHO_REJECTION_R98:
        why->val.r98.why = refuse->value.text;
        refuse->value.text = (conformance_string_t){0};
        break;
    }
    echo_refuse_free(refuse);
    return false;
}

bool echo_decide(echo_context_t *context, echo_state_t *state, echo_command_t *command,
                 echo_list_event_t *ret, echo_rejection_t *err) {
    echo_context_free(context);
    echo_state_free(state);
    if (command->tag == ECHO_COMMAND_REFUSE) {
        return refuse(&command->val.refuse, ret, err);
    }
    keep(command->val.keep.values.ptr, command->val.keep.values.len, ret);
    if (command->val.keep.values.len > 0) {
        free(command->val.keep.values.ptr);
    }
    return true;
}

void echo_evolve(echo_state_t *state, echo_list_event_t *events, echo_state_t *ret) {
    for (size_t i = 0; i < events->len; i++) {
        if (state->last.is_some) {
            echo_sample_free(&state->last.val);
        }
        state->count += 1;
        state->last.is_some = true;
        state->last.val = events->ptr[i].val.kept.value;
    }
    // What they held is the state's, or freed.
    if (events->len > 0) {
        free(events->ptr);
    }
    *ret = *state;
}

// ---- The aggregate probe tells what the C library sees. It has no sockets.

extern char **environ;

static uint32_t calls = 0;

static uint64_t now(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void look(probe_looked_t *looked) {
    printf("it is %llu\n", (unsigned long long)now());
    fprintf(stderr, "and all is well\n");
    sleep(60);
    *looked = (probe_looked_t){.clock = now()};
    looked->random.len = 4;
    looked->random.ptr = allocate(4, sizeof *looked->random.ptr);
    for (size_t i = 0; i < 4; i++) {
        looked->random.ptr[i] = (uint64_t)rand();
    }
    looked->secure.len = 8;
    looked->secure.ptr = allocate(8, 1);
    if (getentropy(looked->secure.ptr, 8) != 0) {
        abort();
    }
    while (environ != NULL && environ[looked->environment.len] != NULL) {
        looked->environment.len += 1;
    }
    looked->environment.ptr =
        allocate(looked->environment.len, sizeof *looked->environment.ptr);
    for (size_t i = 0; i < looked->environment.len; i++) {
        conformance_string_dup(&looked->environment.ptr[i], environ[i]);
    }
    if (fopen("/etc/passwd", "r") == NULL) {
        fprintf(stderr, "refused: %s\n", strerror(errno));
        looked->file.is_some = true;
        conformance_string_dup(&looked->file.val, strerror(errno));
    }
}

void probe_initial(conformance_string_t *id, probe_state_t *ret) {
    conformance_string_free(id);
    *ret = (probe_state_t){0};
}

bool probe_decide(probe_context_t *context, probe_state_t *state, probe_command_t *command,
                  probe_list_event_t *ret) {
    (void)state;
    probe_context_free(context);
    ret->ptr = allocate(1, sizeof *ret->ptr);
    ret->len = 1;
    if (command->tag == PROBE_COMMAND_LOOK) {
        ret->ptr->tag = PROBE_EVENT_LOOKED;
        look(&ret->ptr->val.looked);
    } else {
        calls += 1;
        ret->ptr->tag = PROBE_EVENT_COUNTED;
        ret->ptr->val.counted.calls = calls;
    }
    return true;
}

void probe_evolve(probe_state_t *state, probe_list_event_t *events, probe_state_t *ret) {
    for (size_t i = 0; i < events->len; i++) {
        if (events->ptr[i].tag == PROBE_EVENT_LOOKED) {
            state->looked += 1;
            state->clock = now();
        } else {
            state->calls = events->ptr[i].val.counted.calls;
        }
    }
    probe_list_event_free(events);
    *ret = *state;
}
